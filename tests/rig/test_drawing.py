"""One trial of each kind: what a stage's figure is drawn from, and the README's copy of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rig.cli import app
from rig.config.files import load_stage, shipped
from rig.records.exemplars import Exemplar, exemplars
from rig.records.figures import draw_exemplars, save_drawing
from stages.parameters import StageParameters
from tests.builders import IMAGES

ROOT = Path(__file__).resolve().parents[2]
README_FIGURE = ROOT / "stages" / "trials.svg"


def of(stage: str) -> dict[str, Exemplar]:
    parameters = load_stage(stage)
    assert isinstance(parameters, StageParameters)
    return {trial.kind: trial for trial in exemplars(parameters)}


def test_the_readmes_figure_is_what_the_configuration_draws_today(tmp_path: Path) -> None:
    assert "stages/trials.svg" in (ROOT / "README.md").read_text(encoding="utf-8")
    save_drawing(draw_exemplars(IMAGES, list(of(IMAGES).values())), tmp_path / "trials.svg")
    now = (tmp_path / "trials.svg").read_text(encoding="utf-8")
    assert now == README_FIGURE.read_text(encoding="utf-8"), "draw it anew: make figures"


@pytest.mark.parametrize(
    ("stage", "kinds"),
    [
        (IMAGES, ["hit", "miss", "false alarm", "correct reject", "aborted", "auto-rewarded", "omission"]),
        ("TRAINING_1_gratings", ["hit", "miss", "false alarm", "correct reject", "aborted", "auto-rewarded"]),
        ("TRAINING_0_gratings_autorewards_15min", ["auto-rewarded"]),
        ("OPHYS_2_images_A_passive", ["miss", "correct reject", "omission"]),
    ],
)
def test_a_stage_has_a_trial_of_each_of_its_kinds(stage: str, kinds: list[str]) -> None:
    assert list(of(stage)) == kinds


def test_each_kind_is_what_it_is_called() -> None:
    trials = of(IMAGES)
    assert trials["hit"].reward_s == pytest.approx(trials["hit"].licks_s[0])
    assert trials["hit"].reward_ul == 7
    assert trials["auto-rewarded"].reward_s == pytest.approx(0.15)
    assert trials["auto-rewarded"].reward_ul == 5
    assert all(trials[kind].reward_s is None for kind in ("miss", "false alarm", "correct reject", "aborted"))
    assert trials["false alarm"].change == trials["correct reject"].change == "sham change"
    assert trials["aborted"].change == "no change"
    assert trials["aborted"].timeout_s is not None
    began_s, ended_s = trials["aborted"].timeout_s
    assert ended_s - began_s == pytest.approx(0.3, abs=0.017)
    assert trials["aborted"].end_s == ended_s
    assert any(shown.omitted for shown in trials["omission"].shown)
    for kind in ("hit", "miss", "false alarm", "correct reject", "auto-rewarded"):
        assert (trials[kind].start_s, trials[kind].end_s) == pytest.approx((-3.0, 4.25))


@pytest.mark.parametrize("stage", sorted(shipped("stages")))
def test_every_stage_with_trials_is_drawn(stage: str, tmp_path: Path) -> None:
    file = tmp_path / "trials.png"
    result = CliRunner().invoke(app, ["draw", stage, "--out", str(file)])
    if isinstance(load_stage(stage), StageParameters):
        assert result.exit_code == 0, result.output
        assert file.stat().st_size > 10_000
    else:
        assert result.exit_code == 1
        assert "no trials to draw" in result.output
