"""AllenSDK opens our NWB files: run by its own environment, which has nothing of ours.

Usage: ``python allensdk_opens.py FOLDER``, of sessions that ``nwb_sessions`` made. Prints what agrees, exits 1 at the
first thing that doesn't. Times and marks must be equal; means over trials may differ in the last bits, since they are
added up in another order.
"""

import inspect
import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

warnings.filterwarnings("ignore")
from allensdk.brain_observatory.behavior.behavior_session import BehaviorSession  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.running_speed.running_processing import (  # noqa: E402
    get_running_df,
)

NOT_OPENED = {"OPHYS_7": KeyError("image_name")}
"""AllenSDK can't open these, and says so: it looks for changes from image to image, and patches have no names."""
TOO_YOUNG = AttributeError("'NoneType' object has no attribute 'to_dataframe'")
"""What it says of a session that has no trial."""
NO_GRAY = ("task", "sweep", "movie")
"""Blocks with rows of another kind."""
NO_METRICS = "all trials were aborted"
LAST_BITS = 1e-9


def fail(what: str) -> NoReturn:
    sys.exit(f"AllenSDK: {what}")


def same(name: str, read: Any, ours: Any) -> None:
    """Compare two columns, equal to the bit; NaN equals NaN."""
    read, ours = np.asarray(read), np.asarray(ours)
    if read.shape != ours.shape:
        fail(f"{name}: {read.shape} read, {ours.shape} expected")
    if read.dtype.kind in "OU" or ours.dtype.kind in "OU":
        equal = np.array([a == b for a, b in zip(read.tolist(), ours.tolist(), strict=True)], bool)
    else:
        equal = np.isclose(read.astype(float), ours.astype(float), rtol=0, atol=0, equal_nan=True)
    if not equal.all():
        i = int(np.flatnonzero(~equal)[0])
        fail(f"{name}: row {i} is {read[i]!r}, expected {ours[i]!r}")


def compare_trials(name: str, session: BehaviorSession, expected: dict[str, Any]) -> None:
    delay_s = expected["delay_s"]
    rows, trials = expected["trials"], session.trials
    is_ = {
        outcome: [row["outcome"] == outcome for row in rows]
        for outcome in ("hit", "miss", "false_alarm", "correct_reject", "aborted", "auto_rewarded")
    }
    for column, ours in is_.items():
        same(f"{name}: trials.{column}", trials[column], ours)
    go = [a or b for a, b in zip(is_["hit"], is_["miss"], strict=True)]
    catch = [a or b for a, b in zip(is_["false_alarm"], is_["correct_reject"], strict=True)]
    changed = [row["change_flip"] >= 0 and not row["catch"] for row in rows]
    same(f"{name}: trials.go", trials["go"], go)
    same(f"{name}: trials.catch", trials["catch"], catch)
    same(f"{name}: trials.is_change", trials["is_change"], changed)
    same(f"{name}: trials.start_time", trials["start_time"], [row["start_time_s"] for row in rows])
    same(f"{name}: trials.stop_time", trials["stop_time"], [row["end_time_s"] for row in rows])
    same(
        f"{name}: trials.change_frame",
        trials["change_frame"],
        [row["change_flip"] if row["change_flip"] >= 0 else -99 for row in rows],
    )
    change_s = [row["change_time_s"] + delay_s for row in rows]
    same(f"{name}: trials.change_time", trials["change_time"], change_s)
    same(f"{name}: trials.initial_image_name", trials["initial_image_name"], [row["initial_stimulus"] for row in rows])
    same(
        f"{name}: trials.change_image_name",
        trials["change_image_name"],
        [
            row["change_stimulus"] if is_on else row["initial_stimulus"]
            for row, is_on in zip(rows, changed, strict=True)
        ],
    )
    same(f"{name}: trials.reward_volume", trials["reward_volume"], [row["reward_volume_ul"] / 1000 for row in rows])
    same(f"{name}: trials.reward_time", trials["reward_time"], [row["reward_time_s"] for row in rows])
    first, latency = [], []
    for row, change, aborted in zip(rows, change_s, is_["aborted"], strict=True):
        licks = row["lick_times_s"]
        first.append(licks[0] if licks and not aborted else math.nan)
        latency.append(math.nan if aborted else licks[0] - change if licks else math.inf)
    same(f"{name}: trials.response_time", trials["response_time"], first)
    same(f"{name}: trials.response_latency", trials["response_latency"], latency)
    for i, (row, read) in enumerate(zip(rows, trials["lick_times"], strict=True)):
        same(f"{name}: trials.lick_times[{i}]", read, row["lick_times_s"])


