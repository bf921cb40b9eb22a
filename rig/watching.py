"""A session run in a process of its own and watched from a terminal, then told of: ``rig run`` and ``rig start``."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rig.log.reader import Tail, read_session
from rig.records.finish import export_apart, finish
from rig.records.folds import Folds
from rig.records.products import FIGURE, SUMMARY_TEXT, write_products
from rig.records.summary import Summary
from rig.session.assemble import SessionPlan
from rig.session.process import start_process
from stages.parameters import StageParameters, SweepParameters

WATCH_S = 0.1


def run_and_watch(plan: SessionPlan, *, runtime_dir: Path, out: Console) -> str | None:
    """Run the session's process and show what its log says; return what went wrong, if anything."""
    process, pipe = start_process(plan, runtime_dir=runtime_dir, unwatched=finish)
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: process.terminate())  # which stops the session now
    folds, tail = Folds(), Tail(plan.folder)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn()
    total_s = _length_s(plan.stage)
    problem: str | None = None
    with Progress(*columns, console=out, transient=True) as progress:
        bar = progress.add_task("starting", total=total_s, told="")
        began = False
        while True:
            try:
                alive = process.is_alive()
                for entry in tail.read():
                    folds.feed(entry)
                    began = True
                if began:
                    summary = folds.summary.summary(running=True)
                    progress.update(
                        bar,
                        completed=min(summary.duration_s, total_s),
                        description=(summary.block or "done").replace("_", " "),
                        told=_told(summary),
                    )
                if not alive:
                    break
                time.sleep(WATCH_S)
            except KeyboardInterrupt:
                progress.update(bar, description="stopping now")  # the session got the same signal
        process.join()
    signal.signal(signal.SIGTERM, before)
    try:
        problem = pipe.recv()
    except EOFError:  # it died without a word
        problem = f"the session's process ended with code {process.exitcode}; what it recorded is in {plan.folder}"
    return problem


def tell_products(folder: Path, *, nwb: bool, out: Console, err: Console) -> bool:
    """Make a session's products and say what it came to; return whether all could be made."""
    write_products(read_session(folder))
    out.print((folder / SUMMARY_TEXT).read_text(encoding="utf-8").rstrip(), markup=False)
    out.print(f"Folder: {folder}\nFigure: {folder / FIGURE}", markup=False)
    if nwb:
        told = export_apart(folder)
        if told.path is None:
            err.print(f"[red]✗[/red] {escape(told.problem or '')}", markup=True)
            return False
        out.print(f"File: {told.path}", markup=False)
    return True


def _told(s: Summary) -> str:
    rates = "d′ --" if s.d_prime is None else f"d′ {s.d_prime:.2f}"
    alarms = f"  ▲ {len(s.open_alarms)} ALARM" if s.open_alarms else ""
    if s.is_sweep:
        return f"{s.n_flashes_shown} patches{alarms}"
    return (
        f"{s.n_trials} trials  {s.n_hit} hit {s.n_miss} miss {s.n_false_alarm} FA {s.n_correct_reject} CR "
        f"{s.n_aborted} aborted  {rates}  {s.water_ul / 1000:.3f} mL{alarms}"
    )


def _length_s(p: StageParameters | SweepParameters) -> float:
    movie_s = p.movie.n_frames * p.movie.n_repeats / p.movie.frame_rate_hz if p.movie is not None else 0.0
    task_s = p.sweep.length_s if isinstance(p, SweepParameters) else p.task_duration_min * 60
    return p.gray_before_s + task_s + p.gray_after_s + movie_s
