"""AllenSDK reads our sync files: run by its own environment, which has nothing of ours.

Usage: ``python allensdk_reads_sync.py SESSION_FOLDER``, with another session in ``steady`` below it; prints what
agrees, exits 1 at the first thing that doesn't.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")
from allensdk.brain_observatory.behavior.sync import get_sync_data  # noqa: E402
from allensdk.brain_observatory.sync_dataset import Dataset  # noqa: E402
from allensdk.internal.brain_observatory.time_sync import calculate_monitor_delay  # noqa: E402

TOLERANCE_S = 1.1e-5
"""The file counts 10 us."""
STREAMS = {
    "stimulus_times_no_delay": ("vsync_stim", ("falling",)),
    "stim_photodiode": ("stim_photodiode", ("rising", "falling")),
    "ophys_frames": ("vsync_2p", ("rising",)),
    "ophys_trigger": ("acq_trigger", ("rising",)),
    "lick_times": ("lick_sensor", ("rising",)),
    "behavior_monitoring": ("cam1_exposure", ("rising",)),
    "eye_tracking": ("cam2_exposure", ("rising",)),
}
"""What AllenSDK calls each stream, our line, and the edges that count."""


def main(folder: Path) -> None:
    """Compare all streams, and the monitor's delay."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    path = str(folder / "sync.h5")
    read = get_sync_data(path)
    first_s = np.asarray(Dataset(path).get_all_times("seconds"))[1]
    n = 0
    for name, (label, kinds) in STREAMS.items():
        ours_s = np.sort(np.concatenate([expected["lines"][label][kind] for kind in kinds]))
        read_s = np.asarray(read[name], float) - first_s
        if len(read_s) != len(ours_s):
            sys.exit(f"{name}: AllenSDK reads {len(read_s)}, we recorded {len(ours_s)}")
        if np.abs(read_s - ours_s).max() > TOLERANCE_S:
            sys.exit(f"{name}: AllenSDK's times differ by up to {np.abs(read_s - ours_s).max():.6f} s")
        n += len(read_s)
    if len(read["stimulus_times_no_delay"]) != expected["n_flips"]:
        sys.exit(f"AllenSDK reads {len(read['stimulus_times_no_delay'])} frames of {expected['n_flips']} flips")
    if len(read["ophys_frames"]) != expected["n_frames"]:
        sys.exit(f"AllenSDK reads {len(read['ophys_frames'])} 2-photon frames, we count {expected['n_frames']}")
    delay_s = calculate_monitor_delay(Dataset(path), read["stimulus_times_no_delay"], "stim_photodiode")
    if abs(delay_s - expected["monitor_delay_s"]) > TOLERANCE_S:
        sys.exit(f"monitor delay: AllenSDK has {delay_s:.6f} s, we have {expected['monitor_delay_s']:.6f} s")
    print(
        f"AllenSDK reads {len(STREAMS)} streams, {n} times as we recorded them; monitor's delay {delay_s * 1e3:.3f} ms "
        f"as ours ({expected['monitor_delay_s'] * 1e3:.3f} ms)."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    main(Path(sys.argv[1]) / "steady")
