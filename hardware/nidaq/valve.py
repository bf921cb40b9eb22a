"""The reward valve: one counter's finite pulse, started by the lick itself or by the edge reader.

Two paths, one counter, so that one pulse excludes the other:

card
    The counter waits for its start trigger, the terminal that the lick sensor is wired to as well, and fires
    on the lick's own tick. Arming and disarming are calls of a driver and take a millisecond or so each; so it
    waits only well inside the window: from ``OPENING_S`` after it opens until ``CLOSING_S`` before it closes.
software
    The reader starts the counter when it sees a lick whose own ticks lie in the window. It serves the
    margins, a card whose lick line is not wired to the trigger, and every lick that the card has not paid.

Which of them paid is read back, never assumed: output level, then done. In that order a pulse that ends
between the two reads is still seen. A lick that the reader has seen is older than the read-back, hence a
counter that has neither fired nor is firing has not been started by it.

Between the read-back that finds nothing and the stop that follows it the card may still fire; the stop then
cuts the pulse. Cut within ``CUT_S`` it gave no water (no valve opens that fast), and the software path pays
that lick in full. After a longer gap the lick counts as paid, and what the echo measured is reported.

All calls are made in the edge reader's thread, with one exception: ``close_now`` stops the counter from
whatever thread it is called in. The pulse is finite, so the end of this process closes the valve as well.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hardware.calibration import ValveCalibration
from hardware.clock import TICKS_PER_S, Clock
from hardware.events import Finding
from hardware.lines import Line
from hardware.nidaq.checks import check_valve
from hardware.nidaq.connection import Connection, Untyped
from hardware.nidaq.edges import NidaqEdges
from hardware.nidaq.watchdog import Watchdog
from hardware.protocols import DeviceError, Identity, PulseOutcome, PulseReport

OPENING_S = 0.02
"""The card is armed this long after the window opens: far more than the estimate of the card's time is off."""
CLOSING_S = 0.06
"""And disarmed this long before it closes: a reader that is held up for less never lets a late lick be paid."""
SHORTEST_CARD_S = 0.05
"""A shorter wait is not worth arming the card for."""
CUT_S = 0.004
"""A pulse this short opens no valve."""
ECHO_LIMIT_S = 0.05
"""An echo that is not back this long after the pulse's end is missing."""
ECHO_TOLERANCE_S = 0.002
ECHO_TOLERANCE = 0.02
"""An echo may differ from what was asked by either, the larger of them."""
LOCK_LIMIT_S = 2.0


class SoftwareStart(NamedTuple):
    """A pulse that software has started for a lick: when the reader came to the lick, when its call returned."""

    lick_ticks: int
    looked_s: float
    returned_s: float


class _Armed(NamedTuple):
    reward: int
    open_s: float
    opens_ticks: int
    closes_ticks: int


class _Disarm(NamedTuple):
    reward: int


class _Fire(NamedTuple):
    reward: int
    open_s: float


class _Gap(NamedTuple):
    """When the card may have fired unnoticed: from the read-back until the stop."""

    begin_ticks: int
    end_ticks: int
    lasted_s: float

    def is_long(self) -> bool:
        """Return whether a pulse cut in it may have given water."""
        return self.lasted_s > CUT_S


@dataclass(slots=True)
class _Pulse:
    """A pulse that was started, until its echo has been judged."""

    reward: int
    open_s: float
    path: str
    started_ticks: int
    lick_ticks: int = -1
    fired: bool = False
    """Whether it has been reported."""
    rose_ticks: int = -1
    closed: bool = False
    """Whether it was ended before its time."""
    called_ticks: int = 0
    """When the call that started it began, at the earliest; nothing of it can be older."""
    on_lick_line: bool = False
    """Whether the lick line was high for just as long, and the echo's line was not."""

    def ends_ticks(self) -> int:
        started = self.rose_ticks if self.rose_ticks >= 0 else self.started_ticks
        return started + round(self.open_s * TICKS_PER_S)


def _is_as_long(open_s: float, asked_s: float) -> bool:
    """Return whether a line was high for as long as the valve was to be open."""
    return abs(open_s - asked_s) <= max(ECHO_TOLERANCE_S, ECHO_TOLERANCE * asked_s)


