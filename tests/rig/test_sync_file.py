"""The session's edges as the laboratory's sync file."""

from __future__ import annotations

import ast
import contextlib
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from hardware.lines import Line
from rig.log.reader import SessionLog, read_session
from rig.log.schema import EDGE_DTYPE
from rig.log.writer import EVENTS, LogWriter
from rig.records.products import SYNC_FILE, write_products
from rig.records.sync_file import SAMPLES_PER_S, sync_data, sync_image
from tests.builders import recorded, rig_config, run, stage


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SessionLog:
    folder = tmp_path_factory.mktemp("sessions") / "one"
    with contextlib.closing(LogWriter(folder)) as writer:
        run(stage(task_duration_min=0.5), rig_config("simulated_imaging"), seed=2, log=writer)
    write_products(read_session(folder))
    return read_session(folder)


def opened(log: SessionLog) -> tuple[np.ndarray, dict]:
    with h5py.File(log.folder / SYNC_FILE) as file:
        return file["data"][()], ast.literal_eval(file["meta"][()].decode())


def test_it_holds_every_edge_of_every_line_to_ten_microseconds(log: SessionLog) -> None:
    data, meta = opened(log)
    edges = log.edges()
    assert data.dtype == np.uint32
    assert len(data) == len(edges) + 1
    since_s = (edges["ticks"] - edges["ticks"][0]) / 1e8
    samples_s = (data[1:, 0].astype(np.int64) - data[1, 0]) / meta["ni_daq"]["counter_output_freq"]
    assert np.abs(samples_s - since_s).max() <= 1e-5
    assert (data[1:, 1] == edges["state"]).all()
    for line in Line:
        assert meta["line_labels"][line] == line.label
    changed = data[1:, 1] ^ data[:-1, 1]
    n_falls = int(((changed & Line.VSYNC_STIM.mask != 0) & (data[1:, 1] & Line.VSYNC_STIM.mask == 0)).sum())
    assert n_falls == len(log.flips), "a frame pulse a flip, the first one too"


def test_its_header_has_the_fields_and_types_of_a_real_one(log: SessionLog) -> None:
    _, meta = opened(log)
    with h5py.File(recorded("allen/sync.h5")) as file:
        real = ast.literal_eval(file["meta"][()].decode())
        assert file["data"].dtype == np.uint32
        assert file["data"].ndim == 2
    assert {name: type(value) for name, value in meta.items()} == {name: type(value) for name, value in real.items()}
    assert {k: type(v) for k, v in meta["ni_daq"].items()} == {k: type(v) for k, v in real["ni_daq"].items()}
    assert len(meta["line_labels"]) == len(real["line_labels"]) == 32
    took_s = (datetime.fromisoformat(meta["stop_time"]) - datetime.fromisoformat(meta["start_time"])).total_seconds()
    assert took_s == pytest.approx(meta["total_samples"] / SAMPLES_PER_S, abs=1e-4)


def test_the_count_wraps_as_its_readers_expect() -> None:
    edges = np.zeros(3, EDGE_DTYPE)
    edges["ticks"] = [5, 2**32 * 1000 + 5, 2**32 * 1000 + 2005]
    samples = sync_data(edges, lines_before=None)[:, 0].astype(np.int64)
    assert (np.diff(samples) % 2**32).tolist()[1:] == [0, 2]


def test_a_crashed_session_has_one_and_so_has_one_without_any_edge(log: SessionLog, tmp_path: Path) -> None:
    lines = (log.folder / EVENTS).read_bytes().splitlines(keepends=True)
    (tmp_path / EVENTS).write_bytes(b"".join(lines[:40]) + b'{"torn')
    crashed = read_session(tmp_path)
    assert crashed.ended is None
    (tmp_path / SYNC_FILE).write_bytes(sync_image(crashed))
    data, meta = opened(crashed)
    assert data.tolist() == [[0, Line.VSYNC_STIM.mask]]
    assert meta["total_samples"] == 0


def test_a_line_that_is_high_before_the_first_edge_has_not_risen() -> None:
    photodiode, frame = Line.STIM_PHOTODIODE.mask, Line.VSYNC_STIM.mask
    edges = np.array([(1_000, photodiode), (2_000, photodiode | frame)], EDGE_DTYPE)
    states = sync_data(edges, lines_before=photodiode | frame)[:, 1]
    assert states.tolist() == [photodiode | frame, photodiode, photodiode | frame]