def compare_presentations(name: str, session: BehaviorSession, expected: dict[str, Any]) -> None:
    rows = [row for row in expected["presentations"] if row["block"] == "task"]
    table = session.stimulus_presentations
    table = table[table["image_name"].notna()]
    same(f"{name}: presentations.image_name", table["image_name"], [row["stimulus"] for row in rows])
    same(f"{name}: presentations.start_frame", table["start_frame"], [row["start_flip"] for row in rows])
    same(
        f"{name}: presentations.start_time",
        table["start_time"],
        [row["start_time_s"] + expected["delay_s"] for row in rows],
    )
    same(f"{name}: presentations.omitted", table["omitted"].astype(float), [float(row["omitted"]) for row in rows])
    same(f"{name}: presentations.is_change", table["is_change"].astype(float), [float(r["is_change"]) for r in rows])
    same(
        f"{name}: presentations.end_time",
        table["end_time"],
        [
            row["start_time_s"] + expected["delay_s"] + expected["flash_s"]  # lasts as long as it would have
            if row["omitted"]
            else row["end_time_s"] + expected["delay_s"]
            for row in rows
        ],
    )
    whole = {row["trial"] for row in expected["trials"]}
    sham = [row["is_sham_change"] and row["trial"] in whole for row in rows]
    same(f"{name}: presentations.is_sham_change", table["is_sham_change"].astype(float), np.array(sham, float))
    if not table["active"].all():
        fail(f"{name}: presentations.active: some flashes of the task are not")


def compare_gray_and_movie(name: str, session: BehaviorSession, expected: dict[str, Any]) -> None:
    """Compare what is no flash: one row a block of gray, one a picture of the movie, and nothing else."""
    table, delay_s = session.stimulus_presentations, expected["delay_s"]
    is_gray, is_flash = table["stimulus_name"] == "spontaneous", table["image_name"].notna()
    gray, movie = table[is_gray], table[~is_gray & ~is_flash]
    blocks = [
        (row["start_flip"], row["start_time_s"], row["end_time_s"])
        for row in expected["presentations"]
        if row["block"] not in NO_GRAY and row["end_time_s"] > row["start_time_s"]
    ]
    for what, read, ours in (("gray", gray, blocks), ("movie", movie, expected["pictures"])):
        columns = list(zip(*ours, strict=True)) or [()] * 5
        same(f"{name}: {what}.start_frame", read["start_frame"], columns[0])
        same(f"{name}: {what}.start_time", read["start_time"], [time_s + delay_s for time_s in columns[1]])
        same(f"{name}: {what}.end_time", read["end_time"], [time_s + delay_s for time_s in columns[2]])
        if what == "movie" and ours:
            same(f"{name}: movie.movie_frame_index", read["movie_frame_index"], columns[3])
            same(f"{name}: movie.movie_repeat", read["movie_repeat"], columns[4])


def compare_running(name: str, session: BehaviorSession) -> None:
    raw = session._running_acquisition.value
    encoder = {"dx": raw["dx"].values, "vsig": raw["v_sig"].values, "vin": raw["v_in"].values}
    data, times_s = {"items": {"behavior": {"encoders": [encoder]}}}, raw.index.values
    for column, is_low in (("running_speed", True), ("raw_running_speed", False)):
        theirs = get_running_df(data, times_s, lowpass=is_low)["speed"].values
        if theirs.mean() < -1:
            theirs = -theirs
        ours = getattr(session, column)["speed"].values
        if not np.allclose(theirs, ours, rtol=0, atol=1e-8, equal_nan=True):
            fail(f"{name}: {column} is up to {np.nanmax(np.abs(theirs - ours))} cm/s off what AllenSDK makes of v_sig")


