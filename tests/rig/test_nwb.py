"""The NWB file: what is in it, on which clock, what is refused, and what is left when it can't be written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest
from pynwb import NWBHDF5IO

from hardware.clock import TICKS_PER_S
from hardware.events import DeviceIdentified, MicroscopeState
from hardware.lines import Line
from hardware.simulated.mice import MouseKind
from hardware.simulated.photodiode import MONITOR_DELAY_S, MONITOR_JITTER_S
from rig.log.reader import SessionLog, read_session
from rig.log.schema import FLIP_DTYPE, Entry
from rig.log.writer import EDGES, EVENTS, FLIPS
from rig.records.alignment import alignment_of
from rig.records.folds import Folds
from rig.records.monitor_delay import DelayOrigin, MonitorDelay
from rig.records.nwb import FILE, NwbError
from rig.records.nwb.about import About, about_of
from rig.records.nwb.checks import refuse_contradictions
from rig.records.nwb.export import export_nwb
from rig.records.nwb.running import CUT_OFF_HZ, running_of
from rig.records.nwb.sections import StimulusTemplates
from rig.records.nwb.tables import tables_of
from rig.records.nwb.templates import templates_of
from stages.events import (
    Change,
    FlashOmitted,
    FlashShown,
    Lick,
    Outcome,
    RewardArmed,
    RewardConfirmed,
    RewardFired,
    ShamChange,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stimuli.spec import NaturalImage
from tests.builders import IMAGES, command
from tests.peers.inspector_accepts import problems
from tests.peers.nwb_sessions import MOVIE, SESSIONS, cut, record
from tests.windows import FULL, frames

LONG_S = 120.0
"""No test waits this long unless it fails."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imaging session of four minutes, movie and free reward included."""
    return record(
        tmp_path_factory.mktemp("nwb") / "session",
        IMAGES,
        kind=MouseKind.PERFECT,
        minutes=4.0,
        rig="simulated_imaging",
        commands=(command("reward", at_s=60.2), command("note", at_s=61.0, text="früh ✓")),
        movie=MOVIE,
    )


@pytest.fixture(scope="module")
def log(folder: Path) -> SessionLog:
    return read_session(folder)


@pytest.fixture(scope="module")
def exported(log: SessionLog) -> Path:
    return export_nwb(log).path


def test_the_archive_s_inspector_and_the_validator_find_nothing_but_suggestions(exported: Path) -> None:
    wrong, _ = problems(exported)

    assert wrong == []


def test_every_line_of_the_log_is_in_the_file(exported: Path, folder: Path) -> None:
    with h5py.File(exported) as file:
        lines = file["acquisition/event_log/line"][:]

    assert b"\n".join(lines) + b"\n" == (folder / EVENTS).read_bytes()


def test_every_flip_and_every_edge_is_in_the_file(exported: Path, log: SessionLog) -> None:
    with h5py.File(exported) as file:
        flips = file["acquisition/flips"]
        for field in ("refresh", "n_missed", "stimulus", "movie_frame"):
            np.testing.assert_array_equal(flips[field][:], log.flips[field])
        np.testing.assert_array_equal(file["processing/stimulus/timestamps/timestamps"][:], log.flips["time_s"])
        np.testing.assert_array_equal(file["acquisition/v_sig/data"][:].astype("f4"), log.flips["signal_v"])
        np.testing.assert_array_equal(file["acquisition/card_edges/ticks"][:], log.edges()["ticks"])
        np.testing.assert_array_equal(file["acquisition/card_edges/state"][:], log.edges()["state"])


def test_the_card_s_edges_are_on_the_session_s_clock(exported: Path, log: SessionLog) -> None:
    licks = [entry.event for entry in log.entries if isinstance(entry.event, Lick)]
    with h5py.File(exported) as file:
        edges = file["acquisition/card_edges"]
        times_s = (edges["ticks"][:].astype(np.int64) - edges.attrs["zero_ticks"]) / edges.attrs["ticks_per_s"]
        rises = np.flatnonzero(np.diff(edges["state"][:].astype(np.int64) & Line.LICK_SENSOR.mask) > 0) + 1
        seen_s = file["processing/licking/licks/timestamps"][:]
        frames_s = file["acquisition/ophys_frame_times/timestamps"][:]

    assert np.isin([lick.ticks for lick in licks], log.edges()["ticks"]).all()
    assert abs(times_s[rises] - seen_s).max() < 1e-8
    assert np.median(np.diff(frames_s)) == pytest.approx(1 / 31, rel=0.01)


