"""The findings on alignment: what is good is said with its figures, what is not is named."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from hardware.arrays import AnyArray
from hardware.events import (
    CameraState,
    Finding,
    ImagingStep,
    MicroscopeClock,
    MicroscopePhase,
    MicroscopeState,
    Verdict,
)
from hardware.lines import Line
from hardware.pulses import LARGEST_DELAY_S, match
from hardware.simulated.photodiode import MONITOR_DELAY_S, MONITOR_JITTER_S
from rig.log.reader import SessionLog, read_session
from rig.log.schema import EDGE_DTYPE, Entry
from rig.log.writer import EDGES, LogWriter
from rig.records.alignment import Stream, alignment_of, frame_groups, frame_times_s, said_of_recording
from rig.records.card_lines import CardLines
from rig.records.monitor_delay import measured_delay
from rig.records.products import summarise, write_products
from rig.session.streams import Streams
from tests.builders import rig_config, run, stage
from tests.telling import Tell

MS = 100_000
"""Ticks in a millisecond."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SessionLog:
    """Two minutes on an imaging rig of three plane groups."""
    folder = tmp_path_factory.mktemp("alignment") / "session"
    config = rig_config("simulated_imaging", microscope={"kind": "simulated", "plane_groups": 3, "frame_rate_hz": 10.0})
    with contextlib.closing(LogWriter(folder)) as writer:
        run(stage(task_duration_min=2.0), config, seed=3, log=writer)
    return read_session(folder)


Toggles = Sequence[tuple[int, Line]]


def changed(
    log: SessionLog,
    folder: Path,
    *,
    toggles: Toggles = (),
    seen: Callable[[AnyArray], AnyArray] = lambda states: states,
) -> SessionLog:
    """The session with other edges: lines toggled at ticks (where one was toggled, it is not), or states changed."""
    shutil.copytree(log.folder, folder)
    before, edges = CardLines.of(log).before, log.edges()
    states = edges["state"].astype(np.int64)
    were = zip(edges["ticks"].tolist(), (states ^ np.concatenate([[before], states[:-1]])).tolist(), strict=True)
    made = sorted(set(were) ^ {(tick, line.mask) for tick, line in toggles})
    new = np.empty(len(made), EDGE_DTYPE)
    new["ticks"] = [tick for tick, _ in made]
    new["state"] = seen(np.bitwise_xor.accumulate([before, *(mask for _, mask in made)])[1:])
    (folder / EDGES).write_bytes(new.tobytes())
    return read_session(folder)


def stream(log: SessionLog, name: str) -> Stream:
    (found,) = [stream for stream in alignment_of(log).streams if stream.name == name]
    return found


def rises(log: SessionLog, line: Line) -> list[int]:
    ticks, levels = CardLines.of(log).changes(line)
    return ticks[levels].tolist()


def falls(log: SessionLog, line: Line) -> list[int]:
    ticks, levels = CardLines.of(log).changes(line)
    return ticks[~levels].tolist()


def test_every_stream_of_a_good_session_passes_and_says_how_well(log: SessionLog, tell: Tell) -> None:
    alignment = alignment_of(log)
    assert [stream.name for stream in alignment.streams] == [
        "stimulus frames",
        "photodiode",
        "licks",
        "2-photon frames",
        "cam1 exposure",
        "cam2 exposure",
        "alignment pulses",
    ]
    for found in alignment.streams:
        assert found.verdict is Verdict.PASS, found.finding()
        assert found.expected is None or found.counted == found.expected
        assert found.remedy == ""
        tell(f"{found.finding().name}: {found.finding().figure}")


