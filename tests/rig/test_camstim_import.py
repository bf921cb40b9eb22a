"""camstim's sessions as sessions of ours: what stands in them, and that nothing of it was decided by us."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hardware.events import LateFlip
from hardware.simulated.mice import MouseKind
from rig.cli import app
from rig.log.reader import SessionLog, read_session
from rig.log.replay import replay
from rig.log.schema import LogError
from rig.records.camstim import CamstimError
from rig.records.camstim.importing import begun_at, import_camstim, zone_of
from rig.records.camstim.reader import Recording, read_camstim
from rig.records.camstim_export import export_camstim
from rig.records.folds import Folds
from rig.records.nwb.checks import refuse_contradictions
from rig.records.nwb.tables import tables_of
from rig.records.performance import trial_columns
from rig.records.products import summarise
from stages.events import BlockKind, BlockStarted, Lick, Note, Outcome, RewardFired
from tests.builders import GRATINGS, IMAGES, RECORDED_SESSION, command, recorded, recorded_session
from tests.peers.nwb_sessions import MOVIE, record


@pytest.fixture(scope="module")
def recording() -> Recording:
    return recorded_session()


@pytest.fixture(scope="module")
def imported(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> SessionLog:
    return import_camstim(recording, tmp_path_factory.mktemp("imported") / "session")


def test_its_trials_are_camstims_with_the_licks_that_allensdk_gives_them(
    recording: Recording, imported: SessionLog
) -> None:
    ours, theirs = trial_columns(Folds.of(imported.entries).trials.rows), recording.columns()

    for name in ("outcomes", "start_times_s", "lick_times_s", "lick_trials"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist(), name
    assert ours.reward_volumes_ul == pytest.approx(theirs.reward_volumes_ul)
    assert np.array_equal(ours.change_times_s, theirs.change_times_s, equal_nan=True)


def test_its_flips_hold_what_was_on_the_screen_and_what_the_wheel_gave(
    recording: Recording, imported: SessionLog
) -> None:
    flips = imported.flips
    shown = np.isin(flips["stimulus"], [i for i, s in enumerate(imported.started.stimuli) if hasattr(s, "image_set")])

    assert len(flips) == 270_072
    assert shown.sum() == 72_196  # TASK_FACTS 4.6
    assert flips["time_s"].tolist() == recording.frame_times_s.tolist()
    assert flips["signal_v"] == pytest.approx(recording.signal_v, abs=1e-6)
    assert (flips["movie_frame"] >= 0).sum() == 18_000
    assert flips["n_missed"].sum() == sum(e.event.n_missed for e in imported.entries if isinstance(e.event, LateFlip))


def test_its_blocks_are_gray_task_gray_and_movie(imported: SessionLog) -> None:
    blocks = [(e.event.block, e.flip) for e in imported.entries if isinstance(e.event, BlockStarted)]

    assert blocks == [
        (BlockKind.GRAY_BEFORE, 0),
        (BlockKind.TASK, 17_984),
        (BlockKind.GRAY_AFTER, 234_072),
        (BlockKind.MOVIE, 252_072),
    ]


def test_it_contradicts_itself_nowhere_and_says_whose_it_is(imported: SessionLog) -> None:
    summary, words = summarise(imported)

    assert refuse_contradictions(imported) == []
    assert imported.started.imported_from == "camstim"
    assert imported.started.code_version.startswith("camstim 0.5.6")
    assert summary.max_reward_rate_per_min == pytest.approx(3.2597812735834326)  # TASK_FACTS 4.6
    assert "953 trials: 81 hits" in words
    with pytest.raises(LogError, match=r"was imported from camstim.*rig replay --camstim FILE"):
        replay(imported)


def test_a_session_of_ours_that_went_through_camstims_words_comes_back(tmp_path: Path) -> None:
    """With an abort, an omission, a free reward and a movie; a time in the pickle is a sum of intervals."""
    log = read_session(
        record(
            tmp_path / "ours",
            IMAGES,
            kind=MouseKind.STOCHASTIC,
            minutes=6.0,
            commands=(command("reward", at_s=60.2),),
            movie=MOVIE,
        )
    )
    back = import_camstim(read_camstim(export_camstim(log)), tmp_path / "back")

    rows = [row for row in Folds.of(log.entries).trials.rows if row.outcome is not Outcome.INCOMPLETE]
    for ours, again in zip(rows, Folds.of(back.entries).trials.rows, strict=True):
        for name in ("start_flip", "end_flip", "change_flip", "outcome", "catch", "auto_rewarded", "change_after"):
            assert getattr(again, name) == getattr(ours, name), (ours.trial, name)
        assert again.reward_volume_ul == pytest.approx(ours.reward_volume_ul)
    for event in (Lick, RewardFired):
        flips = [[e.flip for e in one.entries if isinstance(e.event, event)] for one in (log, back)]
        assert len(flips[0]) == len(flips[1])
    assert back.started.session_id == log.started.session_id
    assert (back.flips["movie_frame"] == log.flips["movie_frame"]).all()
    assert summarise(back)[0].water_ul == pytest.approx(summarise(log)[0].water_ul)


@pytest.mark.parametrize(
    ("name", "is_passive"), [(IMAGES, False), ("OPHYS_2_images_A_passive", True)], ids=["active", "passive"]
)
def test_an_imported_imaging_session_has_its_omissions_and_its_spout_where_it_was(
    tmp_path: Path, name: str, is_passive: bool
) -> None:
    log = read_session(record(tmp_path / "ours", name, kind=MouseKind.PERFECT, minutes=2.0))

    back = import_camstim(read_camstim(export_camstim(log)), tmp_path / "back")

    assert back.started.stage_parameters["omission_probability"] == 0.05
    assert back.started.stage_parameters["passive"] is is_passive
    tables = tables_of(back, delay_s=0.0)
    (shown,) = (table for kind, table in tables.presentations.items() if kind.startswith("images"))
    assert set(shown["stimulus_block_name"]) == {f"change_detection_{'passive' if is_passive else 'behavior'}"}


def test_a_stage_that_is_called_passive_is_so_without_a_word_about_the_spout(tmp_path: Path) -> None:
    log = read_session(record(tmp_path / "ours", "OPHYS_2_images_A_passive", minutes=1.0))
    recording = read_camstim(export_camstim(log))
    params = {name: value for name, value in recording.params.items() if name != "lick_spout"}

    back = import_camstim(replace(recording, params=params), tmp_path / "back")

    assert recording.params["lick_spout"] is False
    assert back.started.stage_parameters["passive"] is True


@pytest.fixture
def in_zone() -> Iterator[None]:
    """This computer in New York."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def told_in_notes(log: SessionLog) -> list[str]:
    return [entry.event.text for entry in log.entries if isinstance(entry.event, Note)]


