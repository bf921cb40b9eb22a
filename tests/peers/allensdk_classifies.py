"""AllenSDK sorts the trials of our camstim pickles: run by its own environment, which has nothing of ours.

Usage: ``python allensdk_classifies.py FOLDER``, of sessions that ``camstim_sessions`` made. Exits 1 at the first trial
on which its classifier and our tables disagree. Times in the pickle are sums of intervals in milliseconds.

Two rules of AllenSDK's are not ours, and what is expected is worked out by them from our licks, rewards and flips:

    * A lick or a reward has the time of the flip on which it was recorded.
    * A trial lasts until the next one starts, the last one until the movie's part of the session or to the end; a lick
      on the flip that a trial starts on belongs to the trial before.
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
from allensdk.brain_observatory.behavior.data_objects.stimuli.presentations import Presentations  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.task_parameters import TaskParameters  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.trials.trials import Trials  # noqa: E402
from allensdk_reads_both import as_at_home  # noqa: E402

OUTCOMES = ("hit", "miss", "false_alarm", "correct_reject", "aborted", "auto_rewarded")
SUMS_S = 1e-6


def fail(what: str) -> NoReturn:
    sys.exit(f"AllenSDK: {what}")


def same_number(what: str, theirs: Any, ours: float) -> None:
    """Compare two numbers, None being NaN."""
    theirs = np.nan if theirs is None else float(theirs)
    if not np.isclose(theirs, ours, rtol=0, atol=SUMS_S, equal_nan=True):
        fail(f"{what} is {theirs} to AllenSDK, {ours} to us")


def licks_by_their_rule(expected: dict[str, Any]) -> list[np.ndarray]:
    """Return each trial's licks in seconds, by AllenSDK's rule."""
    flip_times_s, rows = np.array(expected["flip_times_s"]), expected["trials"]
    flips = np.array([flip for _, flip in expected["licks"]], int)
    starts = [row["start_flip"] for row in rows]
    last = expected["movie_part_flip"] if expected["movie_part_flip"] is not None else len(flip_times_s)
    return [
        flip_times_s[flips[(flips > start) & (flips <= end)]]
        for start, end in zip(starts, [*starts[1:], last], strict=True)
    ]


def compare_responses(name: str, trials: Any, expected: dict[str, Any]) -> int:
    """Compare licks, responses and water of each trial; return how many licks it has elsewhere than we."""
    flip_times_s, delay_s = expected["flip_times_s"], expected["delay_s"]
    rewards = zip(expected["rewards"], expected["reward_flips"], strict=True)
    paid_s = {time_s: flip_times_s[flip] for (time_s, *_), flip in rewards}
    moved = 0
    by_their_rule = licks_by_their_rule(expected)
    for (index, trial), row, licks in zip(trials.iterrows(), expected["trials"], by_their_rule, strict=True):
        where = f"{name}: trial {index}:"
        read = np.asarray(trial["lick_times"], float)
        if len(read) != len(licks) or not np.allclose(read, licks, rtol=0, atol=SUMS_S):
            fail(f"{where} lick_times are {read} to AllenSDK, {licks} by its rule over our licks")
        moved += abs(len(licks) - len(row["lick_times_s"]))
        aborted = row["outcome"] == "aborted"
        first = licks[0] if len(licks) and not aborted else np.nan
        latency = first - (row["change_time_s"] + delay_s) if len(licks) else np.inf
        same_number(f"{where} response_time", trial["response_time"], first)
        same_number(f"{where} response_latency", trial["response_latency"], np.nan if aborted else latency)
        same_number(f"{where} reward_time", trial["reward_time"], paid_s.get(row["reward_time_s"], np.nan))
    return moved


def compare_rewards(name: str, rewards: Any, expected: dict[str, Any]) -> None:
    """Compare the rewards that AllenSDK finds: those of trials, the operator's are in none."""
    told = {row["reward_time_s"]: row for row in expected["trials"]}
    ours = [
        (expected["flip_times_s"][flip], volume_ul / 1000, told[time_s]["auto_rewarded"])
        for (time_s, volume_ul, _), flip in zip(expected["rewards"], expected["reward_flips"], strict=True)
        if time_s in told
    ]
    if len(rewards) != len(ours):
        fail(f"{name}: {len(rewards)} rewards read, {len(ours)} in our trials")
    for (index, reward), (time_s, volume_ml, auto) in zip(rewards.iterrows(), ours, strict=True):
        same_number(f"{name}: reward {index}: time", reward["timestamps"], time_s)
        same_number(f"{name}: reward {index}: volume", reward["volume"], volume_ml)
        if bool(reward["auto_rewarded"]) is not auto:
            fail(f"{name}: reward {index}: auto_rewarded is {reward['auto_rewarded']} to AllenSDK, {auto} to us")


