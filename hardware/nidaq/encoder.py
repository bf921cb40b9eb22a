"""The running wheel's angle at each flip.

Analog wheel: signal and supply are sampled together at a steady rate. The sample clock is divided down from
the timebase that the edges' counter counts, so sample ``k`` lies ``k / rate`` after the start exactly, on the
card's own clock; the start itself is known to half the duration of the call that made it (tens of
microseconds through a local driver, a millisecond over gRPC). A flip gets the sample nearest to it, never a
mean of two: between the end of one turn and the start of the next a mean would be an angle the wheel never
had. So the angle at a flip is at most half a sample and that uncertainty old.

Quadrature wheel: a counter decodes the pulses, sampled by the same clock; its angle is turned into the pair of
voltages that an analog wheel would give.

``read`` empties the driver's buffer itself, so that the sample of the flip just made is there. The edge
reader's thread empties it as well when nobody has for a while.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from hardware.arrays import FloatArray
from hardware.clock import Clock
from hardware.events import Finding, Verdict
from hardware.nidaq.checks import check_encoder
from hardware.nidaq.connection import Connection, Untyped
from hardware.nidaq.edges import NidaqEdges
from hardware.protocols import DeviceError, Identity

BUFFER_SAMPLES = 100_000
KEPT_SAMPLES = 20_000
"""As many as flips may come late to ask for: 20 s at 1 kHz."""
CHUNK_SAMPLES = 5_000
DRAIN_S = 0.25
LARGEST_V = 5.0
NOMINAL_SUPPLY_V = 5.0
"""Of a quadrature wheel, which has none."""
STALE_S = 0.5
"""Without a newer sample than this the converter has stopped."""


class NidaqEncoder:
    """Encoder on the card's analog inputs, or on a counter. Opened after the edge source."""

    name = "encoder"

    def __init__(self, *, connection: Connection, edges: NidaqEdges, clock: Clock) -> None:
        self._connection = connection
        self._edges = edges
        self._clock = clock
        self._identity: Identity | None = None
        self._lock = threading.Lock()
        self._task: Untyped = None
        self._reader: Untyped = None
        self._counter: Untyped = None
        self._count_reader: Untyped = None
        self._flat = np.zeros(2 * CHUNK_SAMPLES)
        self._angles = np.zeros(CHUNK_SAMPLES)
        self._kept = np.zeros((2, 0))
        self._n_read = 0
        self._start_ticks = 0
        self._drain_at_s = math.inf
        edges.attend(self)

    def open(self) -> Identity:
        """Begin to sample."""
        if self._identity is not None:
            return self._identity
        self._connection.open()
        config = self._connection.config
        try:
            with self._lock, self._connection.calls(self.name):
                self._start()
        except DeviceError:
            self._let_go()
            raise
        if config.wheel_pulses is None:
            model = f"analog wheel on {config.signal_channel} and {config.supply_channel}"
        else:
            model = f"quadrature wheel, {config.wheel_pulses} pulses a turn, on {config.wheel_counter}"
        self._identity = Identity(device=self.name, model=model, details={"rate_hz": f"{config.wheel_hz:g}"})
        return self._identity

    def check(self) -> list[Finding]:
        """Examine supply and signal."""
        try:
            signal_v, supply_v = self.latest()
        except DeviceError as error:
            return [Finding(name="encoder", verdict=Verdict.FAIL, figure=error.what, remedy=error.remedy)]
        return check_encoder(signal_v=signal_v, supply_v=supply_v)

    def health(self) -> dict[str, float]:
        """Return how many samples were read."""
        return {"n_samples": float(self._n_read)}

    def close(self) -> None:
        """Stop sampling and let go of the inputs."""
        self._let_go()

    def read(self, *, host_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See ``Encoder.read``."""
        if not len(host_s):
            return np.empty(0), np.empty(0)
        with self._lock, self._connection.calls(self.name):
            self._drain()
            kept, n_read = self._kept, self._n_read
        n_kept = kept.shape[1]
        period_ticks = self._period_ticks()
        first_s = self._edges.time.host_s(self._start_ticks + round((n_read - n_kept) * period_ticks))
        rate_hz = self._connection.config.wheel_hz
        sample = np.rint((host_s - first_s) * rate_hz).astype(np.int64)
        if not n_kept or int(sample[-1]) - n_kept > STALE_S * rate_hz:
            raise DeviceError(
                device=self.name,
                what=f"no samples of the wheel for more than {STALE_S:g} s",
                remedy="look whether the card's analog inputs are used by another program; start the session again",
            )
        signal_v, supply_v = kept[:, np.clip(sample, 0, n_kept - 1)]
        return signal_v, supply_v

    def latest(self) -> tuple[FloatArray, FloatArray]:
        """Return signal and supply of all samples kept, in volts, shape (n,): for checks."""
        with self._lock, self._connection.calls(self.name):
            self._drain()
            return self._kept[0], self._kept[1]

    def before_edges(self) -> None:
        """See ``Service.before_edges``."""

    def serve(self, *, host_s: float) -> None:
        """Empty the buffer if nobody has for a while; what fails is met again by ``read``."""
        if host_s < self._drain_at_s or not self._lock.acquire(blocking=False):
            return
        try:
            with self._connection.calls(self.name):
                self._drain()
        except DeviceError:
            self._drain_at_s = math.inf
        finally:
            self._lock.release()

    def due_s(self) -> float:
        """See ``Service.due_s``."""
        return math.inf  # never urgent

    def _period_ticks(self) -> float:
        return 1e8 / self._connection.config.wheel_hz

    def _drain(self) -> None:
        """Read all samples that are there."""
        self._drain_at_s = self._clock.now_s() + DRAIN_S
        if self._task is None:
            return
        left = int(self._task.in_stream.avail_samp_per_chan)
        if self._counter is not None:
            left = min(left, int(self._counter.in_stream.avail_samp_per_chan))
        blocks = [self._kept]
        while left > 0:
            n = min(left, CHUNK_SAMPLES)
            block = self._flat[: 2 * n].reshape(2, n)
            self._reader.read_many_sample(block, n, timeout=0.0)
            if self._counter is not None:
                self._count_reader.read_many_sample_double(self._angles[:n], n, timeout=0.0)
                block[0] = self._angles[:n] / 360.0 % 1.0 * NOMINAL_SUPPLY_V
                block[1] = NOMINAL_SUPPLY_V
            blocks.append(block.copy())
            self._n_read += n
            left -= n
        if len(blocks) > 1:
            self._kept = np.concatenate(blocks, axis=1)[:, -KEPT_SAMPLES:]

    def _start(self) -> None:
        connection, config = self._connection, self._connection.config
        k = connection.constants
        task = self._task = connection.task("wheel")
        for channel in (config.signal_channel, config.supply_channel):
            task.ai_channels.add_ai_voltage_chan(config.channel(channel), min_val=0.0, max_val=LARGEST_V)
        task.timing.cfg_samp_clk_timing(
            config.wheel_hz, sample_mode=k.AcquisitionType.CONTINUOUS, samps_per_chan=BUFFER_SAMPLES
        )
        task.in_stream.input_buf_size = BUFFER_SAMPLES
        self._reader = connection.reader("AnalogMulti", task)
        if config.wheel_pulses is not None:
            self._start_counter(config.wheel_pulses)
        self._kept, self._n_read = np.zeros((2, 0)), 0
        before_s = self._clock.now_s()
        task.start()
        after_s = self._clock.now_s()
        self._start_ticks = self._edges.time.ticks((before_s + after_s) / 2)
        self._drain_at_s = after_s + DRAIN_S

    def _start_counter(self, n_pulses: int) -> None:
        """Decode quadrature, sampled by the analog inputs' clock; started first, so that sample 0 is common."""
        connection, config = self._connection, self._connection.config
        k = connection.constants
        counter = self._counter = connection.task("wheel_counter")
        counter.ci_channels.add_ci_ang_encoder_chan(
            config.channel(config.wheel_counter),
            decoding_type=k.EncoderType.X_4,
            zidx_enable=False,
            units=k.AngleUnits.DEGREES,
            pulses_per_rev=n_pulses,
        )
        counter.timing.cfg_samp_clk_timing(
            config.wheel_hz,
            source=config.terminal("ai/SampleClock"),
            sample_mode=k.AcquisitionType.CONTINUOUS,
            samps_per_chan=BUFFER_SAMPLES,
        )
        counter.in_stream.input_buf_size = BUFFER_SAMPLES
        self._count_reader = connection.reader("Counter", counter)
        counter.start()

    def _let_go(self) -> None:
        with self._lock:
            self._identity = None
            self._drain_at_s = math.inf
            for task in (self._counter, self._task):
                if task is not None:
                    self._connection.clear(task)
            self._task = self._counter = None