def compare_metrics(name: str, session: BehaviorSession, expected: dict[str, Any]) -> str:
    ours = expected["metrics"]
    try:
        read = session.get_performance_metrics()
    except ValueError as error:
        if not expected["n_not_aborted"]:
            return f"no metrics: {NO_METRICS}"
        fail(f"{name}: get_performance_metrics: {error}")
    if set(read) != set(ours):
        fail(f"{name}: metrics are {sorted(read)}, ours {sorted(ours)}")
    for key, theirs in read.items():
        value = float(theirs)
        if not (
            value == ours[key] or abs(value - ours[key]) < LAST_BITS or (math.isnan(value) and math.isnan(ours[key]))
        ):
            fail(f"{name}: {key} is {value!r}, ours {ours[key]!r}")
    return (
        f"{read['hit_trial_count']} hits, {read['false_alarm_trial_count']} false alarms, d' {read['mean_dprime']:.3f}"
    )


def compare_templates(name: str, session: BehaviorSession, expected: dict[str, Any]) -> None:
    names, templates = expected.get("templates"), session.stimulus_templates
    if names is None:
        if templates is not None and len(templates):
            fail(f"{name}: it has templates that nobody gave it")
        return
    same(f"{name}: templates", templates.index, names)
    for frame in ("warped", "unwarped"):
        shapes = {pixels.shape for pixels in templates[frame]}
        if shapes != {(1200, 1920)}:
            fail(f"{name}: {frame} templates have shapes {shapes}")


def main(folder: Path) -> None:
    paths = sorted(folder.iterdir())
    if not paths:
        fail(f"{folder} holds no session")
    for path in paths:
        name = path.name
        expected = json.loads((path / "expected.json").read_text(encoding="utf-8"))
        refusal = NOT_OPENED.get(name, None if expected["trials"] else TOO_YOUNG)
        if refusal is not None:
            try:
                BehaviorSession.from_nwb_path(str(path / "session.nwb"))
            except type(refusal) as error:
                if str(error) != str(refusal):
                    fail(f"{name}: can't be opened, but for another reason than {refusal!r}: {error!r}")
                why = expected["stage"] if name in NOT_OPENED else "it is too young to have a trial"
                print(f"{name}: can't be opened, as expected ({why}; {error!r})", flush=True)
                continue
            fail(f"{name}: opens now; move it to the others")
        session = BehaviorSession.from_nwb_path(str(path / "session.nwb"))
        attributes = [n for n, _ in inspect.getmembers(BehaviorSession, lambda o: isinstance(o, property))]
        for attribute in attributes:
            getattr(session, attribute)
        for method in ("get_reward_rate", "get_rolling_performance_df"):
            if expected["n_not_aborted"]:
                getattr(session, method)()
        compare_trials(name, session, expected)
        same(f"{name}: stimulus_timestamps", session.stimulus_timestamps, expected["flip_times_s"])
        compare_presentations(name, session, expected)
        compare_gray_and_movie(name, session, expected)
        licks = np.array(expected["licks"], float).reshape(-1, 2)
        same(f"{name}: licks.timestamps", session.licks["timestamps"], licks[:, 0])
        same(f"{name}: licks.frame", session.licks["frame"], licks[:, 1])
        rewards = np.array(expected["rewards"], float).reshape(-1, 3)
        same(f"{name}: rewards.timestamps", session.rewards["timestamps"], rewards[:, 0])
        same(f"{name}: rewards.volume", session.rewards["volume"], rewards[:, 1] / 1000)
        same(f"{name}: rewards.auto_rewarded", session.rewards["auto_rewarded"], rewards[:, 2])
        compare_running(name, session)
        compare_templates(name, session, expected)
        told = compare_metrics(name, session, expected)
        print(
            f"{name}: {len(attributes)} attributes, {len(session.trials)} trials, {len(session.licks)} licks, "
            f"{len(session.rewards)} rewards, {len(session.stimulus_presentations)} presentations equal; {told}",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
