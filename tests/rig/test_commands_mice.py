"""The commands about mice, as an operator says them: what they print, what they refuse, and their exit codes."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from rig.cli import app
from rig.config.files import shipped
from rig.laboratory import Shell
from rig.operators import AtTerminal
from rig.training.large import large
from rig.training.table import COLUMNS
from tests.postgres import Cluster
from tests.rig.laboratory import MOUSE
from tests.rig.pages import README, in_readme, pages, printed

DAY = "2026-03-02"


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This user's folders, and the place where sessions lie, are this test's own."""
    for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("RIG_LAB", f"sqlite:///{tmp_path / 'laboratory.sqlite'}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)


def rig(*arguments: str, typed: str | None = None) -> Result:
    """Say ``rig …`` in this process."""
    return CliRunner().invoke(app, list(arguments), input=typed)


def said(*arguments: str) -> str:
    """What a command that succeeds prints."""
    result = rig(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def add(name: str = "M1", *more: str) -> None:
    said("mouse", "add", name, "--baseline-g", "25", "--sex", "F", "--born", "2025-12-01", *more)


@pytest.mark.parametrize("group", ["mouse", "imaging", "lab", "table", "curriculum", "start", "today"])
def test_every_group_says_what_it_is_for(group: str) -> None:
    assert "Usage" in said(group, "--help")


def test_a_mouse_is_taken_in_with_limits_from_its_baseline(tmp_path: Path) -> None:
    add()

    told = said("mouse", "show", "M1")
    assert "Baseline 25.0 g, target 21.2 g, floor 20.0 g (80 % of 25.0 g); water 1.00 mL a day at least" in told
    assert said("mouse", "list").startswith("M1  F  A/B  no decision yet")
    assert (tmp_path / "laboratory.sqlite").is_file()


def shell_in(tmp_path: Path) -> Shell:
    console = Console(file=io.StringIO())
    return Shell(
        out=console,
        err=console,
        sentences=nullcontext,
        runtime_dir=lambda: tmp_path,
        library=lambda: tmp_path,
        data=lambda: tmp_path / "mine",
        cache=lambda: tmp_path / "cache",
        user=lambda: "ana",
        host=lambda: "rig-3",
        asks=lambda: False,
    )


def test_a_server_whose_password_is_another_finds_the_rigs_own_file_and_what_was_not_sent_yet(tmp_path: Path) -> None:
    for secret in ("", ":old", ":new"):
        with shell_in(tmp_path).lab(f"postgresql://rig{secret}@127.0.0.1:1/vision", reconciles=False) as lab:
            lab.record(MOUSE)
    assert len(list((tmp_path / "mine").glob("laboratory-*.sqlite"))) == 1


def test_without_a_url_the_laboratory_is_a_file_of_this_users(tmp_path: Path) -> None:
    with shell_in(tmp_path).lab(None) as lab:
        row = lab.record(MOUSE)

    assert (row.who, row.host) == ("ana", "rig-3")
    assert (tmp_path / "mine" / "laboratory.sqlite").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("mouse", "add", "M 1", "--baseline-g", "25"), "can't stand in a folder's name"),
        (("mouse", "add", "M1", "--baseline-g", "250"), "the baseline is 250 g, and no mouse weighs that"),
        (("mouse", "add", "M1", "--baseline-g", "25", "--floor-g", "26"), "the floor, 26 g, is not below the baseline"),
        (("mouse", "add", "M1", "--baseline-g", "25", "--images", "A"), "no cohort; write its familiar and its novel"),
        (("mouse", "add", "M1", "--baseline-g", "25", "--images", "A/H"), "has no cohort 'A/H'"),
        (("mouse", "add", "M1", "--baseline-g", "25", "--curriculum", "visual_behaviour"), "visual_behavior"),
        (("mouse", "add", "M1", "--baseline-g", "25", "--born", "yesterday"), "'yesterday' is no day"),
        (("mouse", "show", "M1"), "there is no mouse M1; there are no mice yet"),
        (("mouse", "weigh", "M1", "21"), "there is no mouse M1"),
        (("start", "M1"), "there is no mouse M1"),
        (("start", "M1", "--override"), "needs a reason: --why"),
        (("start", "M1", "--day", DAY), "simulated time only"),
        (("start", "M1", "--rig", "example_nidaq", "--minutes", "5"), "a mouse's session has its stage's length"),
        (("start", "M1", "--rig", "twin", "--fast"), "runs in real time only"),
        (("curriculum", "explain", "M1"), "there is no mouse M1"),
        (("imaging", "show", "M1"), "there is no mouse M1"),
        (("lab", "status", "--lab", "mysql://somewhere/else"), "sqlite:///FILE"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(arguments: Sequence[str], says: str) -> None:
    result = rig(*arguments)

    assert result.exit_code == 1
    assert says in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.output


def test_a_name_is_given_once_and_limits_are_changed_with_a_reason() -> None:
    add()
    again = rig("mouse", "add", "m1", "--baseline-g", "30")
    assert again.exit_code == 1
    assert "there is a mouse M1 already, and capitals make no other" in again.stderr
    same = rig("mouse", "add", "M1", "--baseline-g", "30").stderr.replace("\n", " ")
    assert "there is a mouse M1 already: rig mouse show M1 shows it, rig mouse change M1 puts right what" in same

    told = said("mouse", "change", "M1", "--floor-g", "19", "--why", "the veterinarian agreed")
    assert "floor 19.0 g" in told
    assert rig("mouse", "change", "M1", "--why", "nothing").exit_code == 1
    slip = ("--images", "B/A", "--sex", "M", "--born", "2025-11-30", "--genotype", "wt/wt", "--why", "mistyped")
    assert "M1, M, born 2025-11-30, wt/wt\nCurriculum visual_behavior, images B, then A" in said(
        "mouse", "change", "M1", *slip
    )
    assert "has no cohort 'B/H'" in rig("mouse", "change", "M1", "--images", "B/H", "--why", "a slip").stderr
    assert "not below the baseline" in rig("mouse", "change", "M1", "--floor-g", "26", "--why", "a slip").stderr


@pytest.mark.parametrize("grams", ["2", "270"])
def test_a_weight_that_no_mouse_has_is_refused(grams: str) -> None:
    add()

    result = rig("mouse", "weigh", "M1", grams)

    assert result.exit_code == 1
    assert f"that is {grams} g, and no mouse weighs that (5 to 80 g); weigh again" in result.stderr
    assert "Weight" not in said("mouse", "show", "M1")


def test_a_weight_off_the_trend_wants_the_name_in_large_letters_and_typed() -> None:
    add()
    said("mouse", "weigh", "M1", "21.5", "--day", "2026-03-01")

    unasked = rig("mouse", "weigh", "M1", "18", "--day", DAY)
    assert unasked.exit_code == 1
    assert "16% below its last weight, 21.5 g (more than 10%): look at the cage's card" in unasked.stderr
    assert unasked.stdout.count("██████") == 1
    assert "Is this M1?" not in unasked.stdout
    wrong = rig("mouse", "weigh", "M1", "18", "--day", DAY, "--name", "M7")
    assert wrong.exit_code == 1
    assert "the name M1 was not confirmed, so nothing is recorded" in wrong.stderr
    right = said("mouse", "weigh", "M1", "18", "--day", DAY, "--name", "M1")
    assert "18.0 g, 72 % of 25.0 g; BELOW ITS FLOOR of 20.0 g, no session." in right
    assert "wrong weight" in said("mouse", "show", "M1")


@pytest.mark.parametrize(("typed", "sure"), [("M1\n", True), (" M1 \n", True), ("M7\n", False), ("m1\n", False)])
def test_somebody_at_the_terminal_types_the_name_on_the_card(typed: str, sure: bool) -> None:
    shown = io.StringIO()
    operator = AtTerminal(out=Console(file=shown, width=80), asks=True)

    with CliRunner().isolation(input=typed):
        assert operator.is_this("M1", ["18.0 g is 16% below its last weight, 21.5 g (more than 10%)"]) is sure

    assert "▲ 18.0 g is 16% below its last weight, 21.5 g (more than 10%)." in shown.getvalue()
    assert "██  ██  ██    ██" in shown.getvalue()


def test_somebody_at_the_terminal_is_asked_for_weight_and_water() -> None:
    operator = AtTerminal(out=Console(file=io.StringIO()), asks=True)

    with CliRunner().isolation(input="heavy\n21.3\n1.0\n0\n"):
        assert operator.weight_g("M1") == 21.3  # what is no number is asked for again
        assert operator.given_ml("M1", at_least_ml=1.0) == 1.0
        assert operator.given_ml("M1", at_least_ml=1.0) is None


def test_what_an_option_says_is_not_asked_for() -> None:
    operator = AtTerminal(
        out=Console(file=io.StringIO()), asks=True, weight_given_g=20.1, water_given_ml=0.5, name_given="M1"
    )

    with CliRunner().isolation(input=""):
        assert operator.weight_g("M1") == 20.1
        assert operator.given_ml("M1", at_least_ml=1.0) == 0.5
        assert operator.is_this("M1", ["a doubt"])


def test_a_long_name_goes_on_below_where_the_terminal_ends() -> None:
    lines = large("M457841-Sst", columns=80).split("\n")

    assert max(len(line) for line in lines) <= 80
    assert len(lines) == 11


def test_water_is_added_up_and_what_is_owed_is_said() -> None:
    add()

    assert said("mouse", "water", "M1", "0.4", "--day", DAY) == f"M1 had 0.40 mL on {DAY}; 0.60 mL still to give.\n"
    assert "nothing is owed" in said("mouse", "water", "M1", "0.6", "--before-passive", "--day", DAY)
    assert rig("mouse", "water", "M1", "12", "--day", DAY).exit_code == 1


@pytest.mark.parametrize("drunk", ["0.546", "0.5449", "0.9949", "0.001"])
def test_what_a_mouse_had_and_what_is_still_to_give_make_its_days_water(drunk: str) -> None:
    add()
    told = said("mouse", "water", "M1", drunk, "--day", DAY)
    had, rest = (float(each) for each in re.findall(r"(\d\.\d\d) mL", told))

    assert had + rest == pytest.approx(1.0)
    assert f"{had:.2f} of 1.00 mL" in said("today", "--day", DAY)


def test_hints_name_the_day_that_is_simulated(tmp_path: Path) -> None:
    add()
    said("mouse", "place", "M1", "OPHYS_2_images_A_passive", "--why", "was trained elsewhere")
    start = ("start", "M1", "--rig", "simulated_imaging", "--fast", "--day", DAY, "--weight-g", "21.4")
    assert f"rig mouse water M1 1.00 --before-passive --day {DAY}" in rig(*start).stderr.replace("\n", " ")


def test_a_placement_says_what_it_leaves_out() -> None:
    add()
    placed = said("mouse", "place", "M1", "TRAINING_2_gratings_flashed", "--why", "was trained elsewhere")
    assert "▲ M1: this leaves out 2 stages, TRAINING_0_gratings_autorewards_15min to TRAINING_1_gratings." in placed
    assert "leaves out" not in said("mouse", "place", "M1", "TRAINING_0_gratings_autorewards_15min", "--why", "anew")


def test_a_session_run_by_hand_is_left_out_counted_or_disowned_by_command(tmp_path: Path) -> None:
    said("run", "--mouse", "M1", "--stage", "TRAINING_2_gratings_flashed", "--fast", "--minutes", "1", "--no-nwb")
    (folder,) = tmp_path.glob("sessions/*")
    relative = str(folder.relative_to(tmp_path))
    add()
    start = ("start", "M1", "--fast", "--minutes", "1", "--day", "2027-03-02", "--no-nwb", "--weight-g", "21.4")

    started = said(*start, "--seed", "1")
    assert f"Left out: a simulated session of M1 that rig start did not begin, the last one in {relative};" in started
    assert "is not one of its own" in said("mouse", "disown", "M1", relative, "--why", "it was a trial of the rig")
    assert "Left out" not in rig(*start).output
    counted = said("mouse", "take-in", "M1", relative, "--why", "it was M1")
    assert "M1: counted, " in counted
    assert "rig mouse place M1 TRAINING_2_gratings_flashed --before-first --why REASON" in counted
    assert "STOP" in said("today", "--day", "2027-03-03")
    placed = said("mouse", "place", "M1", "TRAINING_2_gratings_flashed", "--before-first", "--why", "it was tried")
    assert "rig mouse place M1" in placed or "M1: " in placed
    assert rig("mouse", "disown", "M1", "nowhere", "--why", "a slip").exit_code == 1


def test_a_session_of_another_mouse_is_taken_off_the_record_by_command(tmp_path: Path) -> None:
    add()
    said(
        "start",
        "M1",
        "--fast",
        "--minutes",
        "1",
        "--day",
        "2027-03-02",
        "--no-nwb",
        "--weight-g",
        "21.4",
        "--seed",
        "1",
    )
    (folder,) = tmp_path.glob("sessions/*")
    relative = str(folder.relative_to(tmp_path))

    off = said("mouse", "disown", "M1", relative, "--why", "it was M7")

    assert "M1: taken off its record, 2027-03-02 at TRAINING_0_gratings_autorewards_15min, " in off
    assert "rig mouse water NAME 0." in off
    assert "begins at TRAINING_0_gratings_autorewards_15min: no session yet." in off
    assert "counted, 2027-03-02" in said("mouse", "take-in", "M1", relative, "--why", "it was M1 after all")


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
def test_sessions_of_a_simulated_day_begin_one_after_the_other_wherever_the_rig_stands(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        add()
        start = ("start", "M1", "--fast", "--minutes", "1", "--day", DAY, "--no-nwb", "--seed", "1")
        said(*start, "--weight-g", "21.4")
        said(*start, "--override", "--why", "once more")
        assert "2 of 2 sessions recomputed" in said("curriculum", "explain", "M1")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_note_stays_with_the_mouse() -> None:
    add()
    said("mouse", "note", "M1", "left eye wet")

    assert "left eye wet" in said("mouse", "show", "M1")
    assert rig("mouse", "note", "M1", " ").exit_code == 1


def test_a_placement_wants_a_stage_of_the_curriculum_and_a_reason() -> None:
    add()

    assert "nothing follows by itself where M1 is; name the stage" in rig("mouse", "place", "M1").stderr
    assert "give the reason" in rig("mouse", "place", "M1", "TRAINING_2_gratings_flashed").stderr
    assert "there is no stage TRAINING_9" in rig("mouse", "place", "M1", "TRAINING_9", "--why", "a slip").stderr
    placed = said("mouse", "place", "M1", "OPHYS_1_images_A", "--why", "was trained elsewhere", "--who", "ana")
    assert "placed at OPHYS_1_images_A by ana: was trained elsewhere" in placed
    assert "OPHYS_1_images_A" in said("today")
    taken_back = said("mouse", "withdraw", "M1", "placement", "--why", "it was M2")
    assert "M1: begins at TRAINING_0_gratings_autorewards_15min: no session yet." in taken_back
    assert "there is no placement of M1 to withdraw" in rig("mouse", "withdraw", "M1", "placement", "--why", "x").stderr


def test_what_was_recorded_by_mistake_is_taken_back_with_a_reason() -> None:
    add()
    said("mouse", "weigh", "M1", "21.5", "--day", DAY)
    said("mouse", "water", "M1", "0.4", "--day", DAY)
    said("mouse", "water", "M1", "0.5", "--day", DAY)

    assert "the water recorded" in said("mouse", "withdraw", "M1", "water", "--why", "it was spilt")
    said("mouse", "withdraw", "M1", "weight", "--why", "it was M2 on the scales")

    told = said("mouse", "show", "M1")
    assert f"Water {DAY}: 0.40 mL" in told
    assert "Weight" not in told


def test_a_mouse_whose_curriculum_is_gone_stops_and_the_others_are_shown(tmp_path: Path) -> None:
    own = tmp_path / "ours.yaml"
    own.write_bytes(shipped("curricula")["visual_behavior"].read_bytes())
    add("M1", "--curriculum", str(own))
    add("M2")
    own.unlink()

    told = said("today")

    assert "STOP" in told
    assert "ours.yaml" in "".join(told.replace("✗ STOP", "").split())
    assert "GO" in told


def test_a_day_through_the_command_line(tmp_path: Path) -> None:
    add()
    start = ("start", "M1", "--fast", "--minutes", "1", "--seed", "1", "--day", DAY, "--no-nwb")

    unweighed = rig(*start)
    assert unweighed.exit_code == 1
    assert "M1 was not weighed today, and nobody is here to ask; give --weight-g GRAMS" in unweighed.stderr
    assert not (tmp_path / "sessions").exists()
    told = said(*start, "--weight-g", "21.4")
    second = rig(*start)

    assert "Today: begins at TRAINING_0_gratings_autorewards_15min: no session yet." in told
    assert "Ended: time" in told
    assert "Next: moved on from TRAINING_0_gratings_autorewards_15min to TRAINING_1_gratings" in told
    assert "still to give today" in told
    assert second.exit_code == 1
    assert "had a session on 2026-03-02 already" in second.stderr
    assert "WATER" in said("today", "--day", DAY)
    assert "GO" in said("today", "--day", "2026-03-03")
    explained = said("curriculum", "explain", "M1")
    assert "1 of 1 sessions recomputed from their logs." in explained
    assert "Next: TRAINING_1_gratings" in explained
    (row,) = csv.DictReader(io.StringIO(said("table", "sessions")))
    assert (row["mouse_id"], row["session_type"], row["experience_level"], row["age_in_days"]) == (
        "M1", "TRAINING_0_gratings_autorewards_15min", "Training", "91",
    )  # fmt: skip
    assert list(row) == list(COLUMNS)
    assert "no imaging session" in said("imaging", "show", "M1")
    assert "1 mouse on record here" in said("lab", "status")
    assert said("lab", "reconcile")
    said("table", "sessions", "--out", "sessions.csv")
    assert rig("table", "sessions", "--out", str(tmp_path / "sessions")).exit_code == 1
    (log,) = tmp_path.glob("sessions/*/events.jsonl")
    log.write_bytes(log.read_bytes().replace(b'"code_version":"', b'"code_version":"x'))
    edited = rig("curriculum", "explain", "M1")
    assert edited.exit_code == 1
    assert "M1 keeps its stage" in edited.stderr


def test_a_mouse_runs_the_stages_of_its_own_curriculum_from_wherever_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    (own / "stages").mkdir(parents=True)
    for path in shipped("stages").values():
        text = path.read_text(encoding="utf-8")
        (own / "stages" / path.name).write_text(
            re.sub(r"^task_duration_min: .*$", "task_duration_min: 2", text, flags=re.MULTILINE), encoding="utf-8"
        )
    (own / "ours.yaml").write_bytes(shipped("curricula")["visual_behavior"].read_bytes())
    add("M1", "--curriculum", "own/ours.yaml")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    said("start", "M1", "--fast", "--seed", "1", "--day", DAY, "--no-nwb", "--weight-g", "21.4")

    assert "Session 2026-03-02: TRAINING_0_gratings_autorewards_15min, peak d′ none, 2 of 2 min" in said(
        "mouse", "show", "M1"
    )


def test_what_is_recorded_at_one_computer_is_known_at_every_other(
    server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIG_LAB", server.laboratory())

    def at(computer: str) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / computer))

    at("office")
    add()
    at("vivarium")
    said("mouse", "water", "M1", "0.6", "--day", DAY)
    said("mouse", "place", "M1", "OPHYS_1_images_A", "--why", "was trained elsewhere")
    said("mouse", "weigh", "M1", "21.5", "--day", DAY)
    assert rig("mouse", "weigh", "M1", "18", "--day", "2026-03-03").exit_code == 1
    at("office")
    told = said("mouse", "show", "M1")

    assert f"Water {DAY}: 0.60 mL" in told
    assert f"Weight {DAY}: 21.5 g" in told
    assert "OPHYS_1_images_A" in said("mouse", "list")
    assert said("lab", "reconcile") == "0 rows sent, 0 received.\n"


def test_the_readme_shows_the_help_that_there_is() -> None:
    assert in_readme(README.read_text(encoding="utf-8"), "rig --help") == printed("--help")


@pytest.mark.slow
def test_the_readme_shows_the_pages_as_they_are_printed(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")

    for command, page in pages(tmp_path).items():
        assert in_readme(text, command) == page, f"{command}: run make figures"