def test_blocks_follow_each_other_and_movie_frames_are_rows(exported: Path) -> None:
    with NWBHDF5IO(exported, "r") as io:
        tables = {name: table.to_dataframe() for name, table in io.read().intervals.items() if name != "trials"}

    assert set(tables) == {"images_A_presentations", "spontaneous_presentations", "standin_movie_one_presentations"}
    movie = tables["standin_movie_one_presentations"]
    assert len(movie) == MOVIE["n_frames"] * MOVIE["n_repeats"]
    assert movie["movie_frame_index"].tolist() == list(range(30)) * 2
    assert movie["movie_repeat"].tolist() == [0] * 30 + [1] * 30
    by_block = {
        number: names.unique().tolist()
        for table in tables.values()
        for number, names in table.groupby("stimulus_block")["stimulus_block_name"]
    }
    assert [by_block[number] for number in sorted(by_block)] == [
        ["initial_gray_screen"],
        ["change_detection_behavior"],
        ["post_behavior_gray_screen"],
        ["natural_movie_one"],
    ]


def test_the_operator_s_free_reward_counts_as_given_without_a_lick(log: SessionLog) -> None:
    rewards = tables_of(log, delay_s=0.02).rewards
    free = rewards[(rewards["timestamps"] - 60.2).abs() < 0.1]

    assert free["auto_rewarded"].tolist() == [True]
    assert free["volume"].tolist() == [0.005]


def test_a_trial_that_a_stop_cut_short_is_in_a_table_of_its_own(tmp_path: Path) -> None:
    commands = (command("stop-now", at_s=58.0),)
    stopped = read_session(record(tmp_path / "s", IMAGES, kind=MouseKind.PERFECT, commands=commands))
    rows = Folds.of(stopped.entries).trials.rows
    tables = tables_of(stopped, delay_s=0.02)

    assert tables.cut_trials["trial"].tolist() == [rows[-1].trial]
    assert tables.trials["trial"].tolist() == [row.trial for row in rows[:-1]]
    assert not tables.cut_trials[["go", "catch", "hit", "miss", "aborted"]].to_numpy().any()


