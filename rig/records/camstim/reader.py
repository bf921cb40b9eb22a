"""A camstim pickle as plain values: what it drew, showed, saw and paid.

Layout: TASK_FACTS 6. Counts of frames are flips; the first is 0.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from hardware.arrays import AnyArray, FloatArray, IntArray
from rig.records.camstim import CamstimError
from stages.events import Outcome
from stages.metrics import TrialColumns

_LET_IN = {  # all that the published session asks for
    ("collections", "OrderedDict"),
    ("datetime", "datetime"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}
NEAR_FRAMES = 3
"""An omission logged this near a drawn frame was none, as AllenSDK takes it."""
UTC_OFFSET = "utc_offset_s"
"""A key of our own, which camstim's readers pass over: local time less UTC of ``start_time`` and ``stop_time``."""
GZIP_MAGIC = b"\x1f\x8b"


class _Careful(pickle.Unpickler):
    """Loads numbers, texts, containers and arrays; refuses everything that could do something."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _LET_IN:
            raise CamstimError(f"it asks for {module}.{name}, which no camstim session needs; it is not opened")
        return super().find_class(module, name)


@dataclass(frozen=True, slots=True)
class RecordedTrial:
    """A trial as camstim logged it. Frames are -1 where there is none."""

    start_frame: int
    end_frame: int
    change_after: int
    """Flashes from the one the trial starts on, which is number 0."""
    catch: bool
    auto_rewarded: bool
    """As drawn; an aborted attempt keeps it."""
    outcome: Outcome
    """As AllenSDK names it (TASK_FACTS 4.1)."""
    abort_frame: int = -1
    timeout_end_frame: int = -1
    start_clock_s: float = math.nan
    timeout_end_clock_s: float = math.nan
    """Both on camstim's own clock, which tells what came first within a frame."""
    change_frame: int = -1
    """The change's frame, or the sham change's."""
    answer_s: float = -1.0
    """From change to hit or false alarm on camstim's clock, -1 for none."""
    change_image: str = ""
    answer_frame: int = -1
    """On which camstim took a lick for a hit or a false alarm."""
    lick_frames: tuple[int, ...] = ()
    rewards: tuple[tuple[int, float], ...] = ()
    """Frame and volume in microlitres of each."""


@dataclass(frozen=True, slots=True)
class RecordedAbout:
    """Which session it was."""

    session_id: str
    """A UUID: camstim's own, or for want of one made of the file's bytes."""
    started_at: datetime
    """Without a time zone."""
    utc_offset_s: float | None
    """Of the clock that told it, local less UTC; camstim notes none, our own export does."""
    rig: str
    version: str
    """Of camstim; empty where it is not told."""
    sha256: str
    """Of the pickle, unzipped."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedMovie:
    """A movie that was shown after the task."""

    begins_frame: int
    """Where its part of the session begins: gray comes first."""
    pictures: IntArray = field(repr=False)
    """Shape (n,): the movie's picture on each of the session's frames, counted on over its repeats; -1 for none."""
    n_pictures: int
    n_repeats: int
    frame_rate_hz: float


@dataclass(frozen=True, slots=True)
class Recording:
    """A camstim session with natural images, flashed."""

    mouse: str
    stage: str
    params: dict[str, Any] = field(repr=False)
    """What the regimen and camstim's own configuration said, the regimen first."""
    frame_times_s: FloatArray = field(repr=False)
    """Shape (n,): seconds from the first frame."""
    lick_frames: IntArray = field(repr=False)
    onset_frames: IntArray = field(repr=False)
    """Shape (m,): the first frame of each flash."""
    off_frames: IntArray = field(repr=False)
    """Shape (m,): the first gray frame after it."""
    omitted_frames: IntArray = field(repr=False)
    """Shape (k,): where a flash would have begun that was left out."""
    first_image: str
    trials: list[RecordedTrial] = field(repr=False)
    last_end_frame: int
    """Where AllenSDK lets the last trial end: where the movie's part begins, or the trial's own end."""
    about: RecordedAbout
    signal_v: FloatArray = field(repr=False)
    """Shape (n,): the wheel's encoder on each frame; camstim's one sample more is left out, as AllenSDK does."""
    supply_v: FloatArray = field(repr=False)
    movie: RecordedMovie | None = None
    free_rewards: tuple[tuple[int, float], ...] = ()
    """Frame and volume in microlitres of rewards that belong to no trial: the operator's."""

    @property
    def images(self) -> list[str]:
        """Every image that was shown, in order of name."""
        return sorted({self.first_image} | {trial.change_image for trial in self.trials if trial.change_image})

    def flashes(self) -> tuple[IntArray, IntArray, AnyArray]:
        """Return first frame, first gray frame and whether it was left out, of each flash in order.

        An omitted one is as long as most.
        """
        usual = int(np.median(self.off_frames - self.onset_frames))
        frames = np.concatenate([self.onset_frames, self.omitted_frames])
        offs = np.concatenate([self.off_frames, self.omitted_frames + usual])
        omitted = np.arange(len(frames)) >= len(self.onset_frames)
        order = np.argsort(frames, kind="stable")
        return frames[order], offs[order], omitted[order]

    def columns(
        self, *, outcomes: Sequence[Outcome] | None = None, volumes_ul: Sequence[float] | None = None
    ) -> TrialColumns:
        """Return the trials as the metrics take them, with AllenSDK's bookkeeping (TASK_FACTS 5).

        A trial lasts until the next one starts; a lick on the frame a trial starts with is still its predecessor's.

        Parameters
        ----------
        outcomes, volumes_ul
            One a trial, instead of what was recorded.
        """
        times_s = self.frame_times_s
        starts = np.array([trial.start_frame for trial in self.trials])
        changes = np.array([trial.change_frame for trial in self.trials])
        licks = self.lick_frames[(self.lick_frames > starts[0]) & (self.lick_frames <= self.last_end_frame)]
        outcomes = outcomes or [trial.outcome for trial in self.trials]
        paid_ul = volumes_ul or [sum(volume_ul for _, volume_ul in trial.rewards) for trial in self.trials]
        return TrialColumns(
            outcomes=np.array([outcome.value for outcome in outcomes]),
            start_times_s=times_s[starts],
            change_times_s=np.where(changes >= 0, times_s[changes], np.nan),
            reward_volumes_ul=np.array(paid_ul, np.float64),
            lick_times_s=times_s[licks],
            lick_trials=np.searchsorted(starts, licks, side="left") - 1,
        )


