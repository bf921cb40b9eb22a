"""The session's edges as the laboratory's sync file, made from ``edges.bin``: a crashed session has one too.

``sync.h5`` holds what its readers look for (TASK_FACTS 8): ``data``, uint32 of shape (n, 2), a row an edge with the
count of a 100 kHz clock and the state of 32 lines after it; ``meta``, a Python literal with rates, labels and times.
The card's fast ticks are cut to 10 us here and nowhere else. Count 0 is a tenth of a second before the first edge;
the count wraps after 11.9 hours, as the readers expect.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import h5py
import numpy as np

import rig
from hardware.arrays import AnyArray
from hardware.clock import TICKS_PER_S
from hardware.lines import IDLE_STATE, Line
from rig.log.reader import SessionLog

SAMPLES_PER_S = 100_000
_TICKS_PER_SAMPLE = TICKS_PER_S // SAMPLES_PER_S
_WRAP = 2**32
FIRST_SAMPLE = SAMPLES_PER_S // 10
"""The count of the first edge: readers want a row before it."""
FILE_VERSION = "1.0.0"


def sync_data(edges: AnyArray, *, lines_before: int | None) -> AnyArray:
    """Return the rows of a sync file for edges, uint32 of shape (n + 1, 2): before all, then the state after each.

    Readers take an edge for the difference of two rows, so the first edge needs a row before it.

    Parameters
    ----------
    edges
        Array of ``EDGE_DTYPE``, in order.
    lines_before
        The state of all lines before the first of them; None where the log doesn't tell it: at rest.
    """
    data = np.zeros((len(edges) + 1, 2), np.uint32)
    data[0, 1] = IDLE_STATE if lines_before is None else lines_before
    data[1:, 0] = _samples(edges) % _WRAP
    data[1:, 1] = edges["state"]
    return data


def _samples(edges: AnyArray) -> AnyArray:
    """Return the count of each edge, not wrapped."""
    first = edges["ticks"][:1]
    return FIRST_SAMPLE + (edges["ticks"] - first) // _TICKS_PER_SAMPLE if len(edges) else np.zeros(0, np.int64)


def sync_meta(log: SessionLog, edges: AnyArray) -> dict[str, Any]:
    """Return what stands beside the rows; times are the rig's local ones, as in the laboratory's files."""
    labels = [""] * 32
    for line in Line:
        labels[line] = line.label
    spanned = int(_samples(edges)[-1]) + 1 if len(edges) else 0
    started = datetime.fromisoformat(log.started.started_at).astimezone().replace(tzinfo=None)
    return {
        "ni_daq": {
            "device": log.started.rig,
            "counter_output_freq": float(SAMPLES_PER_S),
            "sample_rate": float(SAMPLES_PER_S),
            "counter_bits": 32,
            "event_bits": 32,
        },
        "start_time": started.isoformat(" ", "microseconds"),
        "stop_time": (started + timedelta(seconds=spanned / SAMPLES_PER_S)).isoformat(" ", "microseconds"),
        "line_labels": labels,
        "timeouts": [],
        "version": f"open-vision-rig {rig.__version__}",
        "sampling_type": "frequency",
        "file_version": FILE_VERSION,
        "total_samples": spanned,
        "line_label_revision": 1,
    }


def sync_image(log: SessionLog) -> bytes:
    """Return the bytes of a session's sync file, made in memory: see ``whole``."""
    edges = log.edges()
    with h5py.File("sync.h5", "w", driver="core", backing_store=False) as file:
        file.create_dataset("data", data=sync_data(edges, lines_before=log.started.lines_before))
        file.create_dataset("meta", data=np.bytes_(repr(sync_meta(log, edges))))
        file.flush()
        return bytes(file.id.get_file_image())
