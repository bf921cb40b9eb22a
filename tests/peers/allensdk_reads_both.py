"""AllenSDK reads a recorded session from camstim's pickle and from our NWB file of it: run by its own environment.

Usage: ``python allensdk_reads_both.py FOLDER``, which ``imported_session`` made. Every column of its trials, its licks,
rewards and presentations must be equal, to the bit, and its figures those that it prints of a file of its own
(TASK_FACTS 4.6). Running speed comes from voltages that we keep as 32-bit floats: its largest difference is printed.
"""

import math
import pickle
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

warnings.filterwarnings("ignore")
from allensdk.brain_observatory.behavior.behavior_session import BehaviorSession  # noqa: E402
from allensdk.brain_observatory.behavior.data_files import BehaviorStimulusFile  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects import StimulusTimestamps  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.licks import Licks  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.rewards import Rewards  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.running_speed.running_speed import RunningSpeed  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.stimuli.presentations import Presentations  # noqa: E402
from allensdk.brain_observatory.behavior.data_objects.trials.trials import Trials  # noqa: E402

DELAY_S = 0.02115
FIGURES = {
    "trial_count": 953,
    "go_trial_count": 94,
    "catch_trial_count": 16,
    "hit_trial_count": 81,
    "miss_trial_count": 13,
    "false_alarm_trial_count": 6,
    "correct_reject_trial_count": 10,
    "auto_reward_count": 5,
    "earned_reward_count": 81,
    "total_reward_count": 86,
    "total_reward_volume": 0.5920000000000001,  # the sheet rounds it
    "maximum_reward_rate": 3.2597812735834326,
    "engaged_trial_count": 206,
    "mean_hit_rate": 0.8574007178595939,
    "mean_hit_rate_uncorrected": 0.8668704148292908,
    "mean_hit_rate_engaged": 0.8542888224407209,
    "mean_false_alarm_rate": 0.46797997040715483,
    "mean_false_alarm_rate_uncorrected": 0.45341686361103833,
    "mean_false_alarm_rate_engaged": 0.4388444888444888,
    "mean_dprime": 1.1782375965334728,
    "mean_dprime_engaged": 1.210553509413356,
    "max_dprime": 1.5625188199215767,
    "max_dprime_engaged": 1.4405398314267275,
}
"""TASK_FACTS 4.6: AllenSDK 2.16.2 over its own NWB file of this session."""
COUNTS = {"licks": 2908, "rewards": 86, "stimulus_timestamps": 270072, "stimulus_presentations": 13791}
N_STIMULUS_FRAMES = 72196
LARGEST_SPEED_CM_S = 0.05
PICTURES = tempfile.TemporaryDirectory(prefix="pictures-")


def fail(what: str) -> NoReturn:
    sys.exit(f"AllenSDK: {what}")