def read_camstim(path: Path) -> Recording:
    """Return a camstim session, from a pickle or a gzipped one.

    Raises
    ------
    CamstimError
        The file is none, or not one with flashed natural images; says what is missing.
    OSError
        The file can't be read.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
        with gzip.open(path) if zipped else path.open("rb") as file:
            content = file.read()
        data = _Careful(io.BytesIO(content), encoding="latin1").load()
        behavior = data["items"]["behavior"]
        images = behavior["stimuli"]["images"]
        intervals_ms = np.asarray(behavior["intervalsms"], np.float64)
        shown = np.asarray(images["draw_log"], np.int8)
        edges = np.diff(shown, prepend=np.int8(0), append=np.int8(0))
        params = {**behavior["config"]["DoC"], **behavior["cl_params"], **behavior["params"]}
        onsets = np.flatnonzero(edges == 1)
        trials = [_trial(logged) for logged in behavior["trial_log"]]
        fingerprint = behavior.get("items", {}).get("fingerprint", {})
        times_s = np.concatenate([[0.0], np.cumsum(intervals_ms)]) / 1000.0
        encoder = behavior["encoders"][0]
        return Recording(
            mouse=str(params["mouse_id"]),
            stage=str(params["stage"]),
            params=params,
            frame_times_s=times_s,
            lick_frames=np.asarray(behavior["lick_sensors"][0]["lick_events"], np.int64),
            onset_frames=onsets,
            off_frames=np.flatnonzero(edges == -1),
            omitted_frames=_omitted(behavior.get("omitted_flash_frame_log", {}), shown),
            first_image=str(images["set_log"][0][1]),
            trials=trials,
            last_end_frame=int(fingerprint.get("starting_frame", trials[-1].end_frame)),
            about=_about(data, content),
            signal_v=np.asarray(encoder["vsig"], np.float64)[: len(times_s)],
            supply_v=np.asarray(encoder["vin"], np.float64)[: len(times_s)],
            movie=_movie(fingerprint, n_frames=len(times_s)) if fingerprint else None,
            free_rewards=_free_rewards(behavior["rewards"][0], trials),
        )
    except CamstimError as error:
        raise CamstimError(f"{path}: {error}") from error
    except (pickle.UnpicklingError, EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise CamstimError(f"{path}: is no pickle ({error}); give a camstim session's .pkl or .pkl.gz") from error
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise CamstimError(f"{path}: has not the parts of a camstim session with flashed images ({what})") from error


def _omitted(log: dict[str, list[int]], shown: AnyArray) -> IntArray:
    """Return the frames of omitted flashes, without the entries of flashes that were shown after all (TASK_FACTS 5)."""
    frames = np.unique(np.array([frame for frames in log.values() for frame in frames], np.int64))
    drawn = np.flatnonzero(shown)
    nearest = np.searchsorted(drawn, frames - NEAR_FRAMES)
    near = np.append(drawn, np.iinfo(np.int64).max)[nearest] <= frames + NEAR_FRAMES
    return frames[~near]


def _about(data: dict[str, Any], content: bytes) -> RecordedAbout:
    digest = hashlib.sha256(content)
    told = data.get("session_uuid")
    return RecordedAbout(
        session_id=str(UUID(str(told)) if told else UUID(bytes=digest.digest()[:16], version=8)),
        started_at=data["start_time"],
        utc_offset_s=float(data[UTC_OFFSET]) if UTC_OFFSET in data else None,
        rig=str(data.get("rig_id") or data.get("comp_id") or "unknown"),
        version=str(data.get("platform_info", {}).get("camstim", "")),
        sha256=digest.hexdigest(),
    )


def _movie(fingerprint: dict[str, Any], *, n_frames: int) -> RecordedMovie:
    shown = fingerprint["static_stimulus"]
    begins = int(fingerprint["starting_frame"])
    listed = np.asarray(shown["frame_list"], np.int64)[: n_frames - begins]
    pictures = np.full(n_frames, -1, np.int64)
    pictures[begins : begins + len(listed)] = listed
    n_repeats = int(shown["runs"])
    return RecordedMovie(
        begins_frame=begins,
        pictures=pictures,
        n_pictures=len(shown["sweep_frames"]) // n_repeats,
        n_repeats=n_repeats,
        frame_rate_hz=1 / float(shown["frame_length"]),
    )


def _free_rewards(valve: dict[str, Any], trials: list[RecordedTrial]) -> tuple[tuple[int, float], ...]:
    """Return rewards that no trial has; the valve's own log is up to a frame later than a trial's.

    Each has the same share of the water that went to no trial: camstim does not tell them apart.
    """
    paid = [reward for trial in trials for reward in trial.rewards]
    of_trials = {frame + late for frame, _ in paid for late in (0, 1)}
    free = [int(frame) for _, frame in valve["reward_times"] if int(frame) not in of_trials]
    left_ul = float(valve["volume_dispensed"]) * 1000.0 - sum(volume_ul for _, volume_ul in paid)
    return tuple((frame, left_ul / len(free)) for frame in free)


def _trial(logged: dict[str, Any]) -> RecordedTrial:
    drawn = logged["trial_params"]
    frames: dict[tuple[str, str], int] = {}
    clocks_s: dict[tuple[str, str], float] = {}
    for name, how, clock_s, frame in logged["events"]:
        frames[name, how], clocks_s[name, how] = int(frame), float(clock_s)
    aborted = ("abort", "") in frames
    catch, auto_rewarded = bool(drawn["catch"]), bool(drawn["auto_reward"])
    change = "sham_change" if catch else "stimulus_changed"
    answer = next((name for name in ("hit", "false_alarm") if (name, "") in frames), None)
    changes = logged["stimulus_changes"]
    return RecordedTrial(
        start_frame=frames["trial_start", ""],
        end_frame=frames["trial_end", ""],
        change_after=int(drawn["change_time"]),
        catch=catch,
        auto_rewarded=auto_rewarded,
        outcome=_outcome(frames, aborted=aborted, catch=catch, auto_rewarded=auto_rewarded),
        abort_frame=frames.get(("abort", ""), -1),
        timeout_end_frame=frames.get(("timeout", "exit"), -1),
        start_clock_s=clocks_s["trial_start", ""],
        timeout_end_clock_s=clocks_s.get(("timeout", "exit"), math.nan),
        change_frame=frames.get((change, ""), -1),
        answer_s=clocks_s[answer, ""] - clocks_s[change, ""] if answer is not None else -1.0,
        change_image=str(changes[0][1][1]) if changes else "",
        answer_frame=frames[answer, ""] if answer is not None else -1,
        lick_frames=tuple(int(frame) for _, frame in logged["licks"]),
        rewards=tuple((int(frame), volume_ml * 1000.0) for volume_ml, _, frame in logged["rewards"]),
    )


def _outcome(frames: dict[tuple[str, str], int], *, aborted: bool, catch: bool, auto_rewarded: bool) -> Outcome:
    if aborted:
        return Outcome.ABORTED
    if auto_rewarded:
        return Outcome.AUTO_REWARDED
    if catch:
        return Outcome.FALSE_ALARM if ("false_alarm", "") in frames else Outcome.CORRECT_REJECT
    if ("hit", "") in frames:
        return Outcome.HIT
    return Outcome.MISS if ("miss", "") in frames else Outcome.INCOMPLETE
