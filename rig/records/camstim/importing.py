"""A session that camstim recorded as a session of ours: the same folder, so the same tables, figure and NWB file.

What is told is what camstim did, not what our task would have done (``replay`` says where these differ): its starts,
changes, answers, rewards and ends, on its frames. What it did not record is left out: plans, echoes of the valve,
edges. How late a flash was is not known and stands as 0. Nor does camstim note a time zone: where nobody says which it
was, this computer's is taken, and a note in the log says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

import rig
from hardware.arrays import AnyArray, IntArray
from hardware.events import LateFlip
from rig.log.reader import SessionLog, read_session
from rig.log.schema import FLIP_DTYPE, SCHEMA_VERSION, AnyEvent, Entry, to_plain
from rig.log.writer import LogWriter
from rig.records.camstim import CamstimError
from rig.records.camstim.reader import RecordedAbout, RecordedTrial, Recording
from rig.records.camstim.stage import REFRESH_HZ, stage_of
from stages.events import (
    Aborted,
    BlockEnded,
    BlockKind,
    BlockStarted,
    Change,
    EndReason,
    FlashOmitted,
    FlashShown,
    Lick,
    Note,
    Outcome,
    RewardArmed,
    RewardCommanded,
    RewardFired,
    RewardKind,
    RewardPath,
    SessionEnded,
    SessionStarted,
    ShamChange,
    TimeoutEnded,
    TrialEnded,
    TrialOutcome,
    TrialStarted,
)
from stages.parameters import StageParameters
from stages.task import stimuli_of
from stimuli.refresh import RefreshTracker
from stimuli.spec import NaturalMovie, Stimulus, label

CAMSTIM = "camstim"
"""What ``SessionStarted.imported_from`` says."""
IMPORT = "rig import"
"""Who says what stands in a note."""
GRAY = 0
"""Its place among the stimuli."""
Told = tuple[int, AnyEvent]
"""A frame, and what happened on it."""


def zone_of(name: str) -> tzinfo:
    """Return the time zone of that name, ``America/Los_Angeles``; Windows has its zones from tzdata, as pandas does.

    Raises
    ------
    CamstimError
        There is none.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: a folder of zones, as Europe is
        what = f"{name!r} is no time zone; give area and city, for instance --time-zone America/Los_Angeles"
        raise CamstimError(what) from error


def begun_at(about: RecordedAbout, *, time_zone: tzinfo | None = None) -> datetime:
    """Return when a session began, with its offset from UTC.

    The file's own offset if it has one, else in the zone that is given, else in this computer's. Of an hour that comes
    twice, as clocks are set back, the first is taken.
    """
    if about.utc_offset_s is not None:
        return about.started_at.replace(tzinfo=timezone(timedelta(seconds=about.utc_offset_s)))
    return about.started_at.replace(tzinfo=time_zone) if time_zone is not None else about.started_at.astimezone()


def import_camstim(recording: Recording, folder: Path, *, time_zone: tzinfo | None = None) -> SessionLog:
    """Write a recorded session as a session of ours and return it.

    Parameters
    ----------
    time_zone
        Where camstim's clock stood, see ``begun_at``.

    Raises
    ------
    CamstimError
        It is no flashed session of this task, or shows what its sets don't hold.
    LogError
        The folder exists already, or can't be written.
    """
    if not len(recording.onset_frames) or not recording.trials:
        raise CamstimError("the recording holds no flash or no trial: there is nothing to import")
    refreshes = RefreshTracker(nominal_hz=REFRESH_HZ).flips(recording.frame_times_s)
    stage = stage_of(recording, refreshes, whole=True)
    stimuli = stimuli_of(stage, image_names=recording.images, refresh_hz=REFRESH_HZ)
    index_of = {label(stimulus): index for index, stimulus in enumerate(stimuli)}
    started = _started(recording, stage, stimuli, time_zone=time_zone)
    flips = _flips(recording, refreshes, index_of, stimuli)
    told = sorted(_told(recording, index_of, flips), key=lambda one: _place(one[0], one[1], recording.trials))
    with closing(LogWriter(folder)) as log:
        log.append(Entry(0, int(refreshes[0]), started))
        if recording.about.utc_offset_s is None and time_zone is None:
            text = f"no time zone is recorded; the start is taken as this computer's time, {started.started_at}"
            log.append(Entry(0, int(refreshes[0]), Note(who=IMPORT, text=text, time_s=0.0)))
        for frame, event in told:
            log.append(Entry(frame, int(refreshes[frame]), event))
        log.flips(flips)
    return read_session(folder)


