"""A simulated card: one drifting counter, the digital lines, and every edge on them in order.

Rare edges (licks, valve, triggers) are computed when they happen; dense ones (frame pulses, photodiode,
microscope frames, cameras) in batches by numpy when the session flushes. The mouse sits behind
the lick line.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from hardware.arrays import AnyArray, FloatArray, IntArray
from hardware.clock import TICKS_PER_S, CardClock, Clock
from hardware.events import Finding, Verdict
from hardware.lines import Line
from hardware.protocols import DeviceError, Edge, EdgeSink, FramePulses, Identity
from hardware.simulated.faults import Faults
from hardware.simulated.mice import ModelMouse
from hardware.simulated.photodiode import Photodiode
from hardware.simulated.wires import Wires

PULSE_LATENCY_S = 20e-6
PULSE_JITTER_S = 5e-6
"""From flip to the frame pulse's edge: a few calls of a driver (NIDAQ_NOTES 6: 15 us on a PCIe card)."""
PULSE_WIDTH_S = 0.004
ALIGN_INTERVAL_S = (5.0, 15.0)
"""Alignment pulses come at random intervals, so that a stretch of them fits in one place only."""
ALIGN_WIDTH_S = 0.01
FLIPS_STOPPED_S = 1.0
"""Without a flip for so long, edges are handed over all the same."""

LickWatcher = Callable[[float, int], None]
Train = Callable[[float, float], FloatArray]


class LevelWatcher(Protocol):
    """Is told of each change of a line that the rig drives."""

    def __call__(self, *, level: bool, host_s: float) -> None:
        """Take note of it."""


