"""What a session costs: an hour in fast mode, a step in real time, memory, its NWB file.

Figures are for the machine they were taken on, which is named with them. Nothing here is a test: a bound that
a busy machine would miss belongs in no suite.
"""

from __future__ import annotations

import platform
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
import psutil
from rich.table import Table

from hardware.simulated.mice import MouseKind
from rig.config.files import load_rig, load_stage
from rig.display import bench as of_window
from rig.link_bench import measure_link
from rig.log.reader import read_session
from rig.log.schema import Entry, LogError
from rig.log.writer import LogThread, LogWriter, MemoryLog
from rig.records.finish import export_apart
from rig.records.folds import Folds
from rig.records.products import write_products
from rig.session.assemble import SessionPlan, assembled
from rig.session.realtime import real_time
from stages.parameters import Stage

STAGE, RIG, IMAGING_RIG = "OPHYS_1_images_A", "simulated", "simulated_imaging"
REPEATS = 3
LINK_COMMANDS = 500
Figure = dict[str, float | str]


def measure(*, real_time_s: float) -> list[Figure]:
    """Return all figures: name, value, unit, and the bound that is aimed at where there is one."""
    figures: list[Figure] = [
        {"name": "machine", "value": f"{platform.platform()}, {psutil.cpu_count()} cores", "unit": ""},
        {"name": "python", "value": platform.python_version(), "unit": ""},
        {"name": "plain interpreter loop", "value": yardstick_ns(), "unit": "ns an iteration"},
    ]
    with tempfile.TemporaryDirectory() as folder:
        figures += _fast(Path(folder))
        figures += _exported(Path(folder))
        figures += _paced(Path(folder), real_time_s)
        figures += measure_link(n=LINK_COMMANDS)
        figures += of_window(Path(folder) / "window", max(real_time_s, 5.0))
    return figures


def table(figures: list[Figure]) -> Table:
    """Return the figures as a table for people."""
    result = Table("figure", "value", "unit", "aim")
    for f in figures:
        value = f["value"]
        shown = value if isinstance(value, str) else f"{value:.4g}"
        aim = f.get("aim")
        result.add_row(str(f["name"]), shown, str(f["unit"]), "" if aim is None else f"≤ {aim:g}")
    return result


def short_stage(*, minutes: float) -> Stage:
    """Return the bench's stage with so much task and hardly anything around it."""
    short = {"task_duration_min": minutes, "gray_before_s": 1.0, "gray_after_s": 1.0, "movie": None}
    return load_stage(STAGE).model_copy(update=short)


def _plan(
    *, fast: bool, folder: Path, kind: MouseKind = MouseKind.PERFECT, minutes: float | None = None
) -> SessionPlan:
    return SessionPlan(
        mouse="bench",
        stage=load_stage(STAGE) if minutes is None else short_stage(minutes=minutes),
        rig=load_rig(RIG),
        seed=1,
        mouse_kind=kind,
        fast=fast,
        session_id=UUID(int=1),
        folder=folder,
        who="bench",
    )


def _fast(folder: Path) -> list[Figure]:
    """Time whole sessions on a virtual clock, and what memory one takes."""
    parts, figure_s = _timed(folder / "perfect", MouseKind.PERFECT)
    stochastic, _ = _timed(folder / "stochastic", MouseKind.STOCHASTIC)
    sums = {"fast: these together": parts, "fast mode, stochastic mouse": stochastic}
    per_hour = "s per session-hour"
    figures: list[Figure] = [
        {"name": f"fast: {name}", "value": seconds, "unit": per_hour} for name, seconds in parts.items()
    ]
    figures += [{"name": name, "value": sum(of.values()), "unit": per_hour, "aim": 0.3} for name, of in sums.items()]
    figures.append({"name": "tables, summary, figure", "value": figure_s, "unit": "s per session"})
    growth_mb = _memory_growth_mb(folder)
    figures.append({"name": "memory growth over an hour", "value": growth_mb, "unit": "MB", "aim": 20.0})
    return figures


