"""What is made of a session once it is over: tables, summary and figure, as files beside the log.

Derived files only: they can be made again at any time, and are written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from rig.log.reader import SessionLog, read_session
from rig.records.folds import Folds
from rig.records.performance import response_window_s, with_performance, with_rolling
from rig.records.presentations import with_stops
from rig.records.summary import Summary, in_words

SUMMARY_JSON, SUMMARY_TEXT, TRIALS, PRESENTATIONS, FIGURE = (
    "summary.json",
    "summary.txt",
    "trials.csv",
    "presentations.csv",
    "session.png",
)


def summarise(log: SessionLog, *, running: bool = False) -> tuple[Summary, str]:
    """Return a session's summary, in figures and in words; ``running`` if its process is alive."""
    summary = _summary(Folds.of(log.entries), log, running=running)
    return summary, in_words(summary, damage=log.damage)


def write_products(log: SessionLog) -> list[Path]:
    """Write all products beside the log; return their paths."""
    from rig.records.figures import draw_session, save_session_figure  # noqa: PLC0415 - only here is it drawn
    from rig.records.sync_file import SYNC_FILE, write_sync_file  # noqa: PLC0415 - only here is it written

    folds = Folds.of(log.entries)
    parameters = log.started.stage_parameters
    summary = _summary(folds, log)
    trials = with_rolling(
        folds.trials.table(), folds.trials.rows, stage_parameters=parameters, monitor_delay_s=summary.monitor_delay_s
    )
    presentations = with_stops(folds.presentations.table(), log.flips)
    figure = draw_session(
        title=f"{summary.mouse} · {summary.stage} · {summary.started_at[:16].replace('T', ' ')}"
        + (" · simulated" if summary.simulated else ""),
        trials=trials,
        flips=log.flips,
        refresh_hz=log.started.refresh_hz,
        response_window_s=response_window_s(parameters) or (0.0, 0.0),
    )
    folder = log.folder
    trials["lick_times_s"] = [" ".join(f"{time_s:.6f}" for time_s in licks) for licks in trials["lick_times_s"]]
    texts = {
        SUMMARY_JSON: msgspec.json.format(msgspec.json.encode(summary), indent=2).decode() + "\n",
        SUMMARY_TEXT: in_words(summary, damage=log.damage) + "\n",
        TRIALS: trials.to_csv(index=False, float_format="%.6f", lineterminator="\n"),
        PRESENTATIONS: presentations.to_csv(index=False, float_format="%.6f", lineterminator="\n"),
    }
    for name, text in texts.items():
        _whole(folder / name).write_text(text, encoding="utf-8")
        _whole(folder / name).replace(folder / name)
    write_sync_file(log, folder / SYNC_FILE)
    picture = folder / ("partial." + FIGURE)
    save_session_figure(figure, picture)
    picture.replace(folder / FIGURE)
    return [folder / name for name in (*texts, SYNC_FILE, FIGURE)]


def write_products_of(folder: Path) -> list[Path]:
    """Write all products of the session in a folder, see ``write_products``."""
    return write_products(read_session(folder))


def _summary(folds: Folds, log: SessionLog, *, running: bool = False) -> Summary:
    summary = folds.summary.summary(running=running)
    return with_performance(summary, folds.trials.rows, stage_parameters=log.started.stage_parameters)


def _whole(path: Path) -> Path:
    """Return the name a file has while it is being written."""
    return path.with_name("partial." + path.name)
