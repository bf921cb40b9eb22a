"""One trial of each kind: what a stage's figure is drawn from, and the README's copy of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rig.cli import app
from rig.config.files import load_stage, shipped
from rig.records.exemplars import Exemplar, exemplars
from rig.records.figures import draw_exemplars, save_drawing
from stages.parameters import GeometricChange, StageParameters
from tests import builders
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


@pytest.mark.parametrize(
    "changes",
    [
        {"response_window_s": (0.5, 0.75)},
        {"response_window_s": (0.15, 0.4)},
        {"change": {"kind": "geometric", "p": 0.3, "flashes_min": 2, "flashes_max": 11}},
        {"warm_up_trials": 0, "free_reward_after_misses": 3},
    ],
)
def test_a_changed_stage_still_has_a_trial_of_each_kind(changes: dict[str, Any]) -> None:
    kinds = ["hit", "miss", "false alarm", "correct reject", "aborted", "auto-rewarded", "omission"]
    assert [trial.kind for trial in exemplars(builders.stage(IMAGES, **changes))] == kinds


def test_the_legend_names_only_what_the_trials_have() -> None:
    def legend(*kinds: str) -> set[str]:
        figure = draw_exemplars(IMAGES, [trials[kind] for kind in kinds])
        return {text.get_text() for text in figure.legends[0].get_texts()}

    trials = of(IMAGES)
    assert {"omitted", "time-out", "water"} <= legend(*trials)
    assert legend("miss", "correct reject").isdisjoint({"omitted", "time-out", "water"})
    assert "water" in legend("hit")
    assert "time-out" in legend("aborted")


def test_what_the_picture_shows_is_what_the_task_did() -> None:
    stage = builders.stage(IMAGES, presentation={"kind": "flashed", "flash_s": 0.2, "gray_s": 0.55})
    for trial in exemplars(stage):
        lengths = [s.stop_s - s.start_s for s in trial.shown if not s.omitted]
        assert lengths == pytest.approx([0.2] * len(lengths))


def test_a_stage_that_does_not_fit_the_screen_is_refused_in_a_sentence(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "stages" / f"{IMAGES}.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("flash_s: 0.25", "flash_s: 0.26"), encoding="utf-8")
    result = CliRunner().invoke(app, ["draw", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "a.svg")])
    assert result.exit_code == 1
    assert "0.26 s is 15.600 refreshes" in " ".join(result.output.split())


def test_the_readmes_words_on_the_picture_are_the_stages_own() -> None:
    stage = load_stage(IMAGES)
    assert isinstance(stage, StageParameters)
    assert isinstance(stage.change, GeometricChange)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    count = {5: "fifth", 12: "twelfth"}
    first, last = count[stage.change.flashes_min + 1], count[stage.change.flashes_max + 1]
    low_ms, high_ms = (round(1000 * seconds) for seconds in stage.response_window_s)
    assert f"comes on its {first} to {last}" in readme
    assert f"from {low_ms} to {high_ms} ms after it" in readme


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