class NidaqValve:
    """Reward valve on a counter of the card. Opened after the edge source, whose thread it shares.

    Parameters
    ----------
    paths
        Which ways an armed lick may open the valve: ``software``, or both. The card alone can't serve the ends
        of the window.
    threaded
        Whether the watchdog has a thread that kicks it.
    """

    name = "valve"

    def __init__(
        self,
        *,
        connection: Connection,
        edges: NidaqEdges,
        clock: Clock,
        calibration: ValveCalibration,
        paths: Sequence[str],
        threaded: bool = True,
    ) -> None:
        if "software" not in paths:
            raise DeviceError(
                device=self.name,
                what="the card's path alone can't pay licks at the ends of the window",
                remedy="add software to the valve's paths in the rig's file",
            )
        self._connection = connection
        self._edges = edges
        self._clock = clock
        self.calibration = calibration
        self._paths = tuple(paths)
        self._identity: Identity | None = None
        self._task: Untyped = None
        self._channel: Untyped = None
        self._lock = threading.RLock()
        # The loop's view: what it has asked for and has not been answered.
        self._asked: deque[_Armed | _Disarm | _Fire] = deque()
        self._claimed: int | None = None
        self._firing = False
        # The reader's view.
        self._armed: _Armed | None = None
        self._waiting_on_card = False
        self._running: _Pulse | None = None  # on the counter, until it has been stopped
        self._pending: _Pulse | None = None  # until its echo has been judged
        self._gap: _Gap | None = None
        self._leaving: int | None = None
        self._leaving_s = 0.0
        self._set_open_s = 0.0
        self._lick_rose_ticks = -1
        self._n_licks = 0
        self._opened_s = 0.0
        self.tells_output = True
        """Whether the driver tells the level of the counter's output."""
        config = connection.config
        self.watchdog: Watchdog | None = None
        if config.watchdog_s is not None:
            self.watchdog = Watchdog(
                connection=connection,
                terminal=config.valve_terminal,
                timeout_s=config.watchdog_s,
                is_served=self._is_served,
                threaded=threaded,
            )
        self._reports: deque[PulseReport] = deque()
        self._error: DeviceError | None = None
        self.n_pulses = 0
        self.n_by_card = 0
        self.n_cut = 0
        self.n_stray = 0
        self.slowest_s = 0.0
        """The longest from a paid lick to the return of the call that started the counter."""
        self.starts: deque[SoftwareStart] = deque(maxlen=1000)
        """The last pulses that software has started."""
        self._looked_s = 0.0
        edges.watch((Line.LICK_SENSOR, Line.REWARD_ECHO), self._edge)
        edges.attend(self)

    def open(self) -> Identity:
        """Take the counter and its terminal; the valve is closed."""
        if self._identity is not None:
            return self._identity
        self._connection.open()
        config = self._connection.config
        try:
            with self._lock, self._connection.calls(self.name):
                k = self._connection.constants
                task = self._task = self._connection.task("valve")
                self._set_open_s = self.calibration.open_time_s(self.calibration.volume_min_ul)
                self._channel = task.co_channels.add_co_pulse_chan_time(
                    config.channel(config.valve_counter),
                    idle_state=k.Level.LOW,
                    low_time=0.001,
                    high_time=self._set_open_s,
                )
                self._channel.co_pulse_term = config.terminal(config.valve_terminal)
                task.timing.cfg_implicit_timing(sample_mode=k.AcquisitionType.FINITE, samps_per_chan=1)
                task.control(k.TaskMode.TASK_COMMIT)
                self.tells_output = self._output_known()
            if self.watchdog is not None:
                self.watchdog.open()
        except DeviceError:
            self.close()
            raise
        self._error = None
        self._n_licks, self._opened_s = 0, self._clock.now_s()
        self._identity = Identity(
            device=self.name,
            model=f"counter {config.valve_counter} on {config.valve_terminal}, paths {' and '.join(self._paths)}",
        )
        return self._identity

    def check(self) -> list[Finding]:
        """Name the calibration, the lines at rest and the read-back."""
        watchdog = self.watchdog
        return check_valve(
            calibration=self.calibration,
            state=self._edges.state,
            tells_output=self.tells_output,
            n_licks=self._n_licks,
            listened_s=self._clock.now_s() - self._opened_s,
            watchdog_s=watchdog.timeout_s if watchdog is not None else None,
            watchdog_error=watchdog.error if watchdog is not None else None,
        )

    def health(self) -> dict[str, float]:
        """Return counts of pulses and the slowest software path since the last call."""
        slowest_s, self.slowest_s = self.slowest_s, 0.0
        return {
            "n_pulses": float(self.n_pulses),
            "n_by_card": float(self.n_by_card),
            "n_cut": float(self.n_cut),
            "n_stray_openings": float(self.n_stray),
            "slowest_lick_to_pulse_ms": slowest_s * 1e3,
        }

    def close(self) -> None:
        """Close the valve and let go of the counter."""
        self.close_now()
        if self.watchdog is not None:
            self.watchdog.close()
        with self._held():
            task, self._task = self._task, None
            self._identity = None
        if task is not None:
            self._connection.clear(task)

    def open_time_s(self, *, volume_ul: float) -> float:
        """See ``RewardValve.open_time_s``."""
        return self.calibration.open_time_s(volume_ul)

    def arm(self, *, reward: int, volume_ul: float, opens_ticks: int, closes_ticks: int) -> None:
        """See ``RewardValve.arm``."""
        self._require()
        self._refuse_while_armed()
        open_s = self.open_time_s(volume_ul=volume_ul)
        self._claimed = reward
        self._asked.append(_Armed(reward, open_s, opens_ticks, closes_ticks))
        self._edges.hurry()

    def disarm(self, *, reward: int) -> None:
        """See ``RewardValve.disarm``."""
        self._require()
        if self._claimed == reward:
            self._claimed = None
            self._asked.append(_Disarm(reward))
            self._edges.hurry()

    def pulse(self, *, reward: int, volume_ul: float) -> None:
        """See ``RewardValve.pulse``."""
        self._require()
        self._refuse_while_armed()
        open_s = self.open_time_s(volume_ul=volume_ul)
        if self._firing or self._running is not None:
            raise DeviceError(
                device=self.name, what="the valve is open already", remedy="wait until the pulse before it has ended"
            )
        self._firing = True
        self._asked.append(_Fire(reward, open_s))
        self._edges.hurry()

    def poll(self) -> Sequence[PulseReport]:
        """See ``RewardValve.poll``."""
        if self._reports:
            return [self._reports.popleft() for _ in range(len(self._reports))]
        error, self._error = self._error, None
        if error is None and self.watchdog is not None:
            error = self.watchdog.take_error()
        error = error or self._connection.take_late()
        if error is not None:
            raise error
        return ()

    def close_now(self) -> None:
        """See ``RewardValve.close_now``: waits for a call under way, at most ``LOCK_LIMIT_S``."""
        with self._held():
            self._asked.clear()
            self._armed = self._claimed = self._gap = self._leaving = None
            self._firing = False
            if self._pending is not None:
                self._pending.closed = True
            if self._task is not None and (self._running is not None or self._waiting_on_card):
                stopped = self._halt()
                self._waiting_on_card = self._waiting_on_card and not stopped
            self._running = None

    def _is_served(self) -> bool:
        """Return whether the reader has been here lately: a watchdog is not to be kept from a valve nobody serves."""
        watchdog = self.watchdog
        return watchdog is None or self._clock.now_s() - self._edges.polled_s < watchdog.timeout_s / 2

    def _halt(self) -> bool:
        """Stop the counter; return whether the driver has, and have ``poll`` say so if it has not."""
        try:
            with self._connection.calls(self.name):
                self._task.stop()
        except DeviceError as error:
            self._error = error
            return False
        with contextlib.suppress(Exception):
            self._task.triggers.start_trigger.disable_start_trig()
        return True

    def _require(self) -> None:
        gone = self._connection.gone
        if gone is not None:
            raise DeviceError(device=self.name, what=gone.what, remedy=gone.remedy)

    def _refuse_while_armed(self) -> None:
        if self._claimed is not None:
            raise DeviceError(
                device=self.name,
                what=f"reward {self._claimed} is armed already",
                remedy="disarm it first: there is one counter, and what it was set to would be lost",
            )

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the lock if it can be had in time; go on without it otherwise, since the valve must close."""
        taken = self._lock.acquire(timeout=LOCK_LIMIT_S)
        try:
            yield
        finally:
            if taken:
                self._lock.release()

    def before_edges(self) -> None:
        """Take what was armed or asked for, so that it is there before this poll's licks are judged.

        What withdraws a reward waits until they have been.
        """
        if self._asked:
            self._obey(until_disarm=True)

    def serve(self, *, host_s: float) -> None:
        """Take what was asked for; arm and disarm the card; end and judge pulses."""
        if self._task is None or (self._connection.gone is not None and self._is_idle()):
            return
        with self._lock:
            try:
                with self._connection.calls(self.name):
                    self._serve(host_s)
            except DeviceError as error:
                self._give_up(error)

    def due_s(self) -> float:
        """See ``Service.due_s``."""
        due = [self._leaving_s if self._leaving is not None else math.inf]
        time, armed, running, pending = self._edges.time, self._armed, self._running, self._pending
        if armed is not None and "card" in self._paths and running is None and self._gap is None:
            due.append(time.host_s(self._card_until(armed) if self._waiting_on_card else self._card_from(armed)))
        if running is not None:
            due.append(time.host_s(running.ends_ticks()))
        if pending is not None:
            due.append(time.host_s(pending.ends_ticks()) + ECHO_LIMIT_S)
        return min(due)

    def _is_idle(self) -> bool:
        return self._armed is None and self._running is None and self._pending is None and not self._asked

    def _serve(self, host_s: float) -> None:
        self._settle(host_s)
        if (lost := self._edges.lost) is not None:
            self._abandon(f"the card's edges can't be read any more: {lost.what}")
            return
        self._leave()
        if self._asked:
            self._obey(until_disarm=False)
        armed = self._armed
        if armed is None or self._running is not None:
            return
        now_ticks = self._edges.time.ticks(host_s)
        if self._waiting_on_card:
            if now_ticks >= self._card_until(armed):
                self._take_back(armed)
        elif self._gap is None and "card" in self._paths and self._may_wait_on_card(armed, host_s, now_ticks):
            self._wait_on_card(armed)

    def _obey(self, *, until_disarm: bool) -> None:
        with self._lock:
            try:
                with self._connection.calls(self.name):
                    while self._asked and self._leaving is None:
                        if until_disarm and isinstance(self._asked[0], _Disarm):
                            return
                        self._carry_out(self._asked.popleft())
            except DeviceError as error:
                self._give_up(error)

    def _carry_out(self, asked: _Armed | _Disarm | _Fire) -> None:
        match asked:
            case _Armed():
                self._armed, self._gap = asked, None
                if self._running is None:
                    self._set(asked.open_s)
            case _Disarm():
                self._withdraw(asked.reward)
            case _Fire():
                try:
                    self._start(_Pulse(asked.reward, asked.open_s, "commanded", 0))
                finally:
                    self._firing = False

    def _edge(self, *, ticks: int, changed: int, state: int) -> None:
        """Judge a lick and an echo; the lick first, since a card that pays it does so on the same tick."""
        if self._task is None:
            return
        self._looked_s = self._clock.now_s()
        with self._lock:
            try:
                with self._connection.calls(self.name):
                    if changed & state & Line.LICK_SENSOR.mask:
                        self._n_licks, self._lick_rose_ticks = self._n_licks + 1, ticks
                        self._lick(ticks)
                    elif changed & Line.LICK_SENSOR.mask:
                        self._tongue_leaves(ticks)
                    if changed & Line.REWARD_ECHO.mask:
                        self._echo(ticks, rising=bool(state & Line.REWARD_ECHO.mask))
            except DeviceError as error:
                self._give_up(error)

    def _lick(self, ticks: int) -> None:
        armed, running, gap = self._armed, self._running, self._gap
        if armed is None or not armed.opens_ticks <= ticks <= armed.closes_ticks:
            return
        if running is not None and not running.fired:  # read back before the lick itself was read
            self._fired(running, lick_ticks=ticks)
            return
        if self._is_open_at(ticks):
            return
        if self._waiting_on_card:
            if self._has_fired():
                self._card_has_paid(armed, ticks)
                return
            self._stop()
        elif gap is not None and gap.begin_ticks <= ticks <= gap.end_ticks and gap.is_long():
            pulse = self._pending = _Pulse(armed.reward, armed.open_s, "card", ticks, closed=True)
            self._fired(pulse, lick_ticks=ticks)
            return
        if self._leaving is None:
            self._start(_Pulse(armed.reward, armed.open_s, "software", ticks, lick_ticks=ticks))

    def _tongue_leaves(self, ticks: int) -> None:
        """Look whether it was a tongue: a contact just as long as the pulse under way may be the pulse itself."""
        pulse = self._pending
        if pulse is not None and self._lick_rose_ticks >= pulse.called_ticks:
            pulse.on_lick_line |= _is_as_long((ticks - self._lick_rose_ticks) / TICKS_PER_S, pulse.open_s)

    def _is_open_at(self, ticks: int) -> bool:
        """Return whether the valve is open at a lick, which then spends nothing; make the counter ready if not."""
        if self._running is None:
            return False
        if ticks < self._running.ends_ticks() or not self._task.is_task_done():
            return True
        self._rest(self._running)
        return False

    def _echo(self, ticks: int, *, rising: bool) -> None:
        if rising:
            armed = self._armed
            if self._pending is None and armed is not None and self._waiting_on_card and self._has_fired():
                self._card_has_paid(armed, ticks)  # on a lick that the inputs did not see
            pulse = self._pending
            if pulse is None:
                self.n_stray += 1
                return
            pulse.rose_ticks = ticks
            if not pulse.fired:
                self._fired(pulse, lick_ticks=ticks)
            return
        pulse = self._pending
        if pulse is None or pulse.rose_ticks < 0:
            return
        open_s = (ticks - pulse.rose_ticks) / TICKS_PER_S
        if open_s < CUT_S < pulse.open_s and not pulse.closed:  # the card's, taken back while it fired
            self.n_cut += 1
            pulse.rose_ticks = -1
        elif _is_as_long(open_s, pulse.open_s):
            self._pending = None
            if self._running is pulse and self._task.is_task_done():  # before the report, which may be answered at once
                self._rest(pulse)
            self._reports.append(
                PulseReport(pulse.reward, PulseOutcome.CONFIRMED, ticks=pulse.rose_ticks, open_s=open_s)
            )
        else:
            self._fail(pulse, f"the valve was open for {open_s * 1e3:.1f} ms instead of {pulse.open_s * 1e3:.1f} ms")

    def _set(self, open_s: float) -> None:
        """Set the open time and commit; the counter is stopped (NIDAQ_NOTES 8.6)."""
        if open_s != self._set_open_s:
            self._channel.co_pulse_high_time = open_s
            self._set_open_s = open_s
            self._commit()

    def _start(self, pulse: _Pulse) -> None:
        """Open the valve; the one place where software does so."""
        if self._pending is not None:
            self._fail(self._pending, "its echo had not come back when the next pulse began")
        self._set(pulse.open_s)
        before_s = self._clock.now_s()
        slack_s = self._edges.time.uncertainty_s(before_s)
        pulse.called_ticks = self._edges.time.ticks(before_s - slack_s)
        self._running = self._pending = pulse
        self._task.start()
        after_s = self._clock.now_s()
        time = self._edges.time
        pulse.started_ticks = max(pulse.lick_ticks, time.ticks((before_s + after_s) / 2))
        if pulse.lick_ticks >= 0:
            self.slowest_s = max(self.slowest_s, after_s - time.host_s(pulse.lick_ticks))
            self.starts.append(SoftwareStart(pulse.lick_ticks, self._looked_s, after_s))
        self._fired(pulse, lick_ticks=pulse.lick_ticks)

    def _rest(self, pulse: _Pulse) -> None:
        """Stop a counter whose pulse is done: without it, it would not pulse again (NIDAQ_NOTES 8.8)."""
        self._running = None
        if pulse.path == "card":
            self._stop()
        else:
            self._task.stop()
        if self._armed is not None:
            self._set(self._armed.open_s)

    def _stop(self) -> None:
        """Stop the counter and have it start by software from now on."""
        self._task.stop()
        self._waiting_on_card = False
        self._by_software()

    def _by_software(self) -> None:
        """Have a stopped counter start by software, and soon."""
        self._task.triggers.start_trigger.disable_start_trig()
        self._commit()

    def _commit(self) -> None:
        self._task.control(self._connection.constants.TaskMode.TASK_COMMIT)

    def _settle(self, host_s: float) -> None:
        """Stop a counter whose pulse is over; miss an echo that does not come."""
        now_ticks = self._edges.time.ticks(host_s)
        read_ticks = self._edges.time.ticks(self._edges.read_until_s)  # a poll may take longer than an echo's limit
        running, pending = self._running, self._pending
        if running is not None:
            if not running.fired and read_ticks > running.started_ticks + ECHO_LIMIT_S * TICKS_PER_S:
                self._fired(running, lick_ticks=running.started_ticks)  # neither its lick nor its echo was seen
            if now_ticks >= running.ends_ticks() and self._task.is_task_done():
                self._rest(running)
        if pending is not None and read_ticks > pending.ends_ticks() + ECHO_LIMIT_S * TICKS_PER_S:
            closed = "; it was closed before its time" if pending.closed else ""
            swapped = ", and the lick line rose for as long: the two may be swapped" if pending.on_lick_line else ""
            self._fail(pending, f"the valve was opened but its echo did not come back{swapped}{closed}")

    @staticmethod
    def _card_from(armed: _Armed) -> int:
        return armed.opens_ticks + round(OPENING_S * TICKS_PER_S)

    @staticmethod
    def _card_until(armed: _Armed) -> int:
        return armed.closes_ticks - round(CLOSING_S * TICKS_PER_S)

    def _may_wait_on_card(self, armed: _Armed, host_s: float, now_ticks: int) -> bool:
        """Return whether now is well inside the window, known well enough, and the reader quick enough to end it."""
        return (
            self._card_from(armed) <= now_ticks <= self._card_until(armed) - SHORTEST_CARD_S * TICKS_PER_S
            and self._edges.time.uncertainty_s(host_s) < OPENING_S / 2
            and self._edges.slow_s < CLOSING_S / 4
        )

    def _wait_on_card(self, armed: _Armed) -> None:
        config = self._connection.config
        self._set(armed.open_s)
        self._task.triggers.start_trigger.cfg_dig_edge_start_trig(config.terminal(config.lick_terminal))
        self._waiting_on_card = True
        self._task.start()

    def _output_known(self) -> bool:
        """Return whether the driver tells the level of the counter's output."""
        try:
            _ = self._channel.co_output_state
        except self._connection.errors:
            return False
        return True

    def _has_fired(self) -> bool:
        """Read back whether the counter has fired: output first, then done (see the module's docstring)."""
        if self.tells_output:
            high = self._channel.co_output_state is self._connection.constants.Level.HIGH
        else:
            high = bool(self._edges.state & Line.REWARD_ECHO.mask)
        return high or bool(self._task.is_task_done())

    def _take_back(self, armed: _Armed) -> bool:
        """Wait on the card no longer; return whether it has fired."""
        time = self._edges.time
        begin_s = self._clock.now_s()
        if self._has_fired():
            self._card_has_paid(armed, -1)
            return True
        self._task.stop()
        end_s = self._clock.now_s()
        slack = round(time.uncertainty_s(end_s) * TICKS_PER_S)
        self._gap = _Gap(time.ticks(begin_s) - slack, time.ticks(end_s) + slack, end_s - begin_s)
        self._waiting_on_card = False
        self._by_software()
        return False

    def _card_has_paid(self, armed: _Armed, lick_ticks: int) -> None:
        """Take note that the card has fired; without its lick, the report waits until that has been read."""
        self._waiting_on_card = False
        self.n_by_card += 1
        if self._pending is not None:
            self._fail(self._pending, "its echo had not come back when the next pulse began")
        started = lick_ticks if lick_ticks >= 0 else self._edges.time.ticks(self._clock.now_s())
        pulse = self._running = self._pending = _Pulse(armed.reward, armed.open_s, "card", started)
        if lick_ticks >= 0:
            self._fired(pulse, lick_ticks=lick_ticks)

    def _withdraw(self, reward: int) -> None:
        """Withdraw an armed reward: at once, or after one more poll if the card had been waiting."""
        armed = self._armed
        if armed is None or armed.reward != reward or self._running_unread():
            return
        if self._waiting_on_card:
            if not self._take_back(armed):
                self._leaving, self._leaving_s = reward, self._clock.now_s()
        else:
            self._disarmed(reward)

    def _running_unread(self) -> bool:
        """Return whether the card has paid a lick that has not been read yet."""
        return self._running is not None and not self._running.fired

    def _leave(self) -> None:
        """Finish a withdrawal: all edges up to the stop have been read, and none was paid."""
        if self._leaving is not None and self._armed is not None:
            self._disarmed(self._leaving)
        self._leaving = None

    def _disarmed(self, reward: int) -> None:
        self._armed = self._gap = None
        self._reports.append(PulseReport(reward, PulseOutcome.DISARMED))

    def _fired(self, pulse: _Pulse, *, lick_ticks: int) -> None:
        """Report a pulse, once; what was armed is spent."""
        pulse.fired, pulse.lick_ticks = True, lick_ticks
        armed = self._armed
        if pulse.path != "commanded":
            if armed is not None and armed.reward == pulse.reward:
                self._armed = self._gap = None
            if self._claimed == pulse.reward:
                self._claimed = None
            if pulse.path == "card":
                pulse.started_ticks = lick_ticks
        self.n_pulses += 1
        self._reports.append(
            PulseReport(
                pulse.reward, PulseOutcome.FIRED, ticks=pulse.started_ticks, lick_ticks=lick_ticks, path=pulse.path
            )
        )
        if armed is not None and lick_ticks > armed.closes_ticks:
            late_s = (lick_ticks - armed.closes_ticks) / TICKS_PER_S
            self._error = DeviceError(
                device=self.name,
                what=f"the card has paid a lick {late_s * 1e3:.1f} ms after its window",
                remedy="look what keeps this computer busy; leave the card's path out of the rig's file",
            )

    def _fail(self, pulse: _Pulse, why: str) -> None:
        """Report that a pulse was not what was asked for."""
        if self._pending is pulse:
            self._pending = None
        if self._claimed == pulse.reward and not pulse.fired:
            self._claimed = None
        self._reports.append(PulseReport(pulse.reward, PulseOutcome.FAILED, why=why))

    def _abandon(self, why: str) -> None:
        """Withdraw what is armed or asked for, since nobody can tell licks and echoes any more."""
        armed = self._armed
        if armed is not None and not self._running_unread():
            paid = self._waiting_on_card and self._take_back(armed)
            if not paid:
                self._drop(armed.reward, why)
        while self._asked:
            asked = self._asked.popleft()
            if isinstance(asked, _Fire):
                self._carry_out(asked)
            elif isinstance(asked, _Armed):
                self._drop(asked.reward, why)

    def _drop(self, reward: int, why: str) -> None:
        self._armed = self._gap = self._leaving = None
        if self._claimed == reward:
            self._claimed = None
        self._reports.append(PulseReport(reward, PulseOutcome.FAILED, why=why))

    def _give_up(self, error: DeviceError) -> None:
        """Close the valve as far as that is possible and say what failed: each reward once, then the valve."""
        pending, armed = self._pending, self._armed
        self._halt()
        self._running, self._waiting_on_card, self._firing = None, False, False
        if pending is not None:
            self._fail(pending, error.what)
        if armed is not None and (pending is None or pending.reward != armed.reward):
            self._drop(armed.reward, error.what)
        self._armed = self._gap = self._leaving = None
        while self._asked:
            asked = self._asked.popleft()
            if not isinstance(asked, _Disarm):
                self._drop(asked.reward, error.what)
        self._error = error