_ORDER: list[type] = [
    LateFlip,
    Lick,
    RewardCommanded,
    RewardFired,
    TimeoutEnded,
    Aborted,
    TrialOutcome,
    TrialEnded,
    BlockEnded,
    BlockStarted,
    FlashShown,
    FlashOmitted,
    TrialStarted,
    Change,
    ShamChange,
    RewardArmed,
    SessionEnded,
]
"""Of what happens on one frame: inputs, what ends, what is on the screen, what begins."""


def _place(frame: int, event: AnyEvent, trials: list[RecordedTrial]) -> tuple[int, bool, int]:
    """Return what the log is sorted by; a trial may be aborted on the very frame it starts on."""
    trial = getattr(event, "trial", -1)
    begun = trial >= 0 and trials[trial].start_frame == frame and not isinstance(event, TrialStarted)
    return frame, begun, _ORDER.index(type(event))


def _started(
    recording: Recording, stage: StageParameters, stimuli: list[Stimulus], *, time_zone: tzinfo | None
) -> SessionStarted:
    about = recording.about
    return SessionStarted(
        schema_version=SCHEMA_VERSION,
        code_version=f"camstim {about.version}".strip(),
        session_id=about.session_id,
        mouse=recording.mouse,
        stage=recording.stage,
        rig=about.rig,
        simulated=False,
        started_at=begun_at(about, time_zone=time_zone).isoformat(),
        host_zero_s=0.0,
        seed=0,
        refresh_hz=REFRESH_HZ,
        lick_latency_s=0.0,
        policies={},
        stimuli=stimuli,
        stage_parameters=to_plain(stage.model_dump(mode="json")),
        rig_parameters={},
        versions={"imported by": f"open-vision-rig {rig.__version__}", "sha256 of the pickle": about.sha256},
        imported_from=CAMSTIM,
    )


def _flips(recording: Recording, refreshes: IntArray, index_of: dict[str, int], stimuli: list[Stimulus]) -> AnyArray:
    flips = np.zeros(len(refreshes), FLIP_DTYPE)
    flips["flip"] = np.arange(len(refreshes))
    flips["refresh"] = refreshes
    flips["time_s"] = recording.frame_times_s
    flips["n_missed"] = np.diff(refreshes, prepend=-1) - 1
    flips["signal_v"], flips["supply_v"] = recording.signal_v, recording.supply_v
    flips["movie_frame"] = -1
    frames, offs, omitted = recording.flashes()
    for frame, off, image, is_out in zip(
        frames.tolist(), offs.tolist(), _shown(recording, frames, index_of), omitted.tolist(), strict=True
    ):
        if not is_out:
            flips["stimulus"][frame:off] = image
    movie = recording.movie
    if movie is not None:
        on = movie.pictures >= 0
        flips["movie_frame"][on] = movie.pictures[on] % movie.n_pictures
        flips["stimulus"][on] = next(i for i, stimulus in enumerate(stimuli) if isinstance(stimulus, NaturalMovie))
    return flips


def _shown(recording: Recording, frames: IntArray, index_of: dict[str, int]) -> list[int]:
    """Return what was shown, or left out, on each of these frames: an index into the stimuli."""
    changed = [(trial.change_frame, trial.change_image) for trial in recording.trials if trial.change_image]
    names = [recording.first_image, *(image for _, image in changed)]
    places = np.searchsorted([frame for frame, _ in changed], frames, side="right")
    return [index_of[names[place]] for place in places.tolist()]


