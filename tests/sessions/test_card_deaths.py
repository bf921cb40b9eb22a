"""``rig run`` on the twin, and a process of it killed: the session in mid pulse, or the card's server.

Everything here is a process of its own, as on a rig. The twin that outlives its session is reached as a card behind
a device server is; then its scope can be asked what became of the pulse.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from hardware.calibration import ValveCalibration
from hardware.clock import TICKS_PER_S
from hardware.simulated.twin import Twin
from rig.config.files import load_rig, shipped
from rig.log.reader import SessionLog, read_session
from rig.log.replay import replay
from rig.session.backends import calibration_of
from rig.session.control import Request, Running, ask, running_sessions
from stages.events import AlarmRaised, DeviceFault, EndReason, Lick, Verb
from tests.builders import GRATINGS
from tests.hardware.card_on_twin import CALIBRATION, WIRES
from tests.telling import Tell

SOON_S = 60.0
"""For a process to come or go on a machine that is busy with other things."""
NAMED_WITHIN_S = 1.0
LONG_UL = 100.0
"""A pulse of 0.7 s, so that a kill falls into it even on a busy machine."""
ROOT = Path(__file__).resolve().parents[2]


def wait(happened: Callable[[], object]) -> None:
    limit_s = time.monotonic() + SOON_S
    while not happened():
        assert time.monotonic() < limit_s, "it did not happen"
        time.sleep(0.01)


@dataclass
class RigRun:
    """``rig run`` in a process, its session in another, and perhaps the twin in a third."""

    process: subprocess.Popen[str]
    state: Path
    out: Path

    def session(self) -> Running:
        """The session that runs."""
        found: list[Running] = []
        wait(lambda: found or self._ended() or found.extend(running_sessions(self.state / "open-vision-rig/running")))
        return found[0]

    def log(self) -> SessionLog:
        (folder,) = self.out.iterdir()
        return read_session(folder)

    def checked(self) -> None:
        """Wait until the checks are over: the log has begun."""
        wait(lambda: self._ended() or any(file.read_bytes() for file in self._logs()))

    def begun(self) -> None:
        """Wait until the session is some seconds old: its log has grown."""
        wait(lambda: self._ended() or any(len(file.read_bytes().splitlines()) > 40 for file in self._logs()))

    def _logs(self) -> Iterator[Path]:
        return self.out.glob("*/events.jsonl")

    def said(self) -> tuple[int, str]:
        """How it ended: exit code and all that it said."""
        said, _ = self.process.communicate(timeout=SOON_S)
        return self.process.returncode, said

    def _ended(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()[0]
        return False


@contextmanager
def rig_run(tmp_path: Path, rig: str | Path) -> Iterator[RigRun]:
    """Start ``rig run`` with a state folder of its own; end it, and what it has started, in any case."""
    state, out = tmp_path / "state", tmp_path / "sessions"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "rig", "run", "--mouse", "M1", "--stage", GRATINGS, "--minutes", "5"),
            *("--rig", str(rig), "--simulated-mouse", "always", "--seed", "1", "--out", str(out)),
        ],
        cwd=ROOT,
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield RigRun(process, state, out)
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.communicate()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Twin, Path]]:
    """A twin that runs by itself with a mouse behind it, and a rig's file that names its address."""
    text = shipped("rigs")["twin"].read_text(encoding="utf-8")
    with Twin(drift_ppm=50.0) as twin:
        for was, becomes in (
            ("twin:\n    drift_ppm: 50", "twin: null"),
            ("address: null ", f"address: {twin.address} "),
            ("volume_max_ul: 15", f"volume_max_ul: {LONG_UL:g}"),
        ):
            assert was in text
            text = text.replace(was, becomes)
        file = tmp_path / "served.yaml"
        file.write_text(text, encoding="utf-8")
        for source, target in WIRES:
            twin.bench.wire(source, target)
        twin.bench.mouse("always", 1, twin.bench.now_s(), "PFI0", valve="PFI12")
        twin.bench.spout(at_mouse=False)  # until the checks are over, which want a quiet lick line
        yield twin, file


def calibration(file: Path) -> ValveCalibration:
    return calibration_of(load_rig(str(file)))


def reward(running: Running, *, volume_ul: float) -> None:
    """Ask the session for a free reward, as an operator does."""
    request = Request(
        id=str(uuid4()), verb=Verb.REWARD, who="tester", expires_at=time.time() + 5.0, volume_ul=volume_ul
    )
    assert list(ask(running, request, timeout_s=SOON_S))[-1].what == "free reward given"


def events(log: SessionLog, kind: type) -> list:
    return [entry.event for entry in log.entries if isinstance(entry.event, kind)]


