"""npc_sync reads our sync file: run by its own environment, which has nothing of ours.

Usage: ``python npc_sync_reads.py SESSION_FOLDER``; prints what agrees, exits 1 at the first thing that doesn't.
"""

import json
import sys
from pathlib import Path

import npc_sync
import numpy as np

TOLERANCE_S = 1.1e-5
"""The file counts 10 us."""


def main(folder: Path) -> None:
    """Compare labels, every edge of every line, and the frame times."""
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
    total_s = sync.total_seconds
    print(
        f"npc_sync reads {len(labels)} lines, {n} edges, {len(frames)} frames of {total_s:.1f} s as we recorded them."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