def test_templates_are_written_warped_and_unwarped_when_they_are_at_hand(log: SessionLog, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    unwarped = rng.random((2, 9, 11)).astype(np.float32)
    unwarped[0, 0, 0] = np.nan
    templates = StimulusTemplates(["im061", "im062"], rng.integers(0, 255, (2, 12, 19), np.uint8), unwarped)

    path = export_nwb(log, templates=templates, path=tmp_path / "t.nwb").path

    with h5py.File(path) as file:
        written = file["stimulus/templates/images_A"]
        np.testing.assert_array_equal(written["data"][:], templates.warped)
        np.testing.assert_array_equal(written["unwarped"][:], unwarped)
        assert [name.decode() for name in written["control_description"][:]] == ["im061", "im062"]
    assert problems(path)[0] == []


def test_templates_are_the_frames_that_were_shown(log: SessionLog) -> None:
    templates = templates_of(log, library=None)

    assert templates is not None
    drawn = frames(FULL)
    shown = {s.name: s for s in log.started.stimuli if isinstance(s, NaturalImage)}
    assert list(templates.names) == sorted(shown)
    first = shown[templates.names[0]]
    np.testing.assert_array_equal(templates.warped[0], drawn.still(first))
    seen = ~np.isnan(templates.unwarped[0])
    np.testing.assert_array_equal(templates.unwarped[0][seen], drawn.unwarped(first)[seen])
    assert 0.35 < seen.mean() < 0.45  # what a screen 15 cm before the eye leaves of the unwarped plane


def test_other_pictures_than_were_shown_are_no_templates(log: SessionLog) -> None:
    assert log.started.images is not None
    others = msgspec.structs.replace(log.started.images, sha256=log.started.images.sha256 | {"standin_A3": "0" * 64})
    changed = replace(log, started=msgspec.structs.replace(log.started, images=others))

    with pytest.raises(NwbError, match=r"standin_A3 of image set A can't be drawn again: this computer has other"):
        templates_of(changed, library=None)
    with pytest.raises(NwbError, match="does not say which pictures were shown"):
        templates_of(replace(log, started=msgspec.structs.replace(log.started, images=None)), library=None)


def test_what_the_rig_can_not_know_comes_from_a_file_beside_the_session(log: SessionLog, tmp_path: Path) -> None:
    born = datetime.fromisoformat(log.started.started_at).date() - timedelta(days=120)
    (tmp_path / "M1.yaml").write_text(
        f"born: {born}\nsex: F\ngenotype: Slc17a7-IRES2-Cre/wt;Ai93/wt\ndriver_line: [Slc17a7-IRES2-Cre]\n"
        "reporter_line: Ai93\nexperimenter: ['Doe, Jane']\ninstitution: Here\n",
        encoding="utf-8",
    )
    about = about_of(tmp_path / "session", mouse="M1")
    done = export_nwb(log, about=about, path=tmp_path / "a.nwb")

    with NWBHDF5IO(done.path, "r") as io:
        file = io.read()
        assert (file.subject.age, file.subject.sex, file.subject.reporter_line) == ("P120D", "F", "Ai93")
        assert list(file.subject.driver_line) == ["Slc17a7-IRES2-Cre"]
        assert file.experimenter == ("Doe, Jane",)
    assert not [flag for flag in done.flags if "mouse's age" in flag]
    assert about_of(tmp_path / "session", mouse="M2") == About()
    with pytest.raises(NwbError, match=r"was -1 days old on the session's day.*correct born"):
        export_nwb(log, about=About(born=born + timedelta(days=121)), path=tmp_path / "b.nwb")


def test_a_device_that_says_twice_what_it_is_is_one_device(log: SessionLog, tmp_path: Path) -> None:
    i, entry, _ = first(log, DeviceIdentified)
    part = msgspec.structs.replace(entry.event, model="its counters")
    path = export_nwb(
        replace(
            with_entry(log, i, entry, msgspec.structs.replace(entry, event=part)),
            lines=[*log.lines[:i], log.lines[i], *log.lines[i:]],
        ),
        path=tmp_path / FILE,
    ).path

    with h5py.File(path) as file:
        assert "; its counters, " in file[f"general/devices/{entry.event.device}"].attrs["description"]


def test_the_delay_is_in_change_times_and_presentations_and_nowhere_else(log: SessionLog, tmp_path: Path) -> None:
    short = export_nwb(log, path=tmp_path / "short.nwb").path
    delay = MonitorDelay(0.0355, DelayOrigin.MEASURED, 0.0004)
    long = export_nwb(log, delay=delay, path=tmp_path / "long.nwb").path
    moved: dict[str, float] = {}
    with h5py.File(short) as a, h5py.File(long) as b:

        def compare(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
                by = np.nan_to_num(b[name][...]) - np.nan_to_num(item[...])
                if np.any(by):
                    moved[name] = float(np.median(by[by != 0]))

        a.visititems(compare)
        metadata = b["general/metadata"].attrs
        origin = metadata["monitor_delay_origin"], metadata["monitor_delay_s"], metadata["monitor_delay_spread_s"]

    measured = alignment_of(log).delay
    assert measured is not None
    by_s = 0.0355 - measured.delay_s
    assert origin == ("measured", 0.0355, 0.0004)
    for name in ("images_A", "spontaneous", "standin_movie_one"):
        assert moved.pop(f"intervals/{name}_presentations/start_time") == pytest.approx(by_s)
        assert moved.pop(f"intervals/{name}_presentations/stop_time") == pytest.approx(by_s)
    assert moved.pop("intervals/trials/change_time") == pytest.approx(by_s)
    assert moved.pop("intervals/trials/response_latency") == pytest.approx(-by_s)
    assert moved == {}


@pytest.mark.parametrize(
    ("delay_s", "origin", "spread_s", "said"),
    [
        (0.0, DelayOrigin.NOMINAL, None, "above 0"),
        (0.08, DelayOrigin.NOMINAL, None, "at most 0.07 s"),
        (0.02, DelayOrigin.MEASURED, None, "with its spread"),
        (0.02, DelayOrigin.NOMINAL, 0.001, "a nominal one without"),
        (0.02, DelayOrigin.MEASURED, -1.0, "0 or above"),
    ],
)
def test_a_delay_that_can_not_be_is_refused(
    delay_s: float, origin: DelayOrigin, spread_s: float | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        MonitorDelay(delay_s, origin, spread_s)


def test_the_delay_is_what_the_photodiode_measured_and_the_file_says_so(log: SessionLog, exported: Path) -> None:
    with h5py.File(exported) as file:
        metadata = file["general/metadata"].attrs
        assert metadata["monitor_delay_origin"] == "measured"
        assert metadata["monitor_delay_s"] == pytest.approx(MONITOR_DELAY_S, abs=5 * MONITOR_JITTER_S / 250**0.5)
        assert metadata["monitor_delay_spread_s"] == pytest.approx(MONITOR_JITTER_S, rel=0.2)
        assert b"was not measured" not in file["general/provenance/flags"][()]


def test_without_a_photodiode_it_is_the_rig_file_s_and_the_file_says_that_nobody_measured_it(
    log: SessionLog, tmp_path: Path
) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(log.folder, blind)
    edges = log.edges().copy()
    edges["state"] &= ~np.uint32(Line.STIM_PHOTODIODE.mask)
    (blind / EDGES).write_bytes(edges.tobytes())
    assert log.started.rig_parameters["monitor_delay_s"] == 0.02115

    told = export_nwb(read_session(blind))

    with h5py.File(told.path) as file:
        assert file["general/metadata"].attrs["monitor_delay_origin"] == "nominal"
        assert file["general/metadata"].attrs["monitor_delay_s"] == 0.02115
        flags = file["general/provenance/flags"][()]
        assert b"the monitor's delay was not measured" in flags
        assert b"alignment of photodiode: 0 counted" in flags
        assert "stim_photodiode" not in file["acquisition"]


def test_frames_of_the_microscope_are_counted_from_the_trigger_and_say_whose_plane_they_are(
    log: SessionLog, exported: Path
) -> None:
    stopped = [entry.event for entry in log.entries if isinstance(entry.event, MicroscopeState)][-1]
    with h5py.File(exported) as file:
        frames = file["acquisition/ophys_frame_times"]
        assert len(frames["timestamps"]) == stopped.n_frames
        assert frames["data"][:].tolist() == list(range(stopped.n_frames))
        assert set(frames["control"][:].tolist()) == {0}
        about = json.loads(frames.attrs["comments"])
        assert about["plane_groups"] == 1
        assert about["frames_by_the_microscope"] == stopped.n_frames
        assert about["files"] == stopped.files


def wheel(turns: np.ndarray, *, supply_v: float = 4.88) -> np.ndarray:
    """Flips of a wheel that has made so many turns at each."""
    flips = np.zeros(len(turns), FLIP_DTYPE)
    flips["time_s"] = np.arange(len(turns)) / 60
    flips["supply_v"] = supply_v
    flips["signal_v"] = turns % 1 * supply_v
    return flips


def test_a_mouse_that_runs_steadily_has_that_speed_through_wraps_and_filter() -> None:
    turns_per_s = 0.9
    running = running_of(wheel(np.arange(3000) / 60 * turns_per_s), refresh_hz=60.0)

    speed = turns_per_s * 2 * np.pi * 6.5 * 2.54 / 3
    assert np.nanmedian(running.speed_unfiltered_cm_s) == pytest.approx(speed, rel=1e-4)
    assert running.speed_cm_s[300:-300] == pytest.approx(speed, rel=0.01)
    assert np.median(running.turned_deg) == pytest.approx(turns_per_s * 6, rel=1e-4)


def test_the_filter_halves_the_power_at_its_cut_off_twice() -> None:
    times_s = np.arange(12000) / 60
    for hz, left in ((0.5, 1.0), (CUT_OFF_HZ, 0.5), (15.0, 0.0)):
        turns = 10 + 0.3 * times_s + 0.002 * np.sin(2 * np.pi * hz * times_s)
        running = running_of(wheel(turns), refresh_hz=60.0)
        middle = slice(1000, -1000)
        swing = np.nanstd(running.speed_cm_s[middle]) / np.nanstd(running.speed_unfiltered_cm_s[middle])
        assert swing == pytest.approx(left, abs=0.03)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 40])
def test_an_encoder_without_readings_and_sessions_of_few_flips_stand_still(n: int) -> None:
    flips = wheel(np.zeros(n))
    flips["signal_v"] = np.nan

    running = running_of(flips, refresh_hz=60.0)

    assert running.speed_cm_s.tolist() == [0.0] * n
    assert len(running.turned_deg) == len(running.speed_unfiltered_cm_s) == n


def entries_with(log: SessionLog, change: Callable[[Entry], list[Entry]]) -> SessionLog:
    """The log with some entries replaced."""
    return replace(log, entries=[after for entry in log.entries for after in change(entry)])


def first(log: SessionLog, *types: type, after: int = 0) -> tuple[int, Entry, int]:
    """The first entry of some types after so many entries: its place, itself, and the trial running then."""
    trial = -1
    for i, entry in enumerate(log.entries):
        if isinstance(entry.event, TrialStarted):
            trial = entry.event.trial
        if i >= after and isinstance(entry.event, types):
            return i, entry, trial
    raise AssertionError(types)


def with_entry(log: SessionLog, i: int, *entries: Entry) -> SessionLog:
    return replace(log, entries=[*log.entries[:i], *entries, *log.entries[i + 1 :]])


def change_shifted(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, Change)
    return with_entry(log, i, msgspec.structs.replace(entry, flip=entry.flip + 1)), trial


def change_late_by_three_frames(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, Change)
    later = msgspec.structs.replace(entry.event, time_s=float(log.flips["time_s"][entry.flip + 3]))
    return with_entry(log, i, msgspec.structs.replace(entry, flip=entry.flip + 3, event=later)), trial


def moved(log: SessionLog, entry: Entry, i: int, by: int) -> SessionLog:
    """The log with one entry so many flips later, at that flip's time."""
    event = msgspec.structs.replace(entry.event, time_s=float(log.flips["time_s"][entry.flip + by]))
    return with_entry(log, i, msgspec.structs.replace(entry, flip=entry.flip + by, event=event))


def change_late_by_a_flash(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, Change)
    _, after, _ = first(log, FlashShown, after=i)
    return moved(log, entry, i, after.flip - entry.flip), trial


def sham_change_late_by_three_frames(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, ShamChange)
    return moved(log, entry, i, 3), trial


def another_image_than_was_shown(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, FlashShown, after=300)
    other = msgspec.structs.replace(entry.event, stimulus=entry.event.stimulus % 8 + 1)
    return with_entry(log, i, msgspec.structs.replace(entry, event=other)), trial


def omission_as_a_flash(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, FlashOmitted)
    omitted = entry.event
    shown = FlashShown(flash=omitted.flash, stimulus=1, time_s=omitted.time_s, late_refreshes=0, off_refresh=-1)
    return with_entry(log, i, msgspec.structs.replace(entry, event=shown)), trial


def in_milliseconds(event_type: type) -> Callable[[SessionLog], tuple[SessionLog, int]]:
    def plant(log: SessionLog) -> tuple[SessionLog, int]:
        i, entry, trial = first(log, event_type, after=300)
        event = msgspec.structs.replace(entry.event, time_s=entry.event.time_s * 1000)
        trial = entry.event.trial if isinstance(entry.event, TrialStarted) else trial
        return with_entry(log, i, msgspec.structs.replace(entry, event=event)), trial

    plant.__name__ = f"{event_type.__name__}_in_milliseconds"
    return plant


def rewards_two_seconds_late(log: SessionLog) -> tuple[SessionLog, int]:
    _, _, trial = first(log, RewardFired)

    def later(entry: Entry) -> list[Entry]:
        if not isinstance(entry.event, RewardFired):
            return [entry]
        given = msgspec.structs.replace(entry.event, time_s=entry.event.time_s + 2)
        return [msgspec.structs.replace(entry, event=given)]

    return entries_with(log, later), trial


def paid_miss(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = next(
        (i, entry, entry.event.trial)
        for i, entry in enumerate(log.entries)
        if isinstance(entry.event, TrialOutcome) and entry.event.outcome is Outcome.HIT
    )
    miss = msgspec.structs.replace(entry.event, outcome=Outcome.MISS, lick_time_s=None)
    return with_entry(log, i, msgspec.structs.replace(entry, event=miss)), trial


def flash_on_an_omission(log: SessionLog) -> tuple[SessionLog, int]:
    _, entry, trial = first(log, FlashOmitted)
    flips = log.flips.copy()
    flips["stimulus"][entry.flip + 2 : entry.flip + 6] = 3
    return replace(log, flips=flips), trial


def paid_twice(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, RewardFired)
    return with_entry(log, i, entry, entry), trial


def paid_again_under_another_number(log: SessionLog) -> tuple[SessionLog, int]:
    i, armed, trial = first(log, RewardArmed)
    j, fired, _ = first(log, RewardFired, after=i)
    again = msgspec.structs.replace(armed, event=msgspec.structs.replace(armed.event, reward=999))
    given = msgspec.structs.replace(fired, event=msgspec.structs.replace(fired.event, reward=999))
    return with_entry(log, j, fired, again, given), trial


def lick_outside_its_trial(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, Lick, after=200)
    return with_entry(log, i, msgspec.structs.replace(entry, event=Lick(time_s=1.0, ticks=-1))), trial


def lick_seen_before_it_happened(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, Lick, after=200)
    later = msgspec.structs.replace(entry.event, time_s=entry.event.time_s + 0.1)
    return with_entry(log, i, msgspec.structs.replace(entry, event=later)), trial


def volume_in_millilitres(log: SessionLog) -> tuple[SessionLog, int]:
    i, entry, trial = first(log, RewardArmed)
    small = msgspec.structs.replace(entry.event, volume_ul=entry.event.volume_ul / 1000)
    return with_entry(log, i, msgspec.structs.replace(entry, event=small)), trial


@pytest.mark.parametrize(
    "plant",
    [
        change_shifted,
        change_late_by_three_frames,
        change_late_by_a_flash,
        sham_change_late_by_three_frames,
        another_image_than_was_shown,
        omission_as_a_flash,
        in_milliseconds(FlashShown),
        in_milliseconds(RewardFired),
        in_milliseconds(TrialStarted),
        in_milliseconds(TrialEnded),
        rewards_two_seconds_late,
        paid_miss,
        flash_on_an_omission,
        paid_twice,
        paid_again_under_another_number,
        lick_outside_its_trial,
        lick_seen_before_it_happened,
        volume_in_millilitres,
    ],
)
def test_a_contradiction_is_refused_with_the_trial_s_name_and_no_file_is_made(
    log: SessionLog, tmp_path: Path, plant: Callable[[SessionLog], tuple[SessionLog, int]]
) -> None:
    planted, trial = plant(log)

    with pytest.raises(NwbError, match=rf"trial {trial}\b"):
        export_nwb(planted, path=tmp_path / FILE)

    assert list(tmp_path.iterdir()) == []


def licks_early(log: SessionLog) -> SessionLog:
    def early(entry: Entry) -> list[Entry]:
        if not isinstance(entry.event, Lick):
            return [entry]
        lick = msgspec.structs.replace(entry.event, time_s=entry.event.time_s - 0.2)
        return [msgspec.structs.replace(entry, event=lick)]

    return entries_with(log, early)


def unpaid(log: SessionLog) -> SessionLog:
    i, _, _ = first(log, RewardFired, after=first(log, RewardArmed)[0])
    return with_entry(log, i)


def trial_without_beginning(log: SessionLog) -> SessionLog:
    i, _, _ = first(log, TrialStarted, after=300)
    return replace(with_entry(log, i), damage=["events.jsonl:301: not readable, left out"])


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (licks_early, r"trial \d+: the record's inputs lead to other decisions than it holds: line \d+"),
        (unpaid, r"hits without a reward on record: trials \d+"),
        (trial_without_beginning, r"trials whose beginning can't be read, which are in no table: \d+"),
    ],
)
def test_what_may_have_happened_is_written_and_flagged(
    log: SessionLog, plant: Callable[[SessionLog], SessionLog], said: str
) -> None:
    assert any(re.match(said, flag) for flag in refuse_contradictions(plant(log)))