def test_a_session_killed_in_mid_pulse_leaves_a_pulse_that_ends_on_time_to_the_tick(
    tmp_path: Path, served: tuple[Twin, Path], tell: Tell
) -> None:
    twin, file = served
    with rig_run(tmp_path, file) as run:
        running = run.session()
        run.checked()
        twin.bench.spout(at_mouse=True)
        run.begun()
        before = len(twin.bench.scope("ctr0"))
        reward(running, volume_ul=LONG_UL)
        wait(lambda: twin.bench.level("ctr0"))
        killed_s = time.perf_counter()
        os.kill(running.pid, signal.SIGKILL)
        code, said = run.said()
    wait(lambda: not twin.bench.level("ctr0"))
    (rose, up), (fell, down) = twin.bench.scope("ctr0")[before:]
    assert (up, down) == (True, False)
    assert twin.bench.host_s(rose) < killed_s < twin.bench.host_s(fell)
    open_s = calibration(file).open_time_s(LONG_UL)
    assert fell - rose == round(open_s * TICKS_PER_S)
    into_s = killed_s - twin.bench.host_s(rose)
    tell(f"killed {into_s * 1e3:.0f} ms into a pulse of {open_s * 1e3:.4f} ms, took {(fell - rose) / 1e5} ms")

    assert code == 1
    assert "the session's process ended with code -9; what it recorded is in" in said
    log = run.log()
    assert log.ended is None
    assert all("torn" in damage for damage in log.damage)
    licks, made = [lick.ticks for lick in events(log, Lick)], [ticks for ticks, _ in _licks(twin)]
    first = made.index(licks[0])  # the first were licked before the session
    assert licks == made[first : first + len(licks)]
    assert replay(log).difference is None


def _licks(twin: Twin) -> list[tuple[int, float]]:
    return [(ticks, host_s) for host_s, ticks, reached in twin.bench.mouse_truth().licks if reached]


ARMED = """
import time
from hardware.clock import HostClock
from hardware.nidaq.connection import CardConfig, Connection
from hardware.nidaq.edges import NidaqEdges
from hardware.nidaq.valve import NidaqValve
from tests.builders import GRATINGS
from tests.hardware.card_on_twin import CALIBRATION
clock = HostClock()
connection = Connection(CardConfig(address={address!r}, watchdog_s={watchdog_s}))
edges = NidaqEdges(connection=connection, clock=clock)
paths = ("card", "software")
valve = NidaqValve(connection=connection, edges=edges, clock=clock, calibration=CALIBRATION, paths=paths)
edges.open()
valve.open()
now = edges.time.ticks(clock.now_s())
valve.arm(reward=1, volume_ul=15.0, opens_ticks=now, closes_ticks=now + 60 * 10**8)
while not valve._waiting_on_card:
    time.sleep(0.001)
print("armed", flush=True)
time.sleep(60.0)
"""


@pytest.mark.parametrize(("watchdog_s", "n_paid"), [(None, 1), (1.0, 0)])
def test_a_card_left_armed_by_a_process_that_was_killed_pays_one_lick_at_most_and_none_once_its_watchdog_has_expired(
    watchdog_s: float | None, n_paid: int
) -> None:
    with Twin() as twin:
        bench = twin.bench
        for source, target in WIRES:
            bench.wire(source, target)
        script = ARMED.format(address=twin.address, watchdog_s=watchdog_s)
        process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "armed\n"
            process.kill()
        time.sleep((watchdog_s or 0.0) * 1.2)
        now_s = bench.now_s()
        bench.edges("PFI0", [now_s + 0.1, now_s + 0.13, now_s + 0.4, now_s + 0.43])
        wait(lambda: bench.now_s() > now_s + 0.8)
        changes = bench.scope("PFI12")
        assert len(changes) == 2 * n_paid
        if n_paid:
            (rose, _), (fell, _) = changes
            assert fell - rose == round(CALIBRATION.open_time_s(15.0) * TICKS_PER_S)


def test_the_twin_of_a_session_that_was_killed_ends_with_it(tmp_path: Path) -> None:
    with rig_run(tmp_path, "twin") as run:
        running = run.session()
        run.begun()
        twin = _twin_of(running)
        os.kill(running.pid, signal.SIGKILL)
        run.said()
        wait(lambda: not psutil.pid_exists(twin.pid) or twin.status() == psutil.STATUS_ZOMBIE)


def test_a_server_that_is_killed_is_named_within_a_second_and_ends_the_session(tmp_path: Path, tell: Tell) -> None:
    with rig_run(tmp_path, "twin") as run:
        running = run.session()
        run.begun()
        twin = _twin_of(running)
        killed_s = time.perf_counter()
        twin.kill()
        code, said = run.said()
    log = run.log()
    (fault,) = [fault for fault in events(log, DeviceFault) if fault.device == "card"]
    named_s = fault.time_s - (killed_s - log.started.host_zero_s)
    tell(f"the server's death was named {named_s * 1e3:.0f} ms after it")
    assert -0.1 < named_s <= NAMED_WITHIN_S, "a fault has the time of the flip before it was met"
    assert fault.what.startswith("the device server no longer answers")
    assert "card" in [alarm.alarm for alarm in events(log, AlarmRaised)]
    assert code == 1
    assert f"card: {fault.what}" in said
    assert "Traceback" not in said
    assert log.ended is not None
    assert (log.ended.reason, log.damage) == (EndReason.FAULT, [])
    assert replay(log).difference is None
    assert not psutil.pid_exists(running.pid)


def _twin_of(running: Running) -> psutil.Process:
    (twin,) = [
        child
        for child in psutil.Process(running.pid).children(recursive=True)
        if "hardware.simulated.twin" in child.cmdline()
    ]
    return twin
