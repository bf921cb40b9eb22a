"""A card that can't be used, a calibration that doesn't fit: one sentence each, its remedy, exit code 1.

And whatever is wrong with cards, a simulated rig runs.
"""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hardware.nidaq.connection import CardConfig, Connection
from hardware.simulated.twin import Twin
from rig.cli import app
from rig.config.files import shipped
from tests.builders import GRATINGS
from tests.hardware.card_on_twin import WIRES

ROOT = Path(__file__).resolve().parents[2]
TWIN = shipped("rigs")["twin"].read_text(encoding="utf-8")
RUN = ("run", "--mouse", "M1", "--stage", GRATINGS, "--minutes", "0.1")


@pytest.fixture(scope="module")
def server() -> Iterator[Twin]:
    """A device server with a card named Dev1, wired up."""
    with Twin() as twin:
        for source, target in WIRES:
            twin.bench.wire(source, target)
        twin.bench.analog("ai1", 5.0)
        yield twin


def rig_file(folder: Path, *changes: tuple[str, str], address: str | None = None) -> Path:
    """The twin's file with some of its text changed; with an address, of a card behind a device server."""
    text = TWIN
    if address is not None:
        changes = (("twin:\n    drift_ppm: 50", "twin: null"), ("address: null ", f"address: {address} "), *changes)
    for was, becomes in changes:
        assert was in text
        text = text.replace(was, becomes)
    path = folder / "rig.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def check(rig: str | Path) -> tuple[int, list[str]]:
    """The exit code of ``rig check`` and each line that is no pass, but the last, which counts them."""
    result = CliRunner().invoke(app, ["check", "--rig", str(rig)])
    assert "Traceback" not in result.output
    lines = [line for line in result.output.splitlines() if not line.startswith("✓")]
    return result.exit_code, [line for line in lines if " failed, " not in line]