def test_a_trial_without_its_beginning_leaves_the_one_before_as_it_was(log: SessionLog) -> None:
    cut = Folds.of(trial_without_beginning(log).entries).trials.rows
    whole = {row.trial: row for row in Folds.of(log.entries).trials.rows}

    assert len(cut) == len(whole) - 1
    for row in cut[:-1]:
        assert (row.end_flip, row.outcome, row.change_flip) == (
            whole[row.trial].end_flip,
            whole[row.trial].outcome,
            whole[row.trial].change_flip,
        )


def test_flips_in_milliseconds_are_refused(log: SessionLog) -> None:
    flips = log.flips.copy()
    flips["time_s"] *= 1000

    with pytest.raises(NwbError, match="another unit"):
        refuse_contradictions(replace(log, flips=flips))


def test_an_encoder_that_was_not_read_is_flagged(log: SessionLog) -> None:
    flips = log.flips.copy()
    flips["signal_v"][100:200] = np.nan

    assert refuse_contradictions(replace(log, flips=flips)) == [
        f"the encoder was not read on 100 of {len(flips)} flips"
    ]


def test_no_session_that_ran_is_refused(tmp_path: Path) -> None:
    for name in ("TRAINING_1", "OPHYS_2_passive", "stopped_now"):
        assert refuse_contradictions(read_session(SESSIONS[name](tmp_path / name))) == []
    for share in (0.31, 0.5, 0.99):
        crashed = cut(record(tmp_path / f"{share}", IMAGES, minutes=2.0), share=share)
        assert refuse_contradictions(read_session(crashed)) == []