@pytest.mark.usefixtures("in_zone")
def test_our_own_pickle_says_its_offset_wherever_it_is_imported(tmp_path: Path) -> None:
    log = read_session(record(tmp_path / "ours", IMAGES, minutes=1.0))
    recording = read_camstim(export_camstim(log))
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()

    back = import_camstim(recording, tmp_path / "back", time_zone=zone_of("Europe/Berlin"))

    assert recording.about.started_at == datetime(2025, 12, 31, 19)  # noqa: DTZ001 - as camstim notes it: local
    assert back.started.started_at == "2025-12-31T19:00:00-05:00"
    assert datetime.fromisoformat(back.started.started_at) == datetime(2026, 1, 1, tzinfo=UTC)
    assert told_in_notes(back) == []


@pytest.mark.usefixtures("in_zone")
def test_camstims_own_pickle_takes_the_zone_it_is_given_else_this_computers_and_says_so(
    recording: Recording, tmp_path: Path
) -> None:
    given = import_camstim(recording, tmp_path / "given", time_zone=zone_of("America/Los_Angeles"))
    assumed = import_camstim(recording, tmp_path / "assumed")

    assert given.started.started_at == "2019-06-20T11:18:15.777000-07:00"
    assert told_in_notes(given) == []
    assert assumed.started.started_at == "2019-06-20T11:18:15.777000-04:00"
    (note,) = told_in_notes(assumed)
    assert "no time zone is recorded; the start is taken as this computer's time" in note
    assert note in summarise(assumed)[1]


@pytest.mark.parametrize("name", ["Mars/Base", "Europe", "../etc/passwd", ""])
def test_a_time_zone_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CamstimError, match="is no time zone; give area and city"):
        zone_of(name)


def test_a_summer_start_has_the_summers_offset(recording: Recording) -> None:
    summer = begun_at(recording.about, time_zone=zone_of("America/Los_Angeles"))
    winter = replace(recording.about, started_at=datetime(2019, 12, 20, 11))  # noqa: DTZ001 - as camstim notes it

    assert summer.isoformat() == "2019-06-20T11:18:15.777000-07:00"
    assert begun_at(winter, time_zone=zone_of("America/Los_Angeles")).isoformat() == "2019-12-20T11:00:00-08:00"


def test_the_command_names_the_folder_by_the_zone_it_is_given(tmp_path: Path) -> None:
    pickle = str(recorded(RECORDED_SESSION))
    arguments = ["import", "camstim", pickle, "--out", str(tmp_path), "--time-zone"]

    refused = CliRunner().invoke(app, [*arguments, "America/Nowhere"])
    result = CliRunner().invoke(app, [*arguments, "America/Los_Angeles"])

    assert refused.exit_code == 1
    assert "'America/Nowhere' is no time zone; give area and city" in refused.stderr
    assert result.exit_code == 0, result.output
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("2019-06-20T181815Z_457841")
    assert "time zone" not in result.stdout


def test_the_command_makes_the_folder_with_its_products_once(tmp_path: Path) -> None:
    arguments = ["import", "camstim", str(recorded(RECORDED_SESSION)), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0, result.output
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith("Z_457841_TRAINING_5_images_A_handoff_lapsed_c428be61")
    assert "953 trials" in result.stdout
    assert "no time zone is recorded" in result.stdout
    assert {path.name for path in folder.iterdir()} >= {"events.jsonl", "flips.bin", "summary.txt", "trials.csv"}
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "there is a session in it already" in again.stderr


def test_what_is_no_flashed_session_with_images_is_refused(tmp_path: Path) -> None:
    pickle = export_camstim(read_session(record(tmp_path / "gratings", GRATINGS, minutes=2.0)))

    result = CliRunner().invoke(app, ["import", "camstim", str(pickle), "--out", str(tmp_path / "sessions")])

    assert result.exit_code == 1
    assert "has not the parts of a camstim session with flashed images" in result.stderr
    assert not (tmp_path / "sessions").exists()
