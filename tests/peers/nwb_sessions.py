"""Makes the sessions that AllenSDK is tried on, each with its NWB file and what must be read from it.

``python -m tests.peers.nwb_sessions FOLDER``. What is expected comes from the folds and the metrics, not from the
tables of the export: these are what is tried.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from hardware.protocols import Command
from hardware.simulated.mice import MouseKind
from rig.log.reader import SessionLog, read_session
from rig.log.schema import EDGE_DTYPE, FLIP_DTYPE
from rig.log.writer import EDGES, EVENTS, FLIPS, LogWriter
from rig.records.alignment import alignment_of
from rig.records.folds import Folds
from rig.records.monitor_delay import nominal_delay
from rig.records.nwb.export import export_nwb
from rig.records.nwb.templates import templates_of
from rig.records.performance import response_window_s, trial_columns
from stages.events import BlockKind, BlockStarted, Lick, Outcome, RewardArmed, RewardCommanded, RewardFired, RewardKind
from stages.metrics import session_performance
from stimuli.spec import Grating, Stimulus, label
from tests.builders import SWEEP, command, rig_config, run, stage

EXPECTED = "expected.json"
MOVIE = {"name": "natural_movie_one", "frame_rate_hz": 30, "n_frames": 30, "n_repeats": 2}
MINUTES = 8.0
"""Enough for ten trials, go and catch: the reward rate begins with the eleventh."""


def record(
    folder: Path,
    name: str,
    *,
    kind: MouseKind = MouseKind.STOCHASTIC,
    minutes: float = MINUTES,
    seed: int = 3,
    commands: tuple[tuple[float, Command], ...] = (),
    rig: str = "simulated",
    behaviour: str = "jittering",
    **changes: Any,
) -> Path:
    """Run a session into a folder; ``behaviour`` is the monitor's, ``dropping`` for late flips."""
    length = {} if name == SWEEP else {"task_duration_min": minutes}
    with contextlib.closing(LogWriter(folder)) as log:
        config = rig_config(rig, behaviour=behaviour)
        run(stage(name, **length, **changes), config, kind=kind, seed=seed, commands=commands, log=log)
    return folder