def test_a_confirmation_without_its_order_is_no_reason_to_refuse(log: SessionLog) -> None:
    _, fired, _ = first(log, RewardFired)
    gone = {fired.event.reward}
    torn = entries_with(
        log,
        lambda entry: (
            [] if isinstance(entry.event, RewardArmed | RewardConfirmed) and entry.event.reward in gone else [entry]
        ),
    )
    refuse_contradictions(torn)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from rig.cli import app
app(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a file's size are POSIX")
@pytest.mark.parametrize("limit_bytes", [0, 100_000, 600_000])
def test_a_full_disk_leaves_no_half_file_and_the_log_as_it_was(folder: Path, tmp_path: Path, limit_bytes: int) -> None:
    before = {name: (folder / name).read_bytes() for name in (EVENTS, FLIPS, EDGES)}
    target = tmp_path / FILE
    arguments = ["export", "nwb", str(folder), "--out", str(target)]

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit_bytes), *arguments],
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "can't be written" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert export_nwb(read_session(folder), path=target).path.is_file()


def test_a_destination_that_is_gone_is_named_and_an_older_file_stays(log: SessionLog, tmp_path: Path) -> None:
    with pytest.raises(NwbError, match=r"gone.*can't be written"):
        export_nwb(log, path=tmp_path / "gone" / FILE)
    (tmp_path / FILE).mkdir()
    with pytest.raises(NwbError, match="can't be written"):
        export_nwb(log, path=tmp_path / FILE)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_delay_that_can_not_be_is_named_with_the_session(log: SessionLog) -> None:
    parameters = {**log.started.rig_parameters, "monitor_delay_s": 0.1}
    wrong = replace(log, started=msgspec.structs.replace(log.started, rig_parameters=parameters))

    for measured in (None, MonitorDelay(0.03, DelayOrigin.MEASURED, 0.001)):
        with pytest.raises(NwbError, match=r"monitor_delay_s of the rig in its log can't be \(.* 0.1 s is none\)"):
            export_nwb(wrong, delay=measured)


