"""npc_sync reads our sync files: run by its own environment, which has nothing of ours.

Usage: ``python npc_sync_reads.py SESSION_FOLDER``, with another session in ``steady`` below it; prints what agrees,
exits 1 at the first thing that doesn't.
"""

import json
import sys
from pathlib import Path

import npc_sync
import npc_sync.sync
import numpy as np

TOLERANCE_S = 1.1e-5
"""The file counts 10 us."""


PATCH_FLIPS = 60


def display_times(sync: npc_sync.SyncDataset, expected: dict) -> str:
    """Compare the times at which npc_sync has the frames on the screen, by the photodiode, with ours."""
    frames_s = np.asarray(sync.get_falling_edges("vsync_stim", units="seconds"), float)
    low_s, high_s = frames_s[0] + npc_sync.sync.MIN_VSYNC_DIODE_FLIP_SEPARATION_SEC, frames_s[-1] + 5 / 60
    bright, dark = (
        np.array([s for s in edges_s if low_s < s < high_s])
        for edges_s in (
            sync.get_rising_edges("stim_photodiode", units="seconds"),
            sync.get_falling_edges("stim_photodiode", units="seconds"),
        )
    )
    if len(bright) > len(dark):  # which it can't take
        bright, frames_s = bright[:-1], frames_s[: 2 * PATCH_FLIPS * len(dark)]
    shown_s = npc_sync.sync.get_frame_display_times(frames_s, bright, dark, PATCH_FLIPS)
    if len(shown_s) != len(frames_s):
        sys.exit(f"display times: npc_sync has {len(shown_s)}, we have {len(frames_s)} frames")
    turns_bright = slice(None, None, 2 * PATCH_FLIPS)
    delay_s = float((shown_s[turns_bright] - frames_s[turns_bright]).mean())
    ours_s = float(np.mean(expected["bright_delays_s"][: len(bright)]))
    if abs(delay_s - ours_s) > TOLERANCE_S:
        sys.exit(f"monitor delay: npc_sync has {delay_s:.6f} s, we have {ours_s:.6f} s")
    return f"monitor's delay {delay_s * 1e3:.3f} ms as ours ({ours_s * 1e3:.3f} ms, edges to bright)"


def main(folder: Path, *, is_steady: bool = False) -> None:
    """Compare labels, every edge of every line, and the frame times; of a steady monitor the display times too."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    sync = npc_sync.SyncDataset(folder / "sync.h5")
    labels = [label for label in sync.line_labels if label]
    if sorted(labels) != sorted(expected["lines"]):
        sys.exit(f"labels: npc_sync reads {sorted(labels)}, we wrote {sorted(expected['lines'])}")
    first_s = sync.get_all_times("seconds")[1]
    n = 0
    for label, edges in expected["lines"].items():
        for kind, ours_s in edges.items():
            read_s = np.asarray(sync.get_edges(kind, label, units="seconds"), float) - first_s
            if len(read_s) != len(ours_s):
                sys.exit(f"{label}, {kind}: npc_sync reads {len(read_s)} edges, we recorded {len(ours_s)}")
            if len(read_s) and np.abs(read_s - np.array(ours_s)).max() > TOLERANCE_S:
                sys.exit(f"{label}, {kind}: npc_sync's times differ by up to {np.abs(read_s - ours_s).max():.6f} s")
            n += len(read_s)
    frames = sync.get_falling_edges("vsync_stim", units="seconds")
    if len(frames) != expected["n_flips"]:
        sys.exit(f"frames: npc_sync reads {len(frames)}, the session had {expected['n_flips']} flips")
    two_photon = sync.get_rising_edges("vsync_2p", units="seconds")
    if len(two_photon) != expected["n_frames"]:
        sys.exit(f"2-photon frames: npc_sync reads {len(two_photon)}, we count {expected['n_frames']}")
    shown = f"; {display_times(sync, expected)}" if is_steady else ""
    print(
        f"npc_sync reads {len(labels)} lines, {n} edges, {len(frames)} frames, {len(two_photon)} 2-photon frames of "
        f"{sync.total_seconds:.1f} s as we recorded them{shown}."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    main(Path(sys.argv[1]) / "steady", is_steady=True)