def cut(folder: Path, *, share: float) -> Path:
    """Cut a session's files as a crash does: in mid-line, in mid-record, and not all at the same time."""
    data = (folder / EVENTS).read_bytes()
    (folder / EVENTS).write_bytes(data[: int(len(data) * share)])
    last_flip = read_session(folder).entries[-1].flip
    for name, dtype, share_of in ((FLIPS, FLIP_DTYPE, 1.0), (EDGES, EDGE_DTYPE, share)):
        data = (folder / name).read_bytes()
        n = (last_flip - 3 if name == FLIPS else int(len(data) / dtype.itemsize * share_of)) * dtype.itemsize
        (folder / name).write_bytes(data[: n + dtype.itemsize // 2])
    return folder


STOP = (command("reward", at_s=70.2), command("note", at_s=90.0, text="looks sleepy"), command("stop", at_s=200.0))
SESSIONS: dict[str, Callable[[Path], Path]] = {
    "TRAINING_0": lambda folder: record(folder, "TRAINING_0_gratings_autorewards_15min"),
    "TRAINING_1": lambda folder: record(folder, "TRAINING_1_gratings", kind=MouseKind.PERFECT),
    "TRAINING_2": lambda folder: record(folder, "TRAINING_2_gratings_flashed"),
    "TRAINING_4": lambda folder: record(folder, "TRAINING_4_images_A_training", kind=MouseKind.LATE),
    "OPHYS_0": lambda folder: record(folder, "OPHYS_0_images_A_habituation", rig="simulated_imaging", movie=MOVIE),
    "OPHYS_1": lambda folder: record(folder, "OPHYS_1_images_A", rig="simulated_imaging", movie=MOVIE, minutes=20.0),
    "OPHYS_2_passive": lambda folder: record(folder, "OPHYS_2_images_A_passive", rig="simulated_imaging"),
    "OPHYS_4": lambda folder: record(folder, "OPHYS_4_images_B", kind=MouseKind.PERFECT, movie=MOVIE),
    "stopped": lambda folder: record(folder, "OPHYS_1_images_A", kind=MouseKind.PERFECT, commands=STOP),
    "stopped_now": lambda folder: record(
        folder,
        "OPHYS_1_images_A",
        kind=MouseKind.PERFECT,
        commands=(command("pause", at_s=60.0), command("resume", at_s=80.0), command("stop-now", at_s=151.3)),
    ),
    "crashed": lambda folder: cut(record(folder, "OPHYS_1_images_A", rig="simulated_imaging"), share=0.7),
    "no_lick": lambda folder: record(folder, "TRAINING_3_images_A_10uL_reward", kind=MouseKind.NEVER),
}
"""Sessions that AllenSDK opens, by what they are for."""
WITH_TEMPLATES = ("TRAINING_2", "OPHYS_4")
NOT_FOR_ALLENSDK = {"OPHYS_7": lambda folder: record(folder, SWEEP, rig="simulated_imaging")}
"""AllenSDK looks for changes from image to image in whatever was shown, and patches have no ``image_name``."""


def name_of(stimulus: Stimulus) -> str:
    """Return how the published tables name a stimulus."""
    return f"gratings_{float(stimulus.orientation_deg)}" if isinstance(stimulus, Grating) else label(stimulus)


def expected(log: SessionLog) -> dict[str, Any]:
    """Return what must be read from a session's file."""
    folds = Folds.of(log.entries)
    names = {label(stimulus): name_of(stimulus) for stimulus in log.started.stimuli}
    rows = folds.trials.rows
    whole = [row for row in rows if row.outcome is not Outcome.INCOMPLETE and row.end_flip >= 0]
    trials = [
        asdict(row)
        | {
            "outcome": row.outcome.value,
            "initial_stimulus": names[row.initial_stimulus],
            "change_stimulus": names[row.change_stimulus],
        }
        for row in whole
    ]
    rewards = list(_rewards(log))
    in_trials = {row.reward_time_s for row in whole}
    shown = [row for row in folds.presentations.rows if row.start_flip < len(log.flips)]
    columns = trial_columns(whole)
    window_s = response_window_s(log.started.stage_parameters) or (0.15, 0.75)
    delay = alignment_of(log).delay or nominal_delay(log.started.rig_parameters)
    metrics = session_performance(
        columns,
        monitor_delay_s=delay.delay_s,
        opens_s=window_s[0],
        other_rewards_ul=[volume_ul for time_s, volume_ul, *_ in rewards if time_s not in in_trials],
    )
    return {
        "stage": log.started.stage,
        "delay_s": delay.delay_s,
        "flip_times_s": log.flips["time_s"].tolist(),
        "trials": trials,
        "rewards": [reward[:3] for reward in rewards],
        "reward_flips": [flip for *_, flip in rewards],
        "licks": [(e.event.time_s, e.flip) for e in log.entries if isinstance(e.event, Lick)],
        "presentations": [
            asdict(row)
            | {"stimulus": names.get(row.stimulus, row.stimulus), "block": row.block.value, "end_time_s": end_s}
            for row, end_s in zip(shown, _ends_s(log, [row.start_flip for row in shown]), strict=True)
        ],
        "pictures": list(_pictures(log)),
        "flash_s": log.started.stage_parameters.get("presentation", {}).get("flash_s"),
        "movie_part_flip": movie_part_flip(log),
        "metrics": asdict(metrics),
        "n_not_aborted": sum(row.outcome is not Outcome.ABORTED for row in whole),
    }


def _ends_s(log: SessionLog, starts: list[int]) -> Iterator[float]:
    """Yield when what came on with each of these flips was gone: at the next of them, or as something else was shown.

    What was still there stops with the last flip, and what came on with that one is there for a refresh.
    """
    shown, times_s, last = log.flips["stimulus"].tolist(), log.flips["time_s"].tolist(), len(log.flips) - 1
    for start, following in zip(starts, [*starts[1:], last], strict=True):
        end = next((flip for flip in range(start, following) if shown[flip] != shown[start]), following)
        yield times_s[end] if start < last else times_s[last] + 1 / log.started.refresh_hz


def _pictures(log: SessionLog) -> Iterator[tuple[int, float, float, int, int]]:
    """Yield first flip, start, end, number and repeat of each picture of a movie."""
    pictures, times_s = log.flips["movie_frame"].tolist(), log.flips["time_s"].tolist()
    seen: Counter[int] = Counter()
    flip = 0
    for picture, same in groupby(pictures):
        begun, flip = flip, flip + len(list(same))
        if picture >= 0:
            yield begun, times_s[begun], times_s[min(flip, len(times_s) - 1)], picture, seen[picture]
            seen[picture] += 1


def movie_part_flip(log: SessionLog) -> int | None:
    """Return the flip where gray and movie after the task begin; None without a movie."""
    begun = [(e.event.block, e.flip) for e in log.entries if isinstance(e.event, BlockStarted)]
    if BlockKind.MOVIE not in dict(begun):
        return None
    return next(flip for block, flip in begun if block in (BlockKind.GRAY_AFTER, BlockKind.MOVIE))


def _rewards(log: SessionLog) -> Iterator[tuple[float, float, bool, int]]:
    """Yield time, microlitres, whether it was no lick's, and the flip."""
    kinds: dict[int, tuple[RewardKind, float]] = {}
    for entry in log.entries:
        match entry.event:
            case RewardArmed(reward=reward, volume_ul=volume_ul):
                kinds[reward] = RewardKind.EARNED, volume_ul
            case RewardCommanded(reward=reward, kind=kind, volume_ul=volume_ul):
                kinds[reward] = kind, volume_ul
            case RewardFired(reward=reward, time_s=time_s):
                kind, volume_ul = kinds[reward]
                yield time_s, volume_ul, kind is not RewardKind.EARNED, entry.flip


def main(folder: Path) -> None:
    for name, make in (SESSIONS | NOT_FOR_ALLENSDK).items():
        log = read_session(make(folder / name))
        templates = templates_of(log, library=None) if name in WITH_TEMPLATES else None
        export_nwb(log, templates=templates)
        told = expected(log) | {"templates": list(templates.names) if templates is not None else None}
        (folder / name / EXPECTED).write_text(json.dumps(told), encoding="utf-8")
        print(f"{name}: {len(log.flips)} flips, {len(log.entries)} events", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