def test_a_session_without_a_flip_is_refused_by_a_sentence(log: SessionLog) -> None:
    with pytest.raises(NwbError, match="not one flip reached the disk"):
        export_nwb(replace(log, flips=log.flips[:0]))
    assert TICKS_PER_S == 100_000_000


@pytest.mark.parametrize("began_with", [TrialStarted, FlashOmitted, Change])
def test_a_record_that_breaks_off_on_the_very_flip_something_began_with_passes_the_inspector(
    log: SessionLog, tmp_path: Path, began_with: type
) -> None:
    i, entry, _ = first(log, began_with, after=300)
    torn = replace(log, entries=log.entries[: i + 1], lines=log.lines[: i + 1], flips=log.flips[: entry.flip + 1])

    wrong, _ = problems(export_nwb(torn, path=tmp_path / FILE).path)

    assert wrong == []


def test_what_began_after_the_last_flip_on_disk_is_in_the_log_alone(log: SessionLog) -> None:
    i, entry, trial = first(log, TrialStarted, after=300)
    torn = replace(log, entries=log.entries[: i + 1], lines=log.lines[: i + 1], flips=log.flips[: entry.flip])
    tables = tables_of(torn, delay_s=0.02)

    assert trial not in [*tables.trials["trial"], *tables.cut_trials["trial"]]
    assert all((table["start_frame"] < len(torn.flips)).all() for table in tables.presentations.values())