def _told(recording: Recording, index_of: dict[str, int], flips: AnyArray) -> Iterator[Told]:
    times_s = recording.frame_times_s.tolist()
    yield from ((frame, Lick(time_s=times_s[frame], ticks=-1)) for frame in recording.lick_frames.tolist())
    yield from _blocks(recording, times_s)
    frames, offs, omitted = recording.flashes()
    images = _shown(recording, frames, index_of)
    for k, (frame, off, image) in enumerate(zip(frames.tolist(), offs.tolist(), images, strict=True)):
        if omitted[k]:
            yield frame, FlashOmitted(flash=k, time_s=times_s[frame])
        else:
            gray = int(flips["refresh"][min(off, len(flips) - 1)])
            yield frame, FlashShown(flash=k, stimulus=image, time_s=times_s[frame], late_refreshes=0, off_refresh=gray)
    opens_s, closes_s = recording.params["response_window"]
    for flip in flips[flips["n_missed"] > 0]:
        number, missed = int(flip["flip"]), int(flip["n_missed"])
        refresh, stimulus = int(flip["refresh"]), int(flip["stimulus"])
        yield number, LateFlip(flip=number, refresh=refresh, n_missed=missed, stimulus=stimulus)
    number = 0
    attempt = 0
    shown = index_of[recording.first_image]
    for n, trial in enumerate(recording.trials):
        to = index_of[trial.change_image] if trial.change_image else shown
        yield from _trial(n, attempt, trial, shown=shown, to=to, times_s=times_s)
        for frame, volume_ul in trial.rewards:
            if trial.auto_rewarded:
                yield frame, RewardCommanded(reward=number, kind=RewardKind.AUTO, trial=n, volume_ul=volume_ul)
                yield _fired(frame, number, RewardPath.COMMANDED, times_s=times_s)
            else:
                opens, closes = (times_s[trial.change_frame] + edge_s for edge_s in (opens_s, closes_s))
                armed = RewardArmed(reward=number, trial=n, volume_ul=volume_ul, opens_s=opens, closes_s=closes)
                yield trial.change_frame, armed
                yield _fired(frame, number, RewardPath.SOFTWARE, times_s=times_s)
            number += 1
        shown = to
        attempt = attempt + 1 if trial.outcome is Outcome.ABORTED else 0
    for free, (frame, volume_ul) in enumerate(recording.free_rewards, start=number):
        yield frame, RewardCommanded(reward=free, kind=RewardKind.FREE, trial=-1, volume_ul=volume_ul)
        yield _fired(frame, free, RewardPath.COMMANDED, times_s=times_s)
    last = len(times_s) - 1
    why = "the recording ends"
    yield last, SessionEnded(reason=EndReason.TIME, who=CAMSTIM, why=why, time_s=times_s[last])


def _blocks(recording: Recording, times_s: list[float]) -> Iterator[Told]:
    begins = [(0, BlockKind.GRAY_BEFORE), (int(recording.flashes()[0][0]), BlockKind.TASK)]
    last = len(times_s) - 1
    if recording.last_end_frame < last:
        begins.append((recording.last_end_frame, BlockKind.GRAY_AFTER))
    movie = recording.movie
    if movie is not None and (movie.pictures >= 0).any():
        begins.append((int(np.flatnonzero(movie.pictures >= 0)[0]), BlockKind.MOVIE))
    for (frame, block), (end, _) in zip(begins, [*begins[1:], (last, None)], strict=True):
        yield frame, BlockStarted(block=block, time_s=times_s[frame])
        yield end, BlockEnded(block=block, time_s=times_s[end])


def _trial(n: int, attempt: int, trial: RecordedTrial, *, shown: int, to: int, times_s: list[float]) -> Iterator[Told]:
    start, end, change = trial.start_frame, trial.end_frame, trial.change_frame
    aborted = trial.outcome is Outcome.ABORTED
    yield (
        start,
        TrialStarted(
            trial=n,
            attempt=attempt,
            change_after=trial.change_after,
            catch=trial.catch,
            auto_rewarded=trial.auto_rewarded,
            initial_stimulus=shown,
            change_stimulus=to,
            time_s=times_s[start],
        ),
    )
    if change >= 0 and trial.catch:
        yield change, ShamChange(trial=n, time_s=times_s[change])
    elif change >= 0:
        yield change, Change(trial=n, from_stimulus=shown, to_stimulus=to, time_s=times_s[change])
    if aborted:
        yield trial.abort_frame, Aborted(trial=n, lick_time_s=times_s[trial.abort_frame])
    if trial.timeout_end_frame >= 0:
        yield trial.timeout_end_frame, TimeoutEnded(trial=n)
    answer = trial.abort_frame if aborted else trial.answer_frame
    answered_s = times_s[answer] if answer >= 0 else None
    outcome = TrialOutcome(trial=n, outcome=trial.outcome, lick_time_s=answered_s)
    yield answer if answer >= 0 else end, outcome
    yield end, TrialEnded(trial=n, time_s=times_s[end])


def _fired(frame: int, reward: int, path: RewardPath, *, times_s: list[float]) -> Told:
    lick_s = None if path is RewardPath.COMMANDED else times_s[frame]
    return frame, RewardFired(reward=reward, path=path, time_s=times_s[frame], lick_time_s=lick_s)
