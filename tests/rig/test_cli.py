"""The command ``rig``: what it says, what it leaves behind, and its exit code."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
import typer
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from rig.cli import app
from rig.commands_records import export_commands
from rig.config.files import shipped
from rig.log.reader import SessionLog, read_session
from rig.log.writer import EDGES, EVENTS, FLIPS, LogWriter
from rig.records.finish import finish
from rig.records.nwb import FILE as NWB_FILE
from rig.records.products import FIGURE, PRESENTATIONS, SUMMARY_JSON, SUMMARY_TEXT, SYNC_FILE, TRIALS
from rig.session.control import Running, running_sessions
from rig.session.process import start_process
from stages.events import CommandApplied, CommandReceived, CommandRefused, EndReason, Note, Verb
from tests.builders import GRATINGS, plan, run, stage

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
LONG_S = 60.0
"""No test waits this long unless it fails."""


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions and key files of these tests stay among themselves."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def rig(*arguments: str | Path) -> Result:
    """Say ``rig …`` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "session"
    with closing(LogWriter(folder)) as log:
        run(stage(GRATINGS, task_duration_min=1), log=log)
    return folder


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """The folder of a session, to do with as one likes."""
    return Path(shutil.copytree(recorded, tmp_path / "session"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is_for(command: str) -> None:
    result = rig(command, "--help")

    assert result.exit_code == 0
    assert "Usage" in result.stdout
    assert len(result.stdout.splitlines()) > 5


def test_every_verb_of_a_running_session_is_a_command() -> None:
    assert {verb.value for verb in Verb} <= set(COMMANDS)


def test_rig_alone_lists_the_commands() -> None:
    result = rig()
    for command in COMMANDS:
        assert command in result.stdout


def test_a_fast_run_writes_a_folder_with_everything_and_can_be_replayed(tmp_path: Path) -> None:
    result = rig("run", "--mouse", "M1", "--stage", GRATINGS, "--fast", "--minutes", "1", "--seed", "5", "--out", "o")

    assert result.exit_code == 0, result.stderr
    (session,) = (tmp_path / "o").iterdir()
    assert f"_M1_{GRATINGS}_" in session.name
    assert {path.name for path in session.iterdir()} == {
        *(EVENTS, FLIPS, EDGES),
        *(SUMMARY_JSON, SUMMARY_TEXT, TRIALS, PRESENTATIONS, FIGURE, SYNC_FILE, NWB_FILE),
    }
    assert "Ended: time" in result.stdout
    assert session.name in result.stdout
    log = read_session(session)
    assert (log.started.seed, log.started.mouse, log.damage) == (5, "M1", [])
    assert not (tmp_path / "state").exists()

    replayed = rig("replay", session)
    assert replayed.exit_code == 0
    assert "byte for byte as recorded" in replayed.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stage", "TRAINING_2_grating_flashed"], f"TRAINING_2_grating_flashed: there is no stage of this name; did you mean {GRATINGS}?"),
        (["--stage", "gone.yaml"], "gone.yaml:1: no such file"),
        (["--rig", "simulatd"], "simulatd: there is no rig of this name; did you mean simulated?"),
        (["--simulated-mouse", "perfct"], "--simulated-mouse: there is no model mouse 'perfct'; did you mean perfect?"),
        (["--mouse", "M 1"], "--mouse: 'M 1' can't stand in a folder's name; use letters, digits, - and ."),
        (["--mouse", "../M1"], "--mouse: '../M1' can't stand in a folder's name; use letters, digits, - and ."),
        (["--mouse", ""], "--mouse: '' can't stand in a folder's name; use letters, digits, - and ."),
        (["--minutes", "0"], "--minutes: 0 is no length of a task; give minutes above 0"),
        (["--minutes", "-3"], "--minutes: -3 is no length of a task; give minutes above 0"),
        (["--minutes", "nan"], "--minutes: nan is no length of a task; give minutes above 0"),
        (["--minutes", "inf"], "--minutes: inf is no length of a task; give minutes above 0"),
        (["--seed", "-1"], "--seed: -1 is no seed; give a whole number from 0 up"),
    ],
)  # fmt: skip
def test_what_cant_be_run_is_refused_in_one_sentence_and_leaves_no_folder(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    result = rig("run", "--mouse", "M1", "--stage", GRATINGS, "--fast", "--out", "o", *arguments)

    assert result.exit_code == 1
    assert result.stderr == said + "\n"
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_length_that_is_no_whole_refreshes_is_refused_with_both_neighbours(tmp_path: Path) -> None:
    result = rig("run", "--mouse", "M1", "--stage", GRATINGS, "--fast", "--out", "o", "--minutes", "0.0101")

    assert result.exit_code == 1
    assert f"{GRATINGS} on simulated: task_duration_min" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cant_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    result = rig("run", "--mouse", "M1", "--stage", GRATINGS, "--fast", "--minutes", "1", "--out", "file")

    assert result.exit_code == 1
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("✗ file/")
    assert sentence.endswith(
        "can't be written (Not a directory); choose a folder that can, with --out or the rig's data_dir"
    )


def test_a_session_with_one_changed_decision_is_not_replayed_and_the_line_is_named(folder: Path) -> None:
    lines = (folder / EVENTS).read_text(encoding="utf-8").splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines, start=1) if '"FlashPlanned"' in line and '"stimulus":1' in line)
    lines[number - 1] = lines[number - 1].replace('"stimulus":1', '"stimulus":3')
    (folder / EVENTS).write_text("".join(lines), encoding="utf-8")

    result = rig("replay", folder)

    assert result.exit_code == 1
    assert f"line {number} of the log says" in result.stderr
    assert result.stdout == ""


