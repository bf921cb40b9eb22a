"""The screen in a rig's file: what it takes, what contradicts itself, what stands in its place."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml

from hardware.events import Verdict
from rig.config.files import load_rig, shipped
from rig.config.load import ConfigError, load_yaml
from rig.config.rig import PUBLISHED, HeadlessScreenConfig, PsychopyScreenConfig, RigConfig, with_screen
from rig.session.assemble import SCREEN_GOOD_DAYS, screen_calibration
from stimuli.geometry import Geometry

EXAMPLE = shipped("rigs")["example_nidaq"]
TODAY = date(2026, 11, 20)


def test_the_example_rig_has_the_published_screen() -> None:
    screen = load_rig("example_nidaq").screen
    assert isinstance(screen, PsychopyScreenConfig)
    assert screen.geometry == PUBLISHED
    assert screen.geometry.geometry() == Geometry()
    assert screen.paced_by == "monitor"


@pytest.mark.parametrize("name", ["simulated", "simulated_imaging", "twin"])
def test_simulated_rigs_are_headless_with_the_published_geometry(name: str) -> None:
    screen = load_rig(name).screen
    assert isinstance(screen, HeadlessScreenConfig)
    assert screen.geometry == PUBLISHED


@pytest.mark.parametrize(
    ("wrote", "instead", "field", "said"),
    [
        ("paced_by: monitor", "paced_by: clock", "screen.paced_by", "must be monitor on a rig with a real card"),
        (
            "paced_by: monitor",
            "paced_by: hope",
            "screen.paced_by",
            "input should be 'monitor' or 'clock'; it is 'hope'",
        ),
        ("screen_number: 1", "screen_number: -1", "screen.screen_number", "input should be greater than or equal to 0"),
        ("width_px: 1920", "width_px: 0", "screen.geometry.width_px", "input should be greater than 0; it is 0"),
        ("height_cm: 32.5", "heigth_cm: 32.5", "screen.geometry.heigth_cm", "did you mean height_cm?"),
        ("corner: lower_right", "corner: middle", "screen.patch.corner", "it is 'middle'"),
        ("size_px: 100", "size_px: 1300", "screen.patch.size_px", "1300 px is larger than the screen"),
        ("measured_on: 2026-11-01\n  patch", "measured_on: soon\n  patch", "screen.calibration.measured_on", "'soon'"),
        ("[2.244, 2.205, 2.093]", "[2.244, 2.205]", "screen.calibration.gamma.2", "is missing"),
        ("[2.244, 2.205, 2.093]", "[2.2, 2.2, 0]", "screen.calibration.gamma.2", "input should be greater than 0.5"),
        ("kind: psychopy", "kind: paper", "screen", "kind 'paper' is not known; one of 'headless', 'psychopy'"),
        ("kind: psychopy", "kind: headless", "screen.full_screen", "there is no such field"),
    ],
)
def test_what_is_wrong_with_a_screen_is_named_with_its_line(
    wrote: str, instead: str, field: str, said: str, tmp_path: Path
) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count(wrote) == 1
    path = tmp_path / "rig.yaml"
    path.write_text(text.replace(wrote, instead), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_yaml(path, RigConfig)
    problems = {problem.field: problem for problem in refused.value.problems}
    assert said in problems[field].message
    assert problems[field].line > 1


@pytest.mark.parametrize("name", list(shipped("rigs")))
def test_any_rig_can_be_given_another_screen(name: str) -> None:
    rig = load_rig(name)
    for kind in ("headless", "psychopy"):
        if kind == "psychopy" and not rig.simulated and not isinstance(rig.screen, PsychopyScreenConfig):
            continue
        given = with_screen(rig, kind)
        assert given.screen.kind == kind
        assert given.screen.refresh_hz == rig.screen.refresh_hz
        assert with_screen(given, kind) is given


def test_a_real_card_gets_no_window_on_a_desktop() -> None:
    """Whose flips wait for nothing; the refusal is a sentence, not a validator's page."""
    rig = with_screen(load_rig("example_nidaq"), "headless")
    with pytest.raises(
        ValueError, match=r"^example_nidaq has a real card, whose monitor only its file can name"
    ) as said:
        with_screen(rig, "psychopy")
    assert len(str(said.value).splitlines()) == 1


def test_a_window_on_a_desktop_has_half_the_monitors_pixels_and_its_size() -> None:
    screen = with_screen(load_rig("simulated"), "psychopy").screen
    assert isinstance(screen, PsychopyScreenConfig)
    assert screen.geometry.geometry() == Geometry(width_px=960, height_px=600)
    assert (screen.full_screen, screen.paced_by) == (False, "clock")


@pytest.mark.parametrize(
    ("days", "verdict"),
    [
        (0, Verdict.PASS),
        (SCREEN_GOOD_DAYS, Verdict.PASS),
        (SCREEN_GOOD_DAYS + 1, Verdict.WARN),
        (-1, Verdict.WARN),
        (None, Verdict.WARN),
    ],
)
def test_an_old_calibration_of_the_monitor_is_warned_of(days: int | None, verdict: Verdict) -> None:
    fields = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    if days is None:
        fields["screen"]["calibration"] = None
    else:
        fields["screen"]["calibration"]["measured_on"] = TODAY - timedelta(days=days)
    (finding,) = screen_calibration(RigConfig.model_validate(fields), TODAY)
    assert finding.verdict is verdict
    assert finding.figure == ("not measured" if days is None else f"{days} days")
    assert bool(finding.remedy) == (verdict is Verdict.WARN)


def test_nothing_is_said_of_a_simulated_monitors_calibration() -> None:
    assert screen_calibration(load_rig("simulated"), TODAY) == []