def compare(name: str, path: Path, expected: dict[str, Any]) -> Counter:
    """Return how many trials of each outcome AllenSDK found, all as in our tables."""
    file = BehaviorStimulusFile.from_json({"behavior_stimulus_file": str(path)})
    clock = StimulusTimestamps.from_stimulus_file(stimulus_file=file, monitor_delay=0.0)
    display = StimulusTimestamps.from_stimulus_file(stimulus_file=file, monitor_delay=expected["delay_s"])
    licks = Licks.from_stimulus_file(stimulus_file=file, stimulus_timestamps=clock)
    rewards = Rewards.from_stimulus_file(stimulus_file=file, stimulus_timestamps=clock)
    data = Trials.from_stimulus_file(stimulus_file=file, stimulus_timestamps=display, licks=licks, rewards=rewards)
    trials = data.data
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
            same_number(f"{name}: trial {index}: {column}", trial[column], ours)
        found[row["outcome"]] += 1
    if licks.value["frame"].tolist() != [flip for _, flip in expected["licks"]]:
        fail(f"{name}: licks are on other frames")
    found["licks in another trial than ours"] += compare_responses(name, trials, expected)
    compare_rewards(name, rewards.value, expected)
    if not np.allclose(clock.value, expected["flip_times_s"], rtol=0, atol=SUMS_S):
        fail(f"{name}: flips are at other times")
    found["licks"] += len(licks.value)
    found["rewards in trials"] += len(rewards.value)
    RunningSpeed.from_stimulus_file(behavior_stimulus_file=file)
    compare_presentations(name, file, display, trials=data, expected=expected)
    task = TaskParameters.from_stimulus_file(stimulus_file=file)
    if task.session_type != expected["stage"]:
        fail(f"{name}: session type {task.session_type}, ours {expected['stage']}")
    return found


def compare_presentations(name: str, file: Any, display: Any, *, trials: Any, expected: dict[str, Any]) -> None:
    """Compare the flashes that AllenSDK finds; a sham change of a static stimulus is no row of its."""
    if "images" in file.data["items"]["behavior"]["stimuli"]:
        as_at_home(file)
    else:
        Presentations._add_is_image_novel = staticmethod(lambda **_: None)
    shown = Presentations.from_stimulus_file(
        stimulus_file=file, stimulus_timestamps=display, behavior_session_id=0, trials=trials
    ).value
    shown = shown[shown["image_name"].notna()]
    is_static = "flashed" not in expected["stage"] and "gratings" in expected["stage"]
    rows = [
        row for row in expected["presentations"] if row["block"] == "task" and not (is_static and row["is_sham_change"])
    ]
    if len(shown) != len(rows):
        fail(f"{name}: {len(shown)} presentations read, {len(rows)} in our table")
    for (index, flash), row in zip(shown.iterrows(), rows, strict=True):
        read = flash["image_name"], int(flash["start_frame"]), bool(flash["omitted"])
        if read != (row["stimulus"], row["start_flip"], row["omitted"]):
            fail(f"{name}: presentation {index} is {read} to AllenSDK, {row} to us")


def main(folder: Path) -> None:
    total: Counter = Counter()
    paths = sorted(folder.glob("*/session.pkl"))
    for path in paths:
        expected = json.loads((path.parent / "expected.json").read_text(encoding="utf-8"))
        total += compare(path.parent.name, path, expected)
    told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(total.items()))
    if not paths:
        fail(f"{folder} holds no session")
    print(
        f"AllenSDK's classifier agrees on every trial, lick, response, reward and flash of {len(paths)} camstim "
        f"pickles: {told}."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