def test_a_summary_in_words_names_mouse_stage_and_end(folder: Path) -> None:
    result = rig("summary", folder)

    assert result.exit_code == 0
    assert result.stdout.startswith(f"M1, {GRATINGS}, on simulated")
    assert "Ended: time" in result.stdout
    assert {path.name for path in folder.iterdir()} == {EVENTS, FLIPS, EDGES}


def test_a_summary_for_a_program_is_json(folder: Path) -> None:
    result = rig("summary", folder, "--json")

    assert result.exit_code == 0
    figures = json.loads(result.stdout)
    assert (figures["mouse"], figures["stage"]) == ("M1", GRATINGS)
    assert figures["n_trials"] > 0


def test_a_summary_can_be_written_beside_the_log_again(folder: Path) -> None:
    for _ in range(2):
        assert rig("summary", folder, "--write").exit_code == 0
    assert {SUMMARY_JSON, SUMMARY_TEXT, TRIALS, PRESENTATIONS, FIGURE} < {path.name for path in folder.iterdir()}


def test_a_torn_log_is_summarised_and_replayed_and_the_damage_named(folder: Path) -> None:
    data = (folder / EVENTS).read_bytes()
    (folder / EVENTS).write_bytes(data[: len(data) // 2] if not data[: len(data) // 2].endswith(b"\n") else data[:-5])

    for command in ("summary", "replay"):
        result = rig(command, folder)
        assert result.exit_code == 0
        assert "events.jsonl: the last line is torn" in result.stdout


@pytest.mark.parametrize("command", ["summary", "replay"])
def test_what_is_no_session_is_refused_in_one_sentence(tmp_path: Path, command: str) -> None:
    for place, said in (("gone", "no such folder"), (".", "holds no events.jsonl")):
        result = rig(command, place)
        assert result.exit_code == 1
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_every_file_is_validated_and_every_problem_of_them_named(tmp_path: Path) -> None:
    good = shipped("stages")[GRATINGS]
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        good.read_text(encoding="utf-8").replace("flash_s", "flash_ss").replace("p: 0.3", "p: 3"), encoding="utf-8"
    )

    assert rig("validate", good, shipped("rigs")["simulated"], shipped("image_sets")["A"]).exit_code == 0
    result = rig("validate", bad, good)

    assert result.exit_code == 1
    assert result.stdout == f"{good}: fine\n"
    assert "there is no such field, and flash_s is missing; did you mean flash_s?" in result.stderr
    assert "change.p: input should be less than 1; it is 3" in result.stderr


def test_the_shipped_stages_and_rigs_are_listed() -> None:
    result = rig("stages")
    for kind in ("stages", "rigs"):
        for name in shipped(kind):
            assert f"{kind[:-1]}  {name}\n" in result.stdout


@pytest.mark.parametrize(
    "words", [["pause"], ["resume"], ["stop"], ["stop-now"], ["reward"], ["note", "x"], ["spout", "retracted"]]
)
def test_where_no_session_runs_a_command_says_so(words: list[str]) -> None:
    result = rig(*words)

    assert result.exit_code == 1
    assert result.stderr == "no session runs on this machine under this user; start one with rig run\n"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A session in real time, with short trials, in a process of its own."""
    text = shipped("stages")[GRATINGS].read_text(encoding="utf-8")
    for was, becomes in (
        ("gray_before_s: 20", "gray_before_s: 0.5"),
        ("gray_after_s: 20", "gray_after_s: 0.5"),
        ("flashes_min: 4", "flashes_min: 1"),
        ("flashes_max: 11", "flashes_max: 1"),
        ("after_window_s: 3.5", "after_window_s: 0.25"),
    ):
        assert was in text
        text = text.replace(was, becomes)
    (tmp_path / "short.yaml").write_text(text, encoding="utf-8")
    arguments = ["run", "--mouse", "M7", "--stage", "short.yaml", "--minutes", "1", "--out", "o", "--no-nwb"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rig", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def log_of(folder: Path) -> SessionLog | None:
    """The log of the session that runs under a folder, once it has begun."""
    for events in folder.glob(f"o/*/{EVENTS}"):
        if b"\n" in events.read_bytes():
            return read_session(events.parent)
    return None


def begun(folder: Path) -> Running:
    """The session that runs under a folder, once its log has begun."""
    deadline_s = time.monotonic() + LONG_S
    while log_of(folder) is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    (running,) = running_sessions(folder / "state" / "open-vision-rig" / "running")
    return running


def test_a_running_session_does_what_operators_ask_and_logs_it(tmp_path: Path, session: subprocess.Popen[str]) -> None:
    assert begun(tmp_path).mouse == "M7"

    asked = [
        (["note", "wheel was dry"], 0, "M7: noted"),
        (["resume"], 1, "M7: refused, the session is not paused"),
        (["pause", "--mouse", "M7"], 0, "M7: pauses "),
        (["resume"], 0, "M7: "),
        (["reward", "--volume-ul", "3"], 0, "M7: free reward"),
        (["reward"], 1, "M7: refused, the last free reward was"),
        (["spout", "retracted"], 0, "M7: spout moves: retracted"),
        (["note", "--mouse", "M8", "x"], 1, "no session of M8 runs; running: M7"),
        (["stop", "--why", "enough for today"], 0, "M7: stops, with the closing blocks, "),
    ]
    for words, exit_code, said in asked:
        result = rig(*words)
        assert (result.exit_code, words) == (exit_code, words)
        assert (result.stderr if exit_code else result.stdout).startswith(said)

    stdout, stderr = session.communicate(timeout=LONG_S)
    assert session.returncode == 0, stderr
    assert "Ended: stopped" in stdout
    log = log_of(tmp_path)
    assert log is not None
    assert log.ended is not None
    assert (log.ended.reason, log.ended.why) == (EndReason.STOPPED, "enough for today")
    heard = [words[0] for words, _, said in asked if "M8" not in said]
    received = [entry.event for entry in log.entries if isinstance(entry.event, CommandReceived)]
    answered = [entry.event for entry in log.entries if isinstance(entry.event, CommandApplied | CommandRefused)]
    assert [event.verb.value for event in received] == heard
    assert [event.command for event in answered] == [event.command for event in received]
    assert [entry.event.text for entry in log.entries if isinstance(entry.event, Note)] == ["wheel was dry"]
    assert running_sessions(tmp_path / "state" / "open-vision-rig" / "running") == []
    assert rig("replay", log.folder).exit_code == 0


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize(
    ("number", "exit_code", "said", "summarised"),
    [
        (signal.SIGTERM, 0, "", "stopped by SIGTERM"),
        (signal.SIGKILL, 1, "the session's process ended with code -9; what it recorded is in o/", f"M7, {GRATINGS}"),
    ],
)
def test_a_session_that_is_ended_from_outside_is_summarised_and_how_it_ended_is_said(
    tmp_path: Path, session: subprocess.Popen[str], number: int, exit_code: int, said: str, summarised: str
) -> None:
    os.kill(begun(tmp_path).pid, number)

    stdout, stderr = session.communicate(timeout=LONG_S)

    assert session.returncode == exit_code
    assert said in stderr
    assert len(stderr.splitlines()) == exit_code
    assert summarised in stdout
    assert running_sessions(tmp_path / "state" / "open-vision-rig" / "running") == []


def test_a_session_whose_watcher_is_gone_makes_its_products_itself(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    session = plan(stage(task_duration_min=0.2), folder=folder)
    process, pipe = start_process(session, runtime_dir=tmp_path / "running", unwatched=finish)
    pipe.close()
    process.join(LONG_S)
    assert process.exitcode == 0
    assert (folder / SUMMARY_TEXT).exists()
    assert (folder / NWB_FILE).exists()


def test_export_nwb_writes_the_file_and_names_what_nobody_told_it(folder: Path) -> None:
    result = rig("export", "nwb", folder, "--templates")

    assert result.exit_code == 0, result.stderr
    assert (folder / NWB_FILE).is_file()
    assert result.stdout.splitlines()[0] == str(folder / NWB_FILE)
    assert "Note: the mouse's age is not known; the file says 0 days" in result.stdout
    assert "the monitor's delay was not measured" not in result.stdout, "the photodiode did"


def test_a_session_that_runs_is_not_exported(folder: Path) -> None:
    commands = export_commands(
        out=Console(),
        sentences=nullcontext,
        running=lambda: {read_session(folder).started.session_id},
        library=lambda: folder / "library",
    )

    result = CliRunner().invoke(commands, ["nwb", str(folder)])

    assert "the session still runs" in str(result.exception)
    assert not (folder / NWB_FILE).exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--monitor-delay-s", "0.02"], "give --monitor-delay-s and --monitor-delay-spread-s together, or neither"),
        (
            ["--monitor-delay-s", "2", "--monitor-delay-spread-s", "0"],
            "--monitor-delay-s: a monitor's delay is above 0 and at most 0.07 s; 2 s is none",
        ),
        (["--about", "gone.yaml"], "gone.yaml:1: no such file"),
    ],
)
def test_export_nwb_refuses_by_a_sentence(folder: Path, arguments: list[str], said: str) -> None:
    result = rig("export", "nwb", folder, *arguments)

    assert result.exit_code == 1
    assert result.stderr == f"{said}\n"
    assert not (folder / NWB_FILE).exists()