def run(rig: str | Path, out: Path, *more: str, hiding: Path | None = None) -> tuple[int, str]:
    """The exit code of ``rig run`` in a process of its own, and what it said of a failure, if anything."""
    hidden = {"PYTHONPATH": str(hiding)} if hiding is not None else {}
    done = subprocess.run(
        [sys.executable, "-m", "rig", *RUN, "--rig", str(rig), "--out", str(out), *more],
        cwd=ROOT,
        env={**os.environ, "XDG_STATE_HOME": str(out / "state"), **hidden},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr.strip()


def test_without_a_driver_on_this_computer_it_is_said_with_its_remedy(tmp_path: Path) -> None:
    sentence = (
        "card: the NI-DAQmx driver is not installed on this computer. "
        "Install NI-DAQmx, or name the address of a device server in the rig's file."
    )
    real = rig_file(tmp_path, ("twin:\n    drift_ppm: 50", "twin: null"), ("device: Dev1", "device: NobodysCard"))
    code, (line,) = check(real)
    assert (code, line) == (1, "✗ FAIL  " + sentence.replace(". I", ".  I"))
    assert run(real, tmp_path) == (1, f"✗ {sentence}")


def test_without_the_library_it_is_said_with_its_remedy_and_a_simulated_rig_runs(tmp_path: Path) -> None:
    for library in ("nidaqmx", "grpc"):
        (tmp_path / f"{library}.py").write_text(f'raise ModuleNotFoundError("No module named {library!r}")')
    code, said = run("twin", tmp_path, hiding=tmp_path)
    assert code == 1
    assert said == (
        "✗ card: the library for NI cards can't be imported (No module named 'nidaqmx'). "
        "Install it with: pip install 'open-vision-rig[rig]'; a simulated rig needs none of it."
    )
    assert run("simulated", tmp_path, "--fast", hiding=tmp_path) == (0, "")


def test_a_wrong_name_of_the_card_is_said_with_its_remedy(tmp_path: Path, server: Twin) -> None:
    file = rig_file(tmp_path, ("device: Dev1 ", "device: Dev7 "), address=server.address)
    code, (line,) = check(file)
    assert code == 1
    assert line == (
        "✗ FAIL  card: there is no device of this name (NI-DAQmx -200220: Device identifier is invalid: Dev7).  "
        "Look the card's name up in MAX and put it in the rig's file."
    )
    code, said = run(file, tmp_path)
    assert (code, said) == (1, line.replace("✗ FAIL  ", "✗ ").replace(".  ", ". "))


def test_a_device_server_that_does_not_run_is_said_with_its_remedy(tmp_path: Path) -> None:
    file = rig_file(tmp_path, address="localhost:1")
    code, (line,) = check(file)
    assert code == 1
    assert fnmatchcase(
        line,
        "✗ FAIL  card: the device server no longer answers (gRPC UNAVAILABLE: *).  "
        "Check its cable and power, and that the device server runs; then start the session again.",
    )
    code, said = run(file, tmp_path)
    assert (code, said) == (1, line.replace("✗ FAIL  ", "✗ ").replace(".  ", ". "))


def output(other: Connection, line: str) -> None:
    task = other.task("other")
    task.do_channels.add_do_chan(f"Dev1/{line}")
    task.start()


def counter(other: Connection, name: str, terminal: str) -> None:
    task = other.task("other")
    task.co_channels.add_co_pulse_chan_time(f"Dev1/{name}").co_pulse_term = f"/Dev1/{terminal}"
    task.control(other.constants.TaskMode.TASK_COMMIT)


def wheel(other: Connection) -> None:
    task = other.task("other")
    task.ai_channels.add_ai_voltage_chan("Dev1/ai5")
    task.timing.cfg_samp_clk_timing(1000.0, sample_mode=other.constants.AcquisitionType.CONTINUOUS)
    task.start()


def changes(other: Connection) -> None:
    task, line = other.task("other"), "Dev1/port0/line20"
    task.di_channels.add_di_chan(line)
    task.timing.cfg_change_detection_timing(line, line, sample_mode=other.constants.AcquisitionType.CONTINUOUS)
    task.start()


@pytest.mark.parametrize(
    ("take", "device", "what"),
    [
        pytest.param(lambda other: output(other, "port1/line4"), "card", "-200587: *port1/line4", id="an output line"),
        pytest.param(lambda other: counter(other, "ctr0", "PFI14"), "valve", "-50103: *ctr0", id="the valve's counter"),
        pytest.param(lambda other: counter(other, "ctr1", "PFI14"), "card", "-50103: *ctr1", id="the edges' counter"),
        pytest.param(lambda other: counter(other, "ctr3", "PFI12"), "valve", "-50103: *port2/line4", id="the valve's terminal"),
        pytest.param(changes, "card", "-50103: *change detection", id="change detection"),
        pytest.param(wheel, "encoder", "-50103: *analog input", id="the converter"),
    ],
)  # fmt: skip
def test_what_another_program_holds_is_said_with_its_remedy_and_is_free_again_when_it_ends(
    tmp_path: Path, server: Twin, take: Callable[[Connection], None], device: str, what: str
) -> None:
    file = rig_file(tmp_path, address=server.address)
    other = Connection(CardConfig(address=server.address))
    other.open()
    try:
        take(other)
        code, lines = check(file)
    finally:
        other.close()
    assert code == 1
    (failed,) = [line for line in lines if line.startswith("✗")]
    assert fnmatchcase(
        failed,
        f"✗ FAIL  {device}: another program or task holds a part of the card that is needed (NI-DAQmx {what}).  Close other "
        "programs that use the card (MAX test panels too), reset it there, or start its device server anew.",
    )
    code, lines = check(file)
    assert code == 0, lines


MISSING = "is missing: no water without a calibration; weigh what the valve gives and enter it with its day"


@pytest.mark.parametrize("rig", ["check", "run"])
@pytest.mark.parametrize(
    ("was", "becomes", "sentence"),
    [
        ("  measured_on: 2026-11-01\n", "", f"valve.measured_on: {MISSING}"),
        ("measured_on: 2026-11-01", "measured_on: null", f"valve.measured_on: {MISSING}"),
        ("measured_on: 2026-11-01", "measured_on: soon", "valve.measured_on: input should be a valid date *; it is 'soon'"),
        ("measured_on: 2026-11-01", "measured_one: 2026-11-01", "valve.measured_one: there is no such field, and measured_on is missing; did you mean measured_on?"),
        ("  intercept_s: 0.02518\n", "", f"valve.intercept_s: {MISSING}"),
        ("volume_max_ul: 15", "volume_max_ul: 0.5", "valve: volume_max_ul must be above volume_min_ul"),
    ],
)  # fmt: skip
def test_a_calibration_that_is_missing_or_contradicts_itself_is_named_with_file_and_line(
    tmp_path: Path, rig: str, was: str, becomes: str, sentence: str
) -> None:
    file = rig_file(tmp_path, (was, becomes))
    begin = RUN if rig == "run" else ("check",)
    result = CliRunner().invoke(app, [*begin, "--rig", str(file)])
    assert result.exit_code == 1
    (said,) = result.output.splitlines()
    assert fnmatchcase(said, f"{file}:*: {sentence}")


def test_a_reward_outside_the_calibrated_range_is_refused_with_its_remedy(tmp_path: Path) -> None:
    file = rig_file(tmp_path, ("volume_max_ul: 15", "volume_max_ul: 6"))
    result = CliRunner().invoke(app, [*RUN, "--rig", str(file)])
    assert result.exit_code == 1
    (said,) = result.output.splitlines()
    assert said == (
        f"{GRATINGS} on twin: reward_volume_ul: 10 uL lies outside the calibrated range of 1 to 6 uL (measured "
        "2026-11-01); choose a volume inside the range, or calibrate the valve over a wider one"
    )


@pytest.mark.parametrize(
    ("day", "sentence"),
    [
        ("2020-01-01", "valve calibration age: * days.  Weigh the water again and date the calibration."),
        ("2199-01-01", "valve calibration age: dated * days ahead of today.  Correct the day in the rig's file, or the computer's."),
    ],
)  # fmt: skip
def test_a_calibration_of_a_doubtful_day_is_warned_of_and_refuses_nothing(
    tmp_path: Path, day: str, sentence: str
) -> None:
    code, (line,) = check(rig_file(tmp_path, ("2026-11-01", day)))
    assert code == 0
    assert fnmatchcase(line, f"▲ warn  {sentence}")
