"""AllenSDK sorts the trials of our camstim pickles: run by its own environment, which has nothing of ours.

Usage: ``python allensdk_classifies.py FOLDER``, of sessions that ``camstim_sessions`` made. Exits 1 at the first trial
on which its classifier and our tables disagree. Times in the pickle are sums of intervals in milliseconds.
"""

import json
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

warnings.filterwarnings("ignore")
from allensdk.brain_observatory.behavior.data_files import BehaviorStimulusFile  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects import StimulusTimestamps  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.licks import Licks  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.rewards import Rewards  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.running_speed.running_speed import (  # noqa: E402
    RunningSpeed,
)
from allensdk.brain_observatory.behavior.data_objects.task_parameters import TaskParameters  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.trials.trials import Trials  # noqa: E402

OUTCOMES = ("hit", "miss", "false_alarm", "correct_reject", "aborted", "auto_rewarded")
SUMS_S = 1e-6


def fail(what: str) -> NoReturn:
    sys.exit(f"AllenSDK: {what}")


def compare(name: str, path: Path, expected: dict[str, Any]) -> Counter:
    """Return how many trials of each outcome AllenSDK found, all as in our tables."""
    file = BehaviorStimulusFile.from_json({"behavior_stimulus_file": str(path)})
    clock = StimulusTimestamps.from_stimulus_file(stimulus_file=file, monitor_delay=0.0)
    display = StimulusTimestamps.from_stimulus_file(stimulus_file=file, monitor_delay=expected["delay_s"])
    licks = Licks.from_stimulus_file(stimulus_file=file, stimulus_timestamps=clock)
    rewards = Rewards.from_stimulus_file(stimulus_file=file, stimulus_timestamps=clock)
    trials = Trials.from_stimulus_file(
        stimulus_file=file, stimulus_timestamps=display, licks=licks, rewards=rewards
    ).data
    rows = expected["trials"]
    if len(trials) != len(rows):
        fail(f"{name}: {len(trials)} trials read, {len(rows)} in our table")
    found: Counter = Counter()
    for (index, trial), row in zip(trials.iterrows(), rows, strict=True):
        told = [outcome for outcome in OUTCOMES if trial[outcome]]
        if told != [row["outcome"]]:
            fail(f"{name}: trial {index} is {told} to AllenSDK, {row['outcome']} to us")
        changes = row["change_flip"] >= 0 and not row["catch"]
        same = {
            "go": row["outcome"] in ("hit", "miss"),
            "catch": row["outcome"] in ("false_alarm", "correct_reject"),
            "is_change": changes,
            "initial_image_name": row["initial_stimulus"],
            "change_image_name": row["change_stimulus"] if changes else row["initial_stimulus"],
        }
        for column, ours in same.items():
            if trial[column] != ours:
                fail(f"{name}: trial {index}: {column} is {trial[column]!r} to AllenSDK, {ours!r} to us")
        near = {
            "start_time": row["start_time_s"],
            "stop_time": row["end_time_s"],
            "change_frame": row["change_flip"] if row["change_flip"] >= 0 else -99,
            "change_time": row["change_time_s"] + expected["delay_s"],
            "reward_volume": row["reward_volume_ul"] / 1000,
        }
        for column, ours in near.items():
            theirs = np.nan if trial[column] is None else float(trial[column])
            if not np.isclose(theirs, ours, rtol=0, atol=SUMS_S, equal_nan=True):
                fail(f"{name}: trial {index}: {column} is {theirs} to AllenSDK, {ours} to us")
        found[row["outcome"]] += 1
    if licks.value["frame"].tolist() != [flip for _, flip in expected["licks"]]:
        fail(f"{name}: licks are on other frames")
    RunningSpeed.from_stimulus_file(behavior_stimulus_file=file)
    task = TaskParameters.from_stimulus_file(stimulus_file=file)
    if task.session_type != expected["stage"]:
        fail(f"{name}: session type {task.session_type}, ours {expected['stage']}")
    return found


def main(folder: Path) -> None:
    total: Counter = Counter()
    paths = sorted(folder.glob("*/session.pkl"))
    for path in paths:
        expected = json.loads((path.parent / "expected.json").read_text(encoding="utf-8"))
        total += compare(path.parent.name, path, expected)
    told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(total.items()))
    print(f"AllenSDK's classifier agrees on every trial of {len(paths)} camstim pickles: {told}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
