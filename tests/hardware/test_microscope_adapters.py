"""The two ready instruments, behind a real server: a trigger line and command lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hardware.clock import HostClock
from hardware.events import MicroscopePhase, MicroscopeState
from hardware.links.secured import Keys
from hardware.microscope.adapters import CommandLine, TriggerLine
from hardware.microscope.client import MicroscopeClient, Peer
from hardware.microscope.commander import LinkSettings
from hardware.microscope.messages import Recording, Verb
from hardware.microscope.server import Cannot, Instrument, MicroscopeServer
from hardware.nidaq.trigger import trigger_output
from hardware.simulated.twin import Twin

P = MicroscopePhase
SOON_S = 20.0
RECORDING = Recording(session="s1", mouse="M1", stage="OPHYS_4", plane_groups=4, frame_rate_hz=11.0)


@contextmanager
def commanded(instrument: Instrument) -> Iterator[MicroscopeClient]:
    """A rig's client of an instrument, with keys."""
    scope, rig = Keys.new(), Keys.new()
    settings = LinkSettings(who="rig", heartbeat_s=0.2, reply_s=5.0, plane_groups=4, frame_rate_hz=11.0)
    with MicroscopeServer(instrument, keys=scope, allowed=[rig.public]) as server:
        peer = Peer(endpoint=f"tcp://127.0.0.1:{server.port}", keys=rig, server_public=scope.public)
        client = MicroscopeClient(peer=peer, settings=settings, clock=HostClock())
        try:
            client.open()
            yield client
        finally:
            client.close()


def until(client: MicroscopeClient, *phases: MicroscopePhase) -> MicroscopeState:
    limit_s = time.monotonic() + SOON_S
    while time.monotonic() < limit_s:
        for event in client.poll():
            if isinstance(event, MicroscopeState) and event.phase in phases:
                return event
        time.sleep(0.005)
    raise TimeoutError(f"has not become {phases}")


def record(client: MicroscopeClient) -> None:
    client.prepare(session_id="s1", mouse="M1", stage="OPHYS_4")
    until(client, P.PREPARED)
    client.arm()
    until(client, P.ARMED)
    client.start()
    until(client, P.ACQUIRING)


def test_a_trigger_line_is_high_while_it_records() -> None:
    levels: list[bool] = []
    with commanded(TriggerLine(levels.append)) as client:
        record(client)
        assert levels == [False, True]
        client.stop()
        stopped = until(client, P.STOPPED)
    assert levels == [False, True, False]
    assert stopped.n_frames is None, "nobody has counted them here: that is no 0"


def test_a_trigger_line_of_a_card_rises_and_falls() -> None:
    with Twin() as twin:
        with (
            trigger_output(device="Dev1", line="port1/line6", address=twin.address) as drive,
            commanded(TriggerLine(drive)) as client,
        ):
            record(client)
            assert twin.bench.level("port1/line6")
            client.stop()
            until(client, P.STOPPED)
            assert not twin.bench.level("port1/line6")
        assert twin.bench.n_tasks() == 0


def test_a_trigger_line_falls_however_the_program_ends() -> None:
    """A card holds its last level when nobody drives it any more: a high one would have the microscope go on."""

    def interrupted(twin: Twin) -> None:
        with trigger_output(device="Dev1", line="port1/line6", address=twin.address) as drive:
            drive(True)
            assert twin.bench.level("port1/line6")
            raise KeyboardInterrupt

    with Twin() as twin:
        with pytest.raises(KeyboardInterrupt):
            interrupted(twin)
        assert not twin.bench.level("port1/line6")
        assert twin.bench.n_tasks() == 0


def writing(file: Path, words: str) -> list[str]:
    return [sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')", str(file), words]


def test_programs_are_run_with_the_recordings_names_and_no_shell(tmp_path: Path) -> None:
    file = tmp_path / "said"
    programs = {
        Verb.PREPARE: writing(file, "prepare {session} {mouse} {stage} {plane_groups} {frame_rate_hz} $HOME;"),
        Verb.START: writing(file, "start {session} {not_ours}"),
        Verb.STOP: writing(file, "stop"),
    }
    with commanded(CommandLine(programs, limit_s=SOON_S)) as client:
        record(client)
        client.stop()
        until(client, P.STOPPED)
    assert file.read_text().splitlines() == ["prepare s1 M1 OPHYS_4 4 11.0 $HOME;", "start s1 {not_ours}", "stop"]


@pytest.mark.parametrize(
    ("program", "limit_s", "says"),
    [
        ([sys.executable, "-c", "import sys; sys.exit('no laser')"], SOON_S, "ended with 1: no laser"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], 0.3, "was ended: it took longer than 0.3 s to start"),
        (["/nowhere/scan"], SOON_S, "/nowhere/scan can't be run (No such file or directory)"),
    ],
)
def test_a_program_that_fails_is_refused_in_a_sentence(program: list[str], limit_s: float, says: str) -> None:
    instrument = CommandLine({Verb.START: program, Verb.STOP: ["true"]}, limit_s=limit_s)
    instrument.prepare(RECORDING)
    with pytest.raises(Cannot) as caught:
        instrument.start()
    assert str(caught.value).endswith(says)


def test_what_a_program_says_is_shown_there_and_what_cannot_be_shown_was_done_all_the_same() -> None:
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if "two" in line:
            raise BrokenPipeError(32, "nobody reads any more")

    programs = {Verb.START: ["printf", "one\\ntwo\\nthree\\n"], Verb.STOP: ["printf", "stops"]}
    instrument = CommandLine(programs, limit_s=SOON_S, tell=tell)
    instrument.start()
    instrument.stop()
    assert told == ["printf: one", "printf: two"]


def test_a_scan_that_is_left_running_in_the_background_has_been_started_all_the_same() -> None:
    """It holds the output of the program that started it."""
    scan = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(8)'])"
    instrument = CommandLine({Verb.START: [sys.executable, "-c", scan], Verb.STOP: ["true"]}, limit_s=6.0)
    instrument.prepare(RECORDING)
    begun_s = time.monotonic()
    instrument.start()
    assert time.monotonic() - begun_s < 6.0


def test_what_an_instrument_raises_reaches_the_rig_as_a_refusal() -> None:
    def drive(level: bool) -> None:
        if level:
            raise OSError(5, "the card is unplugged")

    with commanded(TriggerLine(drive)) as client:
        client.prepare(session_id="s1", mouse="M1", stage="S")
        client.arm()
        until(client, P.ARMED)
        client.start()
        failed = until(client, P.FAILED)
    assert failed.what == "refused to start: failed: OSError: [Errno 5] the card is unplugged"


def test_without_a_way_to_start_and_stop_nothing_can_be_recorded() -> None:
    with pytest.raises(ValueError, match="no program to stop; nothing could be recorded"):
        CommandLine({Verb.START: ["scan"]}, limit_s=1.0)
