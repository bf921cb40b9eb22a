"""``rig check display`` and ``rig run --screen``: on a virtual display, by the command line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from hardware.events import DeviceIdentified, Finding, Verdict
from rig.cli import app
from rig.config.rig import with_screen
from rig.display import Shown, judged
from rig.log.reader import read_session
from stages.events import EndReason
from tests.builders import rig_config, stage
from tests.display import VirtualDisplay
from tests.sessions.test_window import window_rig

STEADY = Shown(refresh_hz=60.0, host_s=np.arange(600) / 60, n_late=0, n_missed=0, n_uploads=0)


def rig(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def rig_file(folder: Path, name: str = "simulated", **screen: object) -> Path:
    fields = window_rig(name, **screen).model_dump(mode="json")
    path = folder / "window.yaml"
    path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    return path


def test_check_display_measures_rate_late_flips_and_uploads(display: VirtualDisplay, tmp_path: Path) -> None:
    """What the figures are is the machine's; that each is there, and that pixels and uploads pass, is ours."""
    result = rig("check", "display", "--rig", rig_file(tmp_path), "--seconds", 2)
    assert "✓ pass  screen pixels: 0 levels off at most, 12 frames read back." in result.output
    assert "✓ pass  still frames: uploads: 0 textures sent while they were shown." in result.output
    for what in ("still frames", "movie"):
        assert re.search(rf"{what}: late flips: \d+ of 120 \(\d+ refreshes missed\), longest interval", result.output)
        assert re.search(rf"{what}: flip intervals: [\d.]+ Hz, 60 Hz configured, jitter", result.output)
    assert re.search(r"window|simulated: 9 findings", result.output)


def test_check_display_refuses_a_monitor_that_holds_no_flip_back(display: VirtualDisplay, tmp_path: Path) -> None:
    result = rig("check", "display", "--rig", rig_file(tmp_path, paced_by="monitor"), "--seconds", 1)
    assert result.exit_code == 1
    assert "✗ FAIL  screen rate" in result.output
    assert "Set the monitor to 60 Hz and flips to wait for it (vertical sync)" in result.output


def test_check_display_opens_a_window_for_a_card_without_a_monitor(display: VirtualDisplay, tmp_path: Path) -> None:
    fields = with_screen(rig_config("example_nidaq"), "headless").model_dump(mode="json")
    fields["screen"]["geometry"] |= {"width_px": 640, "height_px": 400}
    path = tmp_path / "headless.yaml"
    path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    result = rig("check", "display", "--rig", path, "--seconds", 1)
    assert "320x200 px" in result.output
    assert "example_nidaq: 9 findings" in result.output


def test_check_display_says_what_is_wrong_with_the_monitor(display: VirtualDisplay, tmp_path: Path) -> None:
    result = rig("check", "display", "--rig", rig_file(tmp_path, screen_number=2))
    assert result.exit_code == 1
    assert "there is no monitor 2" in result.output


@pytest.mark.parametrize(
    ("shown", "verdicts", "mend"),
    [
        (STEADY, [Verdict.PASS, Verdict.PASS], ""),
        (replace(STEADY, n_late=1, n_missed=1), [Verdict.FAIL, Verdict.PASS], "close other programs"),
        (replace(STEADY, host_s=np.arange(600) / 59.95), [Verdict.PASS, Verdict.PASS], ""),
        (
            replace(STEADY, host_s=np.arange(600) / 75),
            [Verdict.PASS, Verdict.FAIL],
            "set the monitor to its configured",
        ),
    ],
    ids=["steady", "one late of 600", "as the recorded rig", "75 Hz"],
)
def test_a_monitor_is_judged_by_late_flips_and_rate(shown: Shown, verdicts: list[Verdict], mend: str) -> None:
    findings = judged(shown, "still frames")
    assert [finding.verdict for finding in findings] == verdicts
    assert any(finding.remedy.startswith(mend) for finding in findings)


@pytest.mark.parametrize("name", ["simulated", "twin"])
def test_a_session_runs_in_a_window_from_the_command_line(name: str, display: VirtualDisplay, tmp_path: Path) -> None:
    fields = stage("TRAINING_2_gratings_flashed", task_duration_min=0.1).model_dump(mode="json")
    file = tmp_path / "short.yaml"
    file.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    arguments = ["run", "--mouse", "M1", "--stage", file, "--rig", rig_file(tmp_path, name)]
    result = rig(*arguments, "--seed", 1, "--out", tmp_path / "sessions")
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "sessions").iterdir()
    log = read_session(folder)
    assert log.ended is not None
    assert log.ended.reason is EndReason.TIME
    said = {e.event.device: e.event for e in log.entries if isinstance(e.event, DeviceIdentified)}
    assert said["screen"].model.startswith("PsychoPy ")
    assert said["screen"].details == {
        "size": "320x200 px",
        "monitor": "0, window",
        "gamma": "none undone",
        "flips wait for": "the program's clock",
    }
    found = {e.event.name: e.event for e in log.entries if isinstance(e.event, Finding)}
    assert found["screen pixels"].verdict is Verdict.PASS
    assert found["screen calibration age"].figure == "not measured"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--screen", "psychopy", "--fast"], "shows a window, which runs in real time only"),
        (["--screen", "paper"], "there is no screen of kind 'paper'; known: headless, psychopy"),
    ],
)
def test_what_a_screen_cant_do_is_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = rig("run", "--mouse", "M1", "--stage", "OPHYS_1_images_A", "--out", tmp_path / "none", *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert not (tmp_path / "none").exists()


def test_a_window_with_screen_headless_runs_in_simulated_time(tmp_path: Path) -> None:
    arguments = ["run", "--mouse", "M1", "--stage", "OPHYS_1_images_A", "--rig", rig_file(tmp_path), "--fast"]
    result = rig(*arguments, "--screen", "headless", "--minutes", 1, "--seed", 1, "--out", tmp_path / "sessions")
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "sessions").iterdir()
    assert '"headless jittering"' in (folder / "events.jsonl").read_text(encoding="utf-8")