def plain(value: Any) -> Any:
    """Return a value that can be compared: missing ones alike, numbers as floats."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (bool, np.bool_, int, float, np.integer, np.floating)):
        return None if math.isnan(float(value)) else float(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(one) for one in value]
    return None if str(value) in ("<NA>", "nan") else str(value)


def same(name: str, theirs: Any, ours: Any) -> None:
    """Compare two columns, equal to the bit."""
    theirs, ours = [plain(v) for v in theirs], [plain(v) for v in ours]
    if len(theirs) != len(ours):
        fail(f"{name}: {len(theirs)} rows in the pickle, {len(ours)} in our file")
    for row, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        if a != b:
            fail(f"{name}: row {row} is {a!r} in the pickle, {b!r} in our file")


def compare_presentations(theirs: Any, ours: Any) -> None:
    """Compare what was on the screen, kind by kind.

    Left out: how the set of pictures is called; the first frame of gray after the task (AllenSDK lets it begin with the
    last flash's end) and its start before it (0, without the monitor's delay); the last frame of a movie's picture,
    which is in it there and behind it here; and, in rows that are no flash, what AllenSDK makes up when it reads any
    NWB file.
    """
    if len(theirs) != len(ours):
        fail(f"presentations: {len(theirs)} in the pickle, {len(ours)} in our file")
    everywhere = ["end_time", "image_name", "image_index", "omitted", "stimulus_block", "trials_id", "active"]
    times = ["start_frame", "start_time", "duration"]
    is_flash = theirs["image_name"].notna().to_numpy()
    is_movie = (theirs["stimulus_name"] == "natural_movie_one").to_numpy()
    for rows, what, columns in (
        (is_flash | True, "presentations", everywhere),
        (is_flash, "flashes", [*times, "end_frame", "is_change", "is_sham_change"]),
        (is_movie, "movie", [*times, "movie_frame_index", "movie_repeat", "stimulus_name"]),
    ):
        for column in columns:
            same(f"{what}.{column}", theirs[column][rows], ours[column][rows])


def as_at_home(file: BehaviorStimulusFile) -> None:
    """Hand AllenSDK what it looks for in its laboratory: the file of pictures, here blank, and who saw them before."""
    images = file.data["items"]["behavior"]["stimuli"]["images"]
    names = sorted({str(name) for _, name, _, _ in images["set_log"]})
    path = Path(PICTURES.name) / "Natural_Images_Lum_Matched_set_training_2017.07.14.pkl"
    path.write_bytes(pickle.dumps({name.encode(): {name.encode(): np.zeros((2, 2), np.uint8)} for name in names}))
    images["image_path"] = str(path)
    Presentations._add_is_image_novel = staticmethod(lambda **_: None)


def main(folder: Path) -> None:
    recorded = folder / "camstim.pkl"
    if (folder / "nothing_recorded.txt").is_file():
        print("There are no recorded data beside the checkout: nothing to read.")
        return
    if not recorded.is_file():
        fail(f"{recorded} is missing")
    file = BehaviorStimulusFile.from_json({"behavior_stimulus_file": str(recorded)})
    clock = StimulusTimestamps.from_stimulus_file(stimulus_file=file, monitor_delay=0.0)
    display = StimulusTimestamps.from_stimulus_file(stimulus_file=file, monitor_delay=DELAY_S)
    licks = Licks.from_stimulus_file(stimulus_file=file, stimulus_timestamps=clock)
    rewards = Rewards.from_stimulus_file(stimulus_file=file, stimulus_timestamps=clock)
    trials = Trials.from_stimulus_file(stimulus_file=file, stimulus_timestamps=display, licks=licks, rewards=rewards)
    session = BehaviorSession.from_nwb_path(str(folder / "session" / "session.nwb"))

    read = session.trials
    columns = sorted(trials.data.columns)
    missing = [column for column in columns if column not in read]
    if missing:
        fail(f"our trials lack {missing}")
    for column in columns:
        same(f"trials.{column}", trials.data[column], read[column])
    for column in licks.value:
        same(f"licks.{column}", licks.value[column], session.licks[column])
    for column in rewards.value:
        same(f"rewards.{column}", rewards.value[column], session.rewards[column])
    same("stimulus_timestamps", clock.value, session.stimulus_timestamps)

    as_at_home(file)
    shown = Presentations.from_stimulus_file(
        stimulus_file=file,
        stimulus_timestamps=display,
        behavior_session_id=0,
        trials=trials,
    ).value
    compare_presentations(shown.rename(columns={"stop_time": "end_time"}), session.stimulus_presentations)

    largest = 0.0
    for is_low, attribute in ((True, "running_speed"), (False, "raw_running_speed")):
        theirs = RunningSpeed.from_stimulus_file(behavior_stimulus_file=file, filtered=is_low).value["speed"]
        off = np.abs(theirs.to_numpy() - getattr(session, attribute)["speed"].to_numpy())
        largest = max(largest, float(np.nanmax(off)))
    if largest > LARGEST_SPEED_CM_S:
        fail(f"running speed is up to {largest:g} cm/s off")

    for name, n in COUNTS.items():
        if len(getattr(session, name)) != n:
            fail(f"{name}: {len(getattr(session, name))}, and {n} in a file of its own")
    if session.task_parameters["n_stimulus_frames"] != N_STIMULUS_FRAMES:
        fail(f"n_stimulus_frames is {session.task_parameters['n_stimulus_frames']}, not {N_STIMULUS_FRAMES}")
    metrics = session.get_performance_metrics()
    for name, figure in FIGURES.items():
        if metrics[name] != figure:
            fail(f"{name} is {metrics[name]!r}, and {figure!r} of a file of its own")
    print(
        f"recorded session: {len(read)} trials, {len(columns)} columns equal; {len(session.licks)} licks, "
        f"{len(session.rewards)} rewards, {len(session.stimulus_presentations)} presentations equal; "
        f"running speed within {largest:.2g} cm/s"
    )
    print("\n".join(f"  {name} {value}" for name, value in metrics.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