def test_the_monitor_s_delay_is_measured_with_its_spread(log: SessionLog, tell: Tell) -> None:
    alignment = alignment_of(log)
    assert alignment.delay is not None
    n = -(-len(log.flips) // 60)
    assert alignment.delay.delay_s == pytest.approx(MONITOR_DELAY_S, abs=4 * MONITOR_JITTER_S / n**0.5)
    assert alignment.delay.spread_s == pytest.approx(MONITOR_JITTER_S, rel=0.3)
    assert alignment.delay_from_pulses_s == pytest.approx(alignment.delay.delay_s, abs=50e-6)
    tell(f"monitor's delay {alignment.delay.words()} over {n} changes; simulated {MONITOR_DELAY_S * 1e3:.2f} ms")


def test_frames_of_a_plane_are_its_groups_edges(log: SessionLog) -> None:
    frames_s = frame_times_s(CardLines.of(log))
    for group in range(3):
        assert np.diff(frames_s[group::3]) == pytest.approx(0.1, abs=1e-4)
    assert "3 plane groups" in stream(log, "2-photon frames").what
    assert stream(log, "2-photon frames").rate_hz == pytest.approx(30.0, rel=1e-3)


def test_every_recording_of_a_session_begins_with_the_first_plane_group(log: SessionLog, tmp_path: Path) -> None:
    """The first one ended after 100 frames: not with a whole turn of the three groups."""
    lines = CardLines.of(log)
    assert frame_groups(lines, frame_times_s(lines), 3)[99:102].tolist() == [0, 1, 2]
    lowered = rises(log, Line.VSYNC_2P)[100] - 20 * MS
    anew = CardLines.of(
        changed(log, tmp_path / "anew", toggles=[(lowered, Line.ACQ_TRIGGER), (lowered + 10 * MS, Line.ACQ_TRIGGER)])
    )
    groups = frame_groups(anew, frame_times_s(anew), 3)
    assert groups[98:103].tolist() == [2, 0, 0, 1, 2]
    assert len(groups) == len(frame_times_s(lines))


def test_summary_and_its_words_have_a_line_a_stream(log: SessionLog, tmp_path: Path) -> None:
    summary, words = summarise(log)
    assert [finding.name for finding in summary.alignment] == [
        f"alignment of {stream.name}" for stream in alignment_of(log).streams
    ]
    assert summary.monitor_delay_origin == "measured"
    assert "Alignment of 2-photon frames: " in words
    assert "± 0.19 ms, measured" in words
    folder = tmp_path / "session"
    shutil.copytree(log.folder, folder)
    write_products(read_session(folder))
    assert "Alignment of photodiode" in (folder / "summary.txt").read_text(encoding="utf-8")
    assert '"alignment of photodiode"' in (folder / "summary.json").read_text(encoding="utf-8")


def test_a_missing_an_extra_and_a_short_pulse_and_those_before_the_trigger_are_named(
    log: SessionLog, tmp_path: Path
) -> None:
    two_photon = Line.VSYNC_2P
    up, down = rises(log, two_photon), falls(log, two_photon)
    toggles = [(up[500], two_photon), (down[500], two_photon)]  # taken away
    toggles += [(up[700] + 15 * MS, two_photon), (up[700] + 20 * MS, two_photon)]  # one too many
    toggles += [(up[900] + 15 * MS, two_photon), (up[900] + 15 * MS + 3000, two_photon)]  # 30 us
    trigger = rises(log, Line.ACQ_TRIGGER)[0]
    toggles += [(trigger - 200 * MS, two_photon), (trigger - 195 * MS, two_photon)]
    odd = changed(log, tmp_path / "odd", toggles=toggles)
    found = stream(odd, "2-photon frames")
    assert found.verdict is Verdict.WARN
    for named in ("1 missing", "1 extra", "1 short", "1 pulses before the trigger"):
        assert named in found.what
    assert found.counted == found.expected == stream(log, "2-photon frames").counted, "one lost, one too many"
    assert "compare" in found.remedy


def test_frames_that_the_card_did_not_see_are_counted(log: SessionLog, tmp_path: Path) -> None:
    up, down = rises(log, Line.VSYNC_2P), falls(log, Line.VSYNC_2P)
    lost = [(tick, Line.VSYNC_2P) for i in (300, 301, 302) for tick in (up[i], down[i])]
    found = stream(changed(log, tmp_path / "lost", toggles=lost), "2-photon frames")
    assert found.verdict is Verdict.WARN
    assert found.expected is not None
    assert found.expected - found.counted == 3
    assert "3 missing" in found.what


def test_a_dead_line_fails_by_name(log: SessionLog, tmp_path: Path) -> None:
    mask = Line.VSYNC_2P.mask | Line.STIM_PHOTODIODE.mask | Line.CAM2_EXPOSURE.mask | Line.ALIGN.mask
    dead = changed(log, tmp_path / "dead", seen=lambda states: states & ~mask)
    verdicts = {found.name: found.verdict for found in alignment_of(dead).streams}
    assert verdicts == {
        "stimulus frames": Verdict.PASS,
        "photodiode": Verdict.FAIL,
        "licks": Verdict.PASS,
        "2-photon frames": Verdict.FAIL,
        "cam1 exposure": Verdict.PASS,
        "cam2 exposure": Verdict.FAIL,
        "alignment pulses": Verdict.WARN,
    }
    assert alignment_of(dead).delay is None
    summary, words = summarise(dead)
    assert summary.monitor_delay_origin == "nominal"
    assert "FAIL Alignment of photodiode: 0 counted" in words
    for name, wire in (("2-photon frames", "vsync_2p"), ("cam2 exposure", "cam2_exposure")):
        assert stream(dead, name).remedy.startswith(f"check the wire of {wire}"), "there is nothing to compare"


def test_a_frame_pulse_and_a_lick_that_are_not_on_the_card_are_warned_of(log: SessionLog, tmp_path: Path) -> None:
    licks, frames = Line.LICK_SENSOR, Line.VSYNC_STIM
    gone = [(tick, licks) for tick in rises(log, licks)[3:6] + falls(log, licks)[3:6]]
    gone += [(falls(log, frames)[600], frames), (rises(log, frames)[600], frames)]
    odd = changed(log, tmp_path / "gone", toggles=gone)
    assert stream(odd, "stimulus frames").verdict is Verdict.WARN
    assert stream(odd, "stimulus frames").expected == stream(odd, "stimulus frames").counted + 1
    assert stream(odd, "licks").verdict is Verdict.WARN


def test_a_session_that_broke_off_is_judged_as_far_as_it_goes(log: SessionLog) -> None:
    half = len(log.entries) // 2
    torn = replace(log, entries=log.entries[:half], lines=log.lines[:half])
    assert stream(torn, "2-photon frames").expected is None, "the microscope never said its last"
    assert stream(torn, "2-photon frames").verdict is Verdict.PASS


@pytest.mark.parametrize("n_behind", [1, 2, 10])
@pytest.mark.parametrize("behind", ["edges", "flips", "events"])
def test_a_session_that_runs_is_not_warned_of_what_is_not_written_yet(
    log: SessionLog, tmp_path: Path, behind: str, n_behind: int
) -> None:
    """``rig summary`` is asked on a running session too, whose files end a little apart."""
    shutil.copytree(log.folder, tmp_path / "running")
    edges, flips, entries = log.edges(), log.flips, log.entries[: len(log.entries) * 3 // 4]
    last_s = log.flips["time_s"][entries[-1].flip]
    lines = CardLines.of(log)
    edges = edges[lines.seconds(edges["ticks"].astype(np.int64)) < last_s]
    flips = flips[flips["time_s"] < last_s]
    match behind:
        case "edges":
            edges = edges[: -4 * n_behind]
        case "flips":
            flips = flips[:-n_behind]
        case _:
            entries = entries[:-n_behind]
    (tmp_path / "running" / EDGES).write_bytes(edges.tobytes())
    running = replace(read_session(tmp_path / "running"), entries=entries, flips=flips)
    assert running.ended is None
    for found in alignment_of(running).streams:
        assert found.verdict is Verdict.PASS, found.finding()
    assert stream(running, "stimulus frames").counted > 1000


def test_streams_of_devices_that_nobody_commanded_are_judged_by_their_lines(log: SessionLog) -> None:
    silent = [
        entry for entry in log.entries if not isinstance(entry.event, CameraState | MicroscopeState | ImagingStep)
    ]
    by_hand = replace(log, entries=silent)
    for name in ("2-photon frames", "cam1 exposure", "cam2 exposure"):
        assert stream(by_hand, name).expected is None
        assert stream(by_hand, name).counted == stream(log, name).counted
        assert stream(by_hand, name).verdict is Verdict.PASS


def test_what_a_microscope_says_of_the_session_before_is_not_of_this_one(log: SessionLog) -> None:
    """Its program runs on from session to session; until it is prepared, it still has the last one's frames."""
    first = next(i for i, entry in enumerate(log.entries) if isinstance(entry.event, MicroscopeState))
    left = MicroscopeState(phase=MicroscopePhase.STOPPED, n_frames=5000, files=["of_the_mouse_before.tif"])
    later = replace(log, entries=[*log.entries[:first], Entry(0, 0, left), *log.entries[first:]])
    assert stream(later, "2-photon frames") == stream(log, "2-photon frames")
    assert stream(later, "2-photon frames").verdict is Verdict.PASS
    files = [file for said in said_of_recording(later) if isinstance(said, MicroscopeState) for file in said.files]
    assert files
    assert "of_the_mouse_before.tif" not in files


def test_a_microscope_that_counts_no_frames_contradicts_nobody(log: SessionLog) -> None:
    """One that is only reached by a trigger line or by programs."""
    uncounted = [
        Entry(entry.flip, entry.refresh, structs.replace(entry.event, n_frames=None))
        if isinstance(entry.event, MicroscopeState)
        else entry
        for entry in log.entries
    ]
    found = stream(replace(log, entries=uncounted), "2-photon frames")
    assert found.expected is None
    assert found.counted == stream(log, "2-photon frames").counted
    assert found.verdict is Verdict.PASS


def test_the_microscope_s_clock_is_told_with_drift_and_bound(log: SessionLog) -> None:
    exchanged = [
        Entry(flip=0, refresh=0, event=MicroscopeClock(offset_s=0.03 + 50e-6 * s, bound_s=bound_s, host_s=s, n=8))
        for s, bound_s in ((10.0, 1e-4), (20.0, 2e-4), (30.0, 1e-4))
    ]
    found = stream(replace(log, entries=[*log.entries, *exchanged]), "microscope clock")
    assert found.verdict is Verdict.PASS
    assert "+30.500 ms at first, drifts +50.0 ppm" in found.what
    assert found.aligned_us == pytest.approx(100.0)
    far = [Entry(0, 0, MicroscopeClock(offset_s=0.03, bound_s=0.004, host_s=1.0, n=8))]
    assert stream(replace(log, entries=[*log.entries, *far]), "microscope clock").verdict is Verdict.WARN


def test_a_microscope_s_clock_that_jumped_is_warned_of_and_a_slow_exchange_is_no_jump(log: SessionLog) -> None:
    def clock(jump_s: float, slowest_s: float) -> Stream:
        exchanged = [
            Entry(0, 0, MicroscopeClock(offset_s=0.03 + jump_s * (s > 60), bound_s=1e-4, host_s=float(s), n=8))
            for s in range(10, 130, 10)
        ]
        slow = Entry(0, 0, MicroscopeClock(offset_s=0.03 + slowest_s, bound_s=slowest_s, host_s=65.0, n=8))
        return stream(replace(log, entries=[*log.entries, *exchanged, slow]), "microscope clock")

    assert clock(0.0, 0.004).verdict is Verdict.PASS
    jumped = clock(-5.0, 1e-4)
    assert jumped.verdict is Verdict.WARN
    assert "jumped" in jumped.what


def test_what_the_microscope_warns_of_is_read_by_whoever_reads_the_summary(log: SessionLog) -> None:
    warned = [
        Entry(entry.flip, entry.refresh, structs.replace(entry.event, warnings=["its disk is nearly full"]))
        if isinstance(entry.event, MicroscopeState)
        else entry
        for entry in log.entries
    ]
    found = stream(replace(log, entries=warned), "2-photon frames")
    assert found.verdict is Verdict.WARN
    assert "3 plane groups, the microscope warns: its disk is nearly full" in found.what


def test_frames_at_another_rate_than_the_rig_s_file_has_or_of_other_planes_are_warned_of(log: SessionLog) -> None:
    def expecting(frame_rate_hz: float, plane_groups: int) -> Stream:
        microscope = {"frame_rate_hz": frame_rate_hz, "plane_groups": plane_groups}
        rig = {**log.started.rig_parameters, "microscope": microscope}
        return stream(replace(log, started=structs.replace(log.started, rig_parameters=rig)), "2-photon frames")

    assert expecting(10.0, 3).verdict is Verdict.PASS
    faster = expecting(31.0, 1)
    assert faster.verdict is Verdict.WARN
    assert "not the 31 Hz of the rig's file" in faster.what
    otherwise = expecting(15.0, 2)
    assert otherwise.verdict is Verdict.WARN
    assert "2 plane groups, 3 by the microscope's own word" in otherwise.what


def test_another_recorder_s_copy_of_the_session_s_alignment_pulses_is_found(log: SessionLog) -> None:
    ours_s = CardLines.of(log).rises_s(Line.ALIGN)
    found = match(ours_s, 77.0 + (1 + 40e-6) * ours_s[2:-1])
    assert found is not None
    assert found.offset_s == pytest.approx(77.0, abs=1e-4)
    assert found.rate == pytest.approx(1 + 40e-6, abs=1e-6)


DELAYS = [
    # delay, spread, seen, expected, what is said (empty: measured)
    (0.02115, 2e-4, 100, 100, ""),
    (0.0357, 1e-3, 100, 105, ""),
    (0.0357, 1e-3, 80, 100, "is not taken from 80 of 100"),
    (LARGEST_DELAY_S - 1e-3, 1e-4, 100, 100, ""),
    (LARGEST_DELAY_S + 1e-3, 1e-4, 100, 100, "is refused"),
    (-0.002, 1e-4, 100, 100, "is refused"),
    (0.02, 2e-4, 9, 9, "too few"),
    (0.02, 2e-4, 0, 100, "no change of the patch was seen"),
    (0.03, 6e-3, 200, 200, "ms is none"),
]


@pytest.mark.parametrize(("delay_s", "spread_s", "n_seen", "n_expected", "said"), DELAYS)
def test_a_delay_is_measured_or_refused_by_a_sentence(
    delay_s: float, spread_s: float, n_seen: int, n_expected: int, said: str
) -> None:
    delays_s = np.random.default_rng(4).normal(delay_s, spread_s, n_seen)
    delay, why = measured_delay(delays_s, n_expected=n_expected)
    if not said:
        assert delay is not None
        assert delay.delay_s == pytest.approx(delay_s, abs=5 * spread_s / n_seen**0.5)
        assert delay.spread_s == pytest.approx(spread_s, rel=0.3)
    else:
        assert delay is None
        assert said in why


def test_a_few_changes_that_were_drawn_late_do_not_move_the_delay() -> None:
    delays_s = np.random.default_rng(4).normal(0.02, 1e-4, 100)
    delays_s[[10, 50]] += 0.1
    delay, _ = measured_delay(delays_s, n_expected=100)
    assert delay is not None
    assert delay.delay_s == pytest.approx(0.02, abs=1e-4)


def live(log: SessionLog) -> list[Finding]:
    """What was said of the streams while the session ran."""
    found = [entry.event for entry in log.entries if isinstance(entry.event, Finding)]
    return [finding for finding in found if finding.name.endswith(", live")]


def test_each_stream_is_judged_in_its_first_minute_and_not_mentioned_again_while_nothing_changes(
    log: SessionLog,
) -> None:
    assert [finding.name for finding in live(log)] == [
        f"alignment of {name}, live" for name in ("2-photon frames", "cam1 exposure", "cam2 exposure", "photodiode")
    ]
    assert {finding.verdict for finding in live(log)} == {Verdict.PASS}
    assert "30.0 Hz" in live(log)[0].figure or "29.999 Hz" in live(log)[0].figure


def judged(log: SessionLog, *, changes: Callable[[AnyArray], AnyArray] = lambda states: states) -> list[Finding]:
    """What is said of a session's edges, taken as they come, ten milliseconds at a time."""
    streams = Streams(patch_flips=60)
    lines = CardLines.of(log)
    streams.begin(lines.before)
    edges = lines.edges
    ticks, states = edges["ticks"].astype(np.int64), changes(edges["state"].astype(np.int64))
    for part in np.array_split(np.arange(len(ticks)), 12_000):
        if len(part):
            streams.take(ticks=ticks[part], states=states[part])
    streams.judge()
    return streams.findings()


def test_frames_that_go_missing_are_said_while_the_mouse_is_there(log: SessionLog) -> None:
    def dead_for_a_while(states: AnyArray) -> AnyArray:
        states[20_000:20_200] &= ~Line.VSYNC_2P.mask
        return states

    said = [finding for finding in judged(log, changes=dead_for_a_while) if "2-photon" in finding.name]
    assert [finding.verdict for finding in said] in ([Verdict.PASS, Verdict.WARN], [Verdict.WARN])
    assert "missing so far" in said[-1].figure


def test_a_photodiode_that_sees_nothing_is_said_to(log: SessionLog) -> None:
    said = judged(log, changes=lambda states: states & ~Line.STIM_PHOTODIODE.mask)
    (finding,) = [finding for finding in said if "photodiode" in finding.name]
    assert finding.verdict is Verdict.FAIL
    assert finding.figure.startswith("0 of ")


def test_a_recording_that_was_begun_anew_has_no_frames_missing_in_between(log: SessionLog, tmp_path: Path) -> None:
    frames, trigger = Line.VSYNC_2P, Line.ACQ_TRIGGER
    up, down = rises(log, frames), falls(log, frames)
    again = up[1500] - 10 * MS
    gap = [(tick, frames) for i in range(1000, 1500) for tick in (up[i], down[i])]
    gap += [(up[1000] - 10 * MS, trigger), (again, trigger)]
    found = stream(changed(log, tmp_path / "twice", toggles=gap), "2-photon frames")
    assert "missing" not in found.what
    assert found.counted == len(up) - 500
