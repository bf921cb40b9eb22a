"""Makes the sessions that other people's readers are tried on: ``python -m tests.peers.sessions FOLDER``."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import numpy as np

from hardware.lines import IDLE_STATE, Line
from rig.log.reader import SessionLog, read_session
from rig.log.writer import LogWriter
from rig.records.products import write_products
from tests.builders import rig_config, run, stage

EXPECTED = "expected.json"


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


def main(folder: Path) -> None:
    """Make an imaging session of three minutes with its products, and what a reader should find."""
    with contextlib.closing(LogWriter(folder)) as log:
        run(stage(task_duration_min=3.0), rig_config("simulated_imaging", behaviour="dropping"), seed=5, log=log)
    session = read_session(folder)
    write_products(session)
    found = {"n_flips": len(session.flips), "lines": edges_of(session)}
    (folder / EXPECTED).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
