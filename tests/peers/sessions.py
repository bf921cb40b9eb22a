"""Makes the sessions that other people's readers are tried on: ``python -m tests.peers.sessions FOLDER``."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import numpy as np

from hardware.lines import IDLE_STATE, Line
from hardware.pulses import delays_of
from rig.log.reader import SessionLog, read_session
from rig.log.writer import LogWriter
from rig.records.alignment import alignment_of, frame_times_s
from rig.records.card_lines import CardLines
from rig.records.products import write_products
from stimuli.patch import PATCH_FLIPS
from tests.builders import rig_config, run, stage

EXPECTED = "expected.json"
STEADY = "steady"


def edges_of(log: SessionLog) -> dict[str, dict[str, list[float]]]:
    """Return each line's rises and falls in seconds from the first edge of all, from the card's own ticks."""
    edges = log.edges()
    since_s = (edges["ticks"] - edges["ticks"][0]) / 1e8
    states = np.concatenate([[log.started.lines_before or IDLE_STATE], edges["state"]]).astype(np.int64)
    result = {}
    for line in Line:
        level = (states & line.mask != 0).astype(np.int8)
        change = np.diff(level)
        result[line.label] = {
            "rising": since_s[change == 1].tolist(),
            "falling": since_s[change == -1].tolist(),
        }
    return result


def expected_of(log: SessionLog) -> dict[str, object]:
    """Return what a reader of a session's sync file should find."""
    lines = CardLines.of(log)
    alignment = alignment_of(log)
    assert alignment.delay_from_pulses_s is not None
    falls_s = lines.falls_s(Line.VSYNC_STIM)
    changes_s, levels = lines.changes_s(Line.STIM_PHOTODIODE)
    delays_s, at = delays_of(changes_s, levels, flips_s=falls_s, every=PATCH_FLIPS)
    return {
        "n_flips": len(log.flips),
        "n_frames": len(frame_times_s(lines)),
        "monitor_delay_s": alignment.delay_from_pulses_s,
        "bright_delays_s": delays_s[at // PATCH_FLIPS % 2 == 0].tolist(),
        "lines": edges_of(log),
    }


def make(folder: Path, *, behaviour: str, seed: int, plane_groups: int) -> None:
    """Make an imaging session of three minutes with its products, and what a reader should find."""
    microscope = {
        "kind": "simulated",
        "plane_groups": plane_groups,
        "frame_rate_hz": 31.0 if plane_groups == 1 else 11.0,
    }
    config = rig_config("simulated_imaging", behaviour=behaviour, microscope=microscope)
    with contextlib.closing(LogWriter(folder)) as log:
        run(stage(task_duration_min=3.0), config, seed=seed, log=log)
    session = read_session(folder)
    write_products(session)
    (folder / EXPECTED).write_text(json.dumps(expected_of(session)), encoding="utf-8")


def main(folder: Path) -> None:
    """Make a session whose monitor drops flips, and one of four plane groups whose monitor doesn't, below it."""
    make(folder, behaviour="dropping", seed=5, plane_groups=1)
    make(folder / STEADY, behaviour="jittering", seed=6, plane_groups=4)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