class SimulatedCard:
    """Edge source and sync outputs of a simulated rig.

    Parameters
    ----------
    start_host_s
        The host time of the first flip; faults count from it.
    sink
        Where all edges go, or None to keep none.
    spout_in_reach
        Whether a lick at a host time reaches the spout; without it, every one does.
    gather_lag_s
        How far behind the clock ``flush`` stays: where another thread calls it, the loop must have had time
        to read the licks before.
    """

    name = "card"

    def __init__(
        self,
        *,
        clock: Clock,
        card_clock: CardClock,
        mouse: ModelMouse,
        seed: int,
        start_host_s: float,
        faults: Faults,
        sink: EdgeSink | None,
        spout_in_reach: Callable[[float], bool] = lambda _: True,
        gather_lag_s: float = 0.0,
    ) -> None:
        self.clock = clock
        self.card_clock = card_clock
        self.mouse = mouse
        self.faults = faults
        self.start_host_s = start_host_s
        self.spout_in_reach = spout_in_reach
        self._sink = sink
        self._gather_lag_s = gather_lag_s
        self._quiet_until_s = start_host_s  # no lick that has not been read lies before this: set by the loop's thread
        self._rng_pulses = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(1,))))
        rng_photodiode = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(5,))))
        self._photodiode = Photodiode(rng=rng_photodiode)
        self._has_flipped = False
        self._last_flip_s = -math.inf
        self._rng_align = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(2,))))
        self._gone_at_s = start_host_s + faults.device_gone_s
        self._stuck_at_s = start_host_s + faults.lick_line_stuck_s
        self._stuck = False
        self._fault_s = min(self._gone_at_s, self._stuck_at_s)  # the next one
        self._lick_watchers: list[LickWatcher] = []
        self._dues: list[Callable[[], float]] = []
        self._lick_edges: list[Edge] = []
        self._rare: deque[tuple[int, int]] = deque()  # (ticks, bit): toggles not yet flushed
        self._taken_back: deque[tuple[int, int]] = deque()
        self._dense: list[tuple[IntArray, int]] = []
        self._trains: dict[Line, tuple[Train, float]] = {}
        self._flushed_host_s = -math.inf
        self._state = Line.VSYNC_STIM.mask
        self._levels: dict[Line, bool] = {}
        self._known_until: list[Callable[[], float]] = []
        self._level_watchers: dict[Line, LevelWatcher] = {}
        self._echoes: deque[FramePulses] = deque()
        self._running = False
        self._next_align_s = math.inf
        self._late_toggles: tuple[IntArray, IntArray] = (np.empty(0, np.int64), np.empty(0, np.int64))
        self._wires = Wires(faults, ticks_at=lambda after_s: card_clock.ticks(start_host_s + after_s))
        self._rare += [(ticks, 0) for ticks in self._wires.breaks]  # changes nothing but what is seen

    def open(self) -> Identity:
        """Say what is simulated."""
        return Identity(
            device=self.name,
            model="simulated card",
            details={"timebase_hz": str(TICKS_PER_S), "drift_ppm": f"{self.card_clock.drift_ppm:g}"},
        )

    def check(self) -> list[Finding]:
        """Examine the lick line: it must be low with nobody licking."""
        return [Finding(name="lick line", verdict=Verdict.PASS, figure="low")]

    def health(self) -> dict[str, float]:
        """Return how many edges wait for the next flush."""
        return {"edges_unflushed": float(len(self._rare))}

    def close(self) -> None:
        """Hand over the pulses that had begun, to their ends, and what the patch does after the last flip."""
        if self.clock.now_s() < self._gone_at_s:
            self._patch_changes(self._photodiode.end(self.clock.now_s()))
            self._hand_over(until=None)

    def on_lick(self, watcher: LickWatcher) -> None:
        """Have ``watcher(host_s, ticks)`` told of every lick at its own time."""
        self._lick_watchers.append(watcher)

    def on_due(self, due: Callable[[], float]) -> None:
        """Let another device on this card say when something of it is due."""
        self._dues.append(due)

    def toggle(self, line: Line, *, host_s: float) -> int:
        """Change a line's level at a host time; return the ticks."""
        ticks = self.card_clock.ticks(host_s)
        self._rare.append((ticks, line.mask))
        return ticks

    def untoggle(self, line: Line, *, host_s: float) -> None:
        """Take back a change that lies ahead."""
        self._taken_back.append((self.card_clock.ticks(host_s), line.mask))

    def drive(self, line: Line, *, level: bool, host_s: float) -> None:
        """Set a line's level from a host time on."""
        if self._levels.get(line, False) != level:
            self._levels[line] = level
            self.toggle(line, host_s=host_s)
            if (watcher := self._level_watchers.get(line)) is not None:
                watcher(level=level, host_s=host_s)

    def add_train(self, line: Line, train: Train, *, width_s: float) -> None:
        """Give pulses on a line: ``train(after_s, until_s)`` returns the rises in that stretch."""
        self._trains[line] = (train, width_s)

    def hold_back(self, known_until_s: Callable[[], float]) -> None:
        """Hand over no edges from after a host time before which all pulses of a train are known."""
        self._known_until.append(known_until_s)

    def on_level(self, line: Line, watcher: LevelWatcher) -> None:
        """Have ``watcher`` told when the rig drives a line to another level."""
        self._level_watchers[line] = watcher

    def require(self) -> None:
        """Raise if the card has been unplugged."""
        if self.clock.now_s() >= self._gone_at_s:
            raise DeviceError(
                device=self.name,
                what="the card no longer answers",
                remedy="check its cable and power, then start the session again",
            )

    def read(self) -> Sequence[Edge]:
        """See ``EdgeSource.read``."""
        now_s = self.clock.now_s()
        if now_s >= self._gone_at_s:
            self.require()
        mouse = self.mouse
        if mouse.next_lick_s() > now_s and now_s < self._stuck_at_s:
            return ()
        while (lick_s := mouse.next_lick_s()) <= now_s:
            contact_s = mouse.take_lick()
            if lick_s >= self._stuck_at_s or not self.spout_in_reach(lick_s):
                continue
            ticks = self.toggle(Line.LICK_SENSOR, host_s=lick_s)
            self._lick_edges.append(Edge(ticks, rising=True))
            for watcher in self._lick_watchers:
                watcher(lick_s, ticks)
            self._lick_edges.append(Edge(self.toggle(Line.LICK_SENSOR, host_s=lick_s + contact_s), rising=False))
        if now_s >= self._stuck_at_s and not self._stuck:
            self._stuck, self._fault_s = True, self._gone_at_s
            ticks = self.toggle(Line.LICK_SENSOR, host_s=self._stuck_at_s)
            self._lick_edges.append(Edge(ticks, rising=True))
            for watcher in self._lick_watchers:
                watcher(self._stuck_at_s, ticks)
        edges, self._lick_edges = self._lick_edges, []
        return edges

    def read_frame_pulses(self) -> FramePulses:
        """See ``EdgeSource.read_frame_pulses``."""
        return FramePulses.joined([self._echoes.popleft() for _ in range(len(self._echoes))])

    @property
    def read_until_s(self) -> float:
        """See ``EdgeSource.read_until_s``: they come as they are asked for."""
        return self.clock.now_s()

    def next_due_s(self) -> float:
        """See ``EdgeSource.next_due_s``."""
        due_s = self._quiet_until_s = self.mouse.next_lick_s()
        for due in self._dues:
            if (other_s := due()) < due_s:
                due_s = other_s
        return due_s if due_s < self._fault_s else self._fault_s

    def flush(self) -> None:
        """See ``EdgeSource.flush``."""
        now_s = min(self.clock.now_s() - self._gather_lag_s, self._quiet_until_s)
        if self._gather_lag_s and self._running and now_s - self._last_flip_s < FLIPS_STOPPED_S:
            now_s = min(now_s, self._last_flip_s)  # the next flip's pulse comes later, told of whenever
        for known_until in self._known_until:
            now_s = min(now_s, known_until())
        if now_s < self._flushed_host_s:
            return
        self._add_trains(now_s)
        self._hand_over(until=self.card_clock.ticks(now_s))

    def _hand_over(self, *, until: int | None) -> None:
        """Give the sink every edge up to a count, in order; all of them without one."""
        if self._sink is None:
            self._rare.clear()
            self._dense.clear()
            return
        taken_back = [self._taken_back.popleft() for _ in range(len(self._taken_back))]
        ticks = [self._late_toggles[0]]
        bits = [self._late_toggles[1]]
        if rare_toggles := [self._rare.popleft() for _ in range(len(self._rare))]:
            rare = np.array(rare_toggles, np.int64)
            ticks.append(rare[:, 0])
            bits.append(rare[:, 1])
        for dense_ticks, bit in self._dense:
            ticks.append(dense_ticks)
            bits.append(np.full(len(dense_ticks), bit))
        self._dense = []
        all_ticks, all_bits = np.concatenate(ticks), np.concatenate(bits)
        for tick, bit in taken_back:
            edge = np.flatnonzero((all_ticks == tick) & (all_bits == bit))[:1]
            all_ticks, all_bits = np.delete(all_ticks, edge), np.delete(all_bits, edge)
        order = np.argsort(all_ticks, kind="stable")
        all_ticks, all_bits = all_ticks[order], all_bits[order]
        n = len(all_ticks) if until is None else int(np.searchsorted(all_ticks, until, side="right"))
        self._late_toggles = all_ticks[n:], all_bits[n:]
        if n:
            states = np.bitwise_xor.accumulate(np.concatenate([[self._state], all_bits[:n]]))[1:]
            self._state = int(states[-1])
            self._sink_as_wired(all_ticks[:n], states)

    def _sink_as_wired(self, ticks: IntArray, states: AnyArray) -> None:
        """Give the sink what comes in over the wires, some of which may be faulty."""
        if self._sink is not None and self._wires.breaks:
            ticks, states = self._wires.seen(ticks, states)
        if self._sink is not None and len(ticks):
            self._sink(ticks=ticks, states=states)

    def flip_pulse(self) -> None:
        """Nothing: a simulated card computes its pulses when it is told of the flips."""

    def flips_made(self, *, host_s: FloatArray) -> None:
        """Drop the frame line at each flip, as the laboratory's readers expect it (TASK_FACTS 8)."""
        self.require()
        if len(host_s):
            self._last_flip_s = float(host_s[-1])
        jitter_s = self._rng_pulses.normal(0.0, PULSE_JITTER_S, len(host_s))
        falls_s = host_s + PULSE_LATENCY_S + np.abs(jitter_s)
        ticks = self.card_clock.ticks_of(falls_s)
        self._echoes.append(FramePulses(ticks, host_s, np.full(len(host_s), 2 * PULSE_LATENCY_S)))
        self._dense.append((ticks, Line.VSYNC_STIM.mask))
        self._dense.append((self.card_clock.ticks_of(falls_s + PULSE_WIDTH_S), Line.VSYNC_STIM.mask))
        if len(host_s) and not self._has_flipped:
            self._has_flipped = True
            self._patch_changes(self._photodiode.begin(float(host_s[0])))
        self._patch_changes(self._photodiode.flips(host_s))

    def _patch_changes(self, host_s: FloatArray) -> None:
        if len(host_s):
            self._dense.append((self.card_clock.ticks_of(host_s), Line.STIM_PHOTODIODE.mask))

    def running(self, *, level: bool) -> None:
        """See ``SyncOutputs.running``."""
        now_s = self.clock.now_s()
        self.drive(Line.STIM_RUNNING, level=level, host_s=now_s)
        self._running = level
        self._next_align_s = now_s + 1.0
        if not level:
            self._quiet_until_s = math.inf  # the session is over, and nobody takes licks any more

    def acquire(self, *, level: bool) -> None:
        """See ``SyncOutputs.acquire``."""
        self.drive(Line.ACQ_TRIGGER, level=level, host_s=self.clock.now_s())

    def _add_trains(self, now_s: float) -> None:
        while self._running and self._next_align_s <= now_s:
            self.toggle(Line.ALIGN, host_s=self._next_align_s)
            self.toggle(Line.ALIGN, host_s=self._next_align_s + ALIGN_WIDTH_S)
            self._next_align_s += float(self._rng_align.uniform(*ALIGN_INTERVAL_S))
        for line, (train, width_s) in self._trains.items():
            rises_s = train(self._flushed_host_s, now_s)
            if len(rises_s):
                self._dense.append((self.card_clock.ticks_of(rises_s), line.mask))
                self._dense.append((self.card_clock.ticks_of(rises_s + width_s), line.mask))
        self._flushed_host_s = now_s
