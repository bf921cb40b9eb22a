"""A stage without trials: every patch in its turn, no water, the same session around it."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hardware.simulated.mice import MouseKind
from rig.cli import app
from rig.config.files import load_stage
from rig.log.reader import read_session
from rig.log.replay import replay
from rig.log.writer import LogWriter
from rig.records.folds import Folds
from rig.records.presentations import with_stops
from rig.records.products import write_products
from stages.events import (
    BlockEnded,
    BlockKind,
    BlockStarted,
    EndReason,
    FlashLost,
    FlashPlanned,
    FlashShown,
    Lick,
    Paused,
    Resumed,
    RewardArmed,
    RewardCommanded,
    RewardFired,
    SessionEnded,
    SpoutCommanded,
    SpoutPosition,
    TrialStarted,
)
from stages.parameters import SweepParameters
from stages.random import RandomStreams
from stages.sweep import NoDraws, shuffled
from stimuli.spec import Gabor, Gray, NaturalMovie, label
from tests.builders import SWEEP, Ran, command, rig_config, run, stage
from tests.properties import strategies as draw

RIG = rig_config(behaviour="perfect", card={"kind": "simulated", "drift_ppm": 0})
ON = 15
"""Refreshes of a patch, 0.25 s at 60 Hz."""
N = 18
SMALL_MOVIE = {"name": "natural_movie_one", "frame_rate_hz": 30, "n_frames": 30, "n_repeats": 2}


@cache
def plain(seed: int = 1, **changes: Any) -> Ran:
    return run(stage(SWEEP, **changes), RIG, licks_s=[], seed=seed)


def blocks(ran: Ran) -> list[BlockKind]:
    return [event.block for event in ran.all(BlockStarted)]


def patches_of(ran: Ran) -> list[Gabor]:
    stimuli = ran.log.entries[0].event.stimuli
    return [stimuli[event.stimulus] for event in ran.all(FlashShown)]


def test_the_shipped_sweep_is_the_published_one() -> None:
    parameters = load_stage(SWEEP)
    assert isinstance(parameters, SweepParameters)
    assert parameters.sweep.n_presentations == 3645  # presentations of gabor_20_deg_250ms in the published sessions
    assert parameters.sweep.length_s == 911.25


def test_every_patch_comes_once_in_each_repeat_in_another_order() -> None:
    ran = plain(n_repeats=3)
    shown = patches_of(ran)
    repeats = [shown[n : n + N // 2] for n in range(0, len(shown), N // 2)]
    assert len(repeats) == 3
    for repeat in repeats:
        places = {(patch.azimuth_deg, patch.altitude_deg, patch.orientation_deg) for patch in repeat}
        assert places == {(x, 40.0, o) for x in (-10.0, 0.0, 10.0) for o in (0.0, 45.0, 90.0)}
    assert repeats[0] != repeats[1]


def test_a_patch_is_what_the_stage_says() -> None:
    patch = patches_of(plain())[0]
    assert (patch.spatial_frequency_cpd, patch.temporal_frequency_hz) == (0.08, 4.0)
    assert (patch.diameter_deg, patch.contrast) == (20.0, 0.8)


def test_the_order_is_that_of_the_seed_alone() -> None:
    assert patches_of(plain(seed=1)) == patches_of(run(stage(SWEEP), kind=MouseKind.ALWAYS, seed=1))
    assert patches_of(plain(seed=1)) != patches_of(plain(seed=2))


def test_no_place_in_the_order_is_preferred() -> None:
    firsts = Counter(shuffled(range(9), n_repeats=1, streams=RandomStreams(seed))[0] for seed in range(900))
    assert set(firsts) == set(range(9))
    assert max(firsts.values()) < 150


@pytest.mark.parametrize("gap_s", [0, 0.1])
def test_patches_come_on_the_grid_for_as_long_as_they_should(gap_s: float) -> None:
    ran = plain(gap_s=gap_s)
    gap = round(gap_s * 60)
    shown = ran.log.all_flips()["stimulus"]
    onsets = [event.refresh for event in ran.all(FlashPlanned)]
    assert onsets == [30 + n * (ON + gap) for n in range(N)]
    for event in ran.all(FlashPlanned):
        assert set(shown[event.refresh : event.refresh + ON]) == {event.stimulus}
        assert set(shown[event.refresh + ON : event.refresh + ON + gap]) <= {0}
    assert not shown[: onsets[0]].any()
    assert not shown[onsets[-1] + ON :].any()


def test_the_blocks_are_gray_sweep_gray_movie_and_the_end_is_told() -> None:
    ran = run(stage(SWEEP, movie=SMALL_MOVIE), RIG, licks_s=[])
    assert blocks(ran) == [BlockKind.GRAY_BEFORE, BlockKind.SWEEP, BlockKind.GRAY_AFTER, BlockKind.MOVIE]
    assert [event.block for event in ran.all(BlockEnded)] == blocks(ran)
    assert (ran.ended.reason, ran.ended.why) == (EndReason.TIME, "all 18 patches of the sweep are over")
    assert ran.ended.time_s == pytest.approx(0.5 + N * 0.25 + 0.5 + 2.0, abs=0.02)
    last = ran.entries(FlashShown)[-1]
    assert ran.entries(BlockEnded)[1].refresh == last.event.off_refresh
    kinds = [type(stimulus) for stimulus in ran.log.entries[0].event.stimuli]
    assert kinds == [Gray, *[Gabor] * 9, NaturalMovie]


def test_there_are_no_trials_and_no_water_however_the_mouse_licks_and_whatever_is_asked() -> None:
    asked = [command("reward", at_s=2.0), command("spout", at_s=3.0, position="at_mouse")]
    ran = run(stage(SWEEP), RIG, kind=MouseKind.ALWAYS, commands=asked)
    assert not ran.all(TrialStarted, RewardArmed, RewardCommanded, RewardFired)
    assert [event.position for event in ran.all(SpoutCommanded)] == [SpoutPosition.RETRACTED]
    assert [(applied, what) for _, applied, what in ran.answers] == [
        (False, "no water in a passive stage"),
        (False, "the spout stays retracted in a passive stage"),
    ]


def test_licks_change_nothing_of_what_is_shown() -> None:
    licked = run(stage(SWEEP), RIG, licks_s=[1.0, 2.0, 3.1])
    assert licked.all(FlashShown) == plain().all(FlashShown)
    assert not licked.all(Lick), "the spout is out of reach"


@pytest.mark.parametrize("gap_s", [0, 0.1])
@pytest.mark.parametrize("between_s", [(2.0, 4.0), (2.01, 9.9), (0.1, 3.0)])
def test_a_pause_lets_the_patch_end_and_the_sweep_goes_on_with_the_next_on_the_grid(
    between_s: tuple[float, float], gap_s: float
) -> None:
    pause_s, resume_s = between_s
    asked = [command("pause", at_s=pause_s), command("resume", at_s=resume_s)]
    ran = run(stage(SWEEP, gap_s=gap_s), RIG, licks_s=[], commands=asked)
    assert blocks(ran).count(BlockKind.SWEEP) == 2
    assert patches_of(ran) == patches_of(plain())
    (paused,), (resumed,) = ran.entries(Paused), ran.entries(Resumed)
    assert not ran.log.all_flips()["stimulus"][paused.flip : resumed.flip].any()
    assert all(event.late_refreshes == 0 for event in ran.all(FlashShown))
    cycle = ON + round(gap_s * 60)
    assert {(event.refresh - 30) % cycle for event in ran.all(FlashPlanned)} == {0}
    table = with_stops(ran.live.presentations.table(), ran.log.all_flips())
    assert set(table[table["block"] == "sweep"]["n_flips_shown"]) == {ON}
    assert ran.ended.reason is EndReason.TIME


def test_stop_lets_the_patch_end_and_runs_the_closing_blocks() -> None:
    ran = run(stage(SWEEP), RIG, licks_s=[], commands=[command("stop", at_s=2.1)])
    assert blocks(ran) == [BlockKind.GRAY_BEFORE, BlockKind.SWEEP, BlockKind.GRAY_AFTER]
    assert ran.ended.reason is EndReason.STOPPED
    assert len(ran.all(FlashShown)) == 7  # that from 2 s to 2.25 s is the seventh
    assert ran.ended.time_s == pytest.approx(2.25 + 0.5, abs=0.05)
    when = "when the patch that is on has gone"
    assert ran.answers[0][2] == f"stops, with the closing blocks, {when}; these take 0.5 s, and stop-now ends them"


def test_who_asks_for_a_stop_is_told_how_long_the_closing_blocks_take() -> None:
    movie = {"name": "natural_movie_one", "frame_rate_hz": 30.0, "n_frames": 900, "n_repeats": 10}
    ran = run(
        stage(SWEEP, movie=movie, gray_after_s=30.0),
        RIG,
        licks_s=[],
        commands=[command("stop", at_s=0.2), command("stop-now", at_s=1.0)],
    )
    assert ran.answers[0][2].endswith("; these take 5.5 min, and stop-now ends them")


def test_stop_in_the_gray_before_shows_nothing() -> None:
    ran = run(stage(SWEEP), RIG, licks_s=[], commands=[command("stop", at_s=0.2)])
    assert not ran.all(FlashPlanned)
    assert blocks(ran) == [BlockKind.GRAY_BEFORE, BlockKind.GRAY_AFTER]
    assert "at once" in ran.answers[0][2]


def test_stop_now_cuts_the_patch() -> None:
    ran = run(stage(SWEEP), RIG, licks_s=[], commands=[command("stop-now", at_s=2.1)])
    assert ran.ended.reason is EndReason.STOPPED_NOW
    assert ran.ended.time_s == pytest.approx(2.1, abs=0.06)
    assert ran.log.all_flips()["stimulus"][-1] == 0


def test_a_pause_asked_for_in_the_last_patch_comes_too_late() -> None:
    ran = run(stage(SWEEP), RIG, licks_s=[], commands=[command("pause", at_s=0.5 + N * 0.25 - 0.1)])
    assert BlockKind.PAUSE not in blocks(ran)
    assert ran.ended.reason is EndReason.TIME


def test_patches_that_the_screen_stood_still_for_are_lost_and_the_others_keep_their_places() -> None:
    lost = 0
    for seed in range(12):
        ran = run(
            stage(SWEEP, duration_s=1 / 60, n_repeats=40), rig_config(behaviour="dropping"), licks_s=[], seed=seed
        )
        shown, gone = {e.flash for e in ran.all(FlashShown)}, {e.flash for e in ran.all(FlashLost)}
        assert not shown & gone
        assert shown | gone == set(range(360))
        assert {e.refresh - e.flash for e in ran.all(FlashPlanned)} == {30}
        assert ran.ended.reason is EndReason.TIME
        lost += len(gone)
    assert lost


def test_a_sweep_asked_for_a_trial_is_an_error_of_this_program() -> None:
    with pytest.raises(RuntimeError, match="no trials"):
        NoDraws().next()


@given(
    behaviour=draw.screens,
    seed=draw.seeds,
    licks_s=draw.lick_trains,
    commands=draw.commands,
    gap_s=st.sampled_from([0, 0.1]),
)
def test_jumping_stepping_and_replaying_a_sweep_give_the_same_bytes(
    behaviour: str, seed: int, licks_s: list[float], commands: list, gap_s: float
) -> None:
    parameters, config = stage(SWEEP, gap_s=gap_s), rig_config(behaviour=behaviour)
    jumped, stepped = (
        run(parameters, config, licks_s=licks_s, seed=seed, commands=commands, stepping=stepping)
        for stepping in (False, True)
    )
    decided = [[entry for entry in ran.log.entries if isinstance(entry.event, DECIDED)] for ran in (jumped, stepped)]
    assert decided[0] == decided[1]
    assert jumped.log.all_flips().tobytes() == stepped.log.all_flips().tobytes()
    result = replay(jumped.as_read())
    assert result.difference is None
    assert result.n_decisions > 2
    assert not jumped.all(TrialStarted, RewardFired)
    assert isinstance(jumped.log.entries[-1].event, SessionEnded)


DECIDED = (
    FlashPlanned,
    FlashShown,
    FlashLost,
    BlockStarted,
    BlockEnded,
    Paused,
    Resumed,
    SpoutCommanded,
    SessionEnded,
)


def test_the_table_holds_each_patch_with_its_place() -> None:
    ran = plain()
    table = with_stops(ran.live.presentations.table(), ran.log.all_flips())
    assert table["block"].tolist() == ["gray_before", *["sweep"] * N, "gray_after"]
    rows = table[table["block"] == "sweep"]
    for row, patch in zip(rows.itertuples(), patches_of(ran), strict=True):
        assert row.stimulus == label(patch)
        assert (row.azimuth_deg, row.altitude_deg) == (patch.azimuth_deg, patch.altitude_deg)
        assert row.orientation_deg == patch.orientation_deg
    assert set(rows["n_flips_shown"]) == {ON}
    assert set(rows["trial"]) == {-1}
    assert table[table["stimulus"] == "gray"]["azimuth_deg"].isna().all()


def test_the_same_patch_twice_in_a_row_is_two_presentations() -> None:
    ran = run(stage(SWEEP, azimuths_deg=[0.0], orientations_deg=[45.0], n_repeats=4), RIG, licks_s=[])
    table = with_stops(ran.live.presentations.table(), ran.log.all_flips())
    rows = table[table["block"] == "sweep"]
    assert rows["n_flips_shown"].tolist() == [ON] * 4
    assert [b - a for a, b in pairwise(rows["start_flip"])] == [ON] * 3
    np.testing.assert_allclose(rows["stop_time_s"] - rows["start_time_s"], 0.25, atol=1e-3)


def test_summary_and_figure_speak_of_no_trials(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    with closing(LogWriter(folder)) as log:
        run(stage(SWEEP), RIG, log=log)
    read = read_session(folder)
    assert Folds.of(read.entries).summary.summary().is_sweep
    written = {path.name: path for path in write_products(read)}
    words = written["summary.txt"].read_text(encoding="utf-8")
    assert "No trials: a sweep of patches." in words
    assert "18 patches shown, 0 omitted, 0 late" in words
    assert "Hit rate" not in words
    assert len(written["trials.csv"].read_text(encoding="utf-8").splitlines()) == 1
    assert written["session.png"].stat().st_size > 10_000


def test_it_runs_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    arguments = ["run", "--mouse", "M1", "--stage", SWEEP, "--rig", "simulated_imaging", "--fast", "--seed", "1"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "o")])
    assert result.exit_code == 0, result.stderr
    assert "Ended: time, all 3645 patches of the sweep are over (task)." in result.stdout
    assert "3645 patches shown" in result.stdout

    refused = CliRunner().invoke(app, [*arguments, "--minutes", "5"])
    assert refused.exit_code == 1
    assert (
        refused.stderr == f"--minutes: {SWEEP} is a sweep and takes 15.2 min; for another length change its n_repeats\n"
    )
