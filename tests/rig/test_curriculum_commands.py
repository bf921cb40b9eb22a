"""``rig curriculum``: what it says and its exit code."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from rig.cli import app
from rig.config.files import shipped
from tests.builders import recorded

OURS = shipped("curricula")["visual_behavior"]


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def rig(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_shipped_curriculum_is_shown_for_the_cohort_that_is_asked_for() -> None:
    assert "cohort A/B" in rig("curriculum", "show").output
    assert "OPHYS_4_images_H" in rig("curriculum", "show", "visual_behavior", "--cohort", "G/H").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "visual_behaviour"), "visual_behaviour: there is no curriculum of this name; did you mean visual_behavior?"),
        (("show", "--cohort", "Q"), "has no cohort 'Q'; known: A/B, B/A, G/H"),
        (("diagram", "--out", "drawn.txt"), "drawn.txt: give a name that ends with .svg, .png or .pdf"),
        (("import", "none.yml"), "none.yml:1: no such file"),
        (("diff", "visual_behavior", "none.yaml"), "none.yaml:1: no such file"),
        (("validate", "none.yaml"), "none.yaml:1: no such file"),
    ],
)  # fmt: skip
def test_what_cant_be_done_is_said_in_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    result = rig("curriculum", *arguments)
    assert result.exit_code == 1
    assert said in result.output


def test_a_good_curriculum_is_fine_and_a_bad_ones_problems_are_printed_with_their_lines(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    text = OURS.read_text(encoding="utf-8").replace("  - A/B\n", "  - A/Q\n")
    bad.write_text(text, encoding="utf-8")
    line = text.splitlines().index("  - OPHYS_4_images_{novel}") + 1
    said = f"bad.yaml:{line}: stages.12: cohort A/Q: OPHYS_4_images_Q: there is no image set Q"

    result = rig("curriculum", "validate", "visual_behavior", bad)
    assert result.exit_code == 1
    assert "visual_behavior: fine: 16 stages, 16 transitions, cohorts A/B, B/A, G/H" in result.output
    assert said in result.output
    both = rig("validate", bad, OURS)
    assert both.exit_code == 1
    assert said in both.output
    assert f"{OURS}: fine" in both.output


def test_a_regimen_is_imported_shown_compared_and_drawn(tmp_path: Path) -> None:
    regimen = recorded("regimens/VisualBehavior_Task1A_v1.1.1.yml")
    imported = rig("curriculum", "import", regimen)
    made = Path("curricula") / regimen.stem / f"{regimen.stem}.yaml"
    assert imported.exit_code == 0, imported.output
    assert imported.output.splitlines()[-1] == f"Curriculum: {made}"
    assert f"{regimen.name}, line 64: catch_frequency: 0.25: without effect, 0.125 instead" in imported.output
    assert "lines 286, 296, 306, 316, 327, 339, 350, 361, 373, 384: epilogue: natural_movie_one" in imported.output
    assert (
        "451 parameters of 16 stages and fields of 16 transitions understood, those above with a remark; none was not."
        in imported.output
    )

    assert "VisualBehavior_Task1A 1.1.1, cohort A/B" in rig("curriculum", "show", made).output
    diff = rig("curriculum", "diff", "visual_behavior", made)
    assert diff.exit_code == 0
    assert diff.output.splitlines()[-1] == "2 differences, 0 unexplained."
    assert rig("curriculum", "diff", "visual_behavior", "visual_behavior").output == "No difference.\n"
    assert rig("curriculum", "diagram", made, "--out", "drawn.png").exit_code == 0
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")
    raw = rig("curriculum", "diff", "visual_behavior", regimen)
    assert raw.exit_code == 1
    assert (
        f"is a regimen of the laboratory; make a curriculum of it first: rig curriculum import {regimen}" in raw.output
    )
    assert imported.output.count("Not yet to be run here") == len(
        {line for line in imported.output.splitlines() if "Not yet to be run here" in line}
    )
    assert "is there already and not empty" in rig("curriculum", "import", regimen).output


def test_a_difference_that_nobody_explains_is_an_error() -> None:
    text = OURS.read_text(encoding="utf-8").replace("n: 3\n", "n: 4\n")
    Path("other.yaml").write_text(text, encoding="utf-8")
    result = rig("curriculum", "diff", "visual_behavior", "other.yaml")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "1 difference, 1 unexplained."


def test_what_ships_is_listed_with_its_curricula() -> None:
    assert "curriculum  visual_behavior" in rig("stages").output