def _timed(folder: Path, kind: MouseKind) -> tuple[dict[str, float], float]:
    """Return what each part of a session takes per session-hour, and its tables and figure; the best of some runs."""
    loop_s, log_s, fold_s, figure_s = [], [], [], []
    hours = 1.0
    for n in range(REPEATS):
        log = MemoryLog()
        with real_time(), assembled(_plan(fast=True, folder=folder, kind=kind), log=log) as loop:
            begun_s = time.perf_counter()
            ended = loop.run()
            loop_s.append(time.perf_counter() - begun_s)
        hours = ended.time_s / 3600
        begun_s = time.perf_counter()
        writer = LogWriter(folder / f"log{n}")
        for entry in log.entries:
            writer.append(entry)
        for rows in log.flip_rows:
            writer.flips(rows)
        for rows in log.edge_rows:
            writer.edges(ticks=rows["ticks"].astype(np.int64), states=rows["state"])
        writer.pump()
        log_s.append(time.perf_counter() - begun_s)
        writer.close()
        begun_s = time.perf_counter()
        Folds.of(log.entries)
        fold_s.append(time.perf_counter() - begun_s)
        begun_s = time.perf_counter()
        write_products(read_session(folder / f"log{n}"))
        figure_s.append(time.perf_counter() - begun_s)
        del log
    parts = {"loop, devices, mouse": min(loop_s), "log": min(log_s), "folds": min(fold_s)}
    return {name: seconds / hours for name, seconds in parts.items()}, min(figure_s)


def _exported(folder: Path) -> list[Figure]:
    """Record an imaging session of an hour, with gray, movie and all edges 75 minutes, and time its NWB file."""
    plan = replace(_plan(fast=True, folder=folder / "export", kind=MouseKind.STOCHASTIC), rig=load_rig(IMAGING_RIG))
    with closing(LogWriter(plan.folder)) as log, real_time(), assembled(plan, log=log) as loop:
        loop.run()
    begun_s = time.perf_counter()
    told = export_apart(plan.folder)
    seconds = time.perf_counter() - begun_s
    if told.path is None:
        raise LogError(told.problem or "no NWB file was made")
    return [
        {"name": "NWB file, its process included", "value": seconds, "unit": "s per session", "aim": 10.0},
        {"name": "NWB file", "value": told.path.stat().st_size / 1e6, "unit": "MB per session", "aim": 30.0},
    ]


def _memory_growth_mb(folder: Path) -> float:
    """Run a session that writes to disk; return how much memory grew from its fifth minute, per hour."""
    process = psutil.Process()
    samples: list[tuple[float, int]] = []
    folds = Folds()
    next_s = [300.0]

    def watch(entry: Entry) -> None:
        folds.feed(entry)
        time_s = entry.refresh / 60
        if time_s >= next_s[0]:
            samples.append((time_s, process.memory_info().rss))
            next_s[0] = time_s + 60

    writer = LogWriter(folder / "memory")
    with real_time(), assembled(_plan(fast=True, folder=folder), log=writer, observers=(watch,)) as loop:
        loop.run()
    writer.close()
    (begun_s, first), (ended_s, last) = samples[0], samples[-1]
    return (last - first) / 1e6 / (ended_s - begun_s) * 3600


def _paced(folder: Path, real_time_s: float) -> list[Figure]:
    """Run in real time without drawing; measure every step, the columns it hands to the log included."""
    steps_s: list[float] = []
    log = LogThread(LogWriter(folder / "paced"))
    plan = _plan(fast=False, folder=folder, minutes=max(real_time_s, 5.0) / 60)
    with real_time(), assembled(plan, log=log, on_step=steps_s.append) as loop:
        loop.run()
    log.close()
    recorded = read_session(folder / "paced")
    steps_us = np.sort(np.array(steps_s)) * 1e6
    late = int((recorded.flips["n_missed"] > 0).sum())

    def quantile(q: float) -> float:
        return float(np.quantile(steps_us, q))

    return [
        {"name": "real time: step, median", "value": quantile(0.5), "unit": "us", "aim": 50.0},
        {"name": "real time: step, 99 %", "value": quantile(0.99), "unit": "us"},
        {"name": "real time: step, 99.9 %", "value": quantile(0.999), "unit": "us", "aim": 1000.0},
        {"name": "real time: step, longest", "value": float(steps_us[-1]), "unit": "us"},
        {"name": "real time: late flips", "value": float(late), "unit": f"of {len(recorded.flips)}"},
        {"name": "measured at", "value": datetime.now(UTC).isoformat(timespec="seconds"), "unit": ""},
    ]


def yardstick_ns() -> float:
    """Return what ten additions in a list comprehension cost here: machines differ by a factor of three."""
    n = 100_000
    begun_s = time.perf_counter()
    for _ in range(n):
        [i + 1 for i in range(10)]
    return (time.perf_counter() - begun_s) / n * 1e9
