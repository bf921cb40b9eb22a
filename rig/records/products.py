"""What is made of a session once it is over: tables, summary and figure, as files beside the log.

Derived files only: they can be made again at any time, and are written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from rig.log.reader import SessionLog
from rig.records.alignment import alignment_of, with_alignment
from rig.records.folds import Folds
from rig.records.performance import response_window_s, with_performance, with_rolling
from rig.records.presentations import with_stops
from rig.records.summary import Summary, in_words
from rig.records.whole import write_whole

PRODUCTS = SUMMARY_JSON, SUMMARY_TEXT, TRIALS, PRESENTATIONS, SYNC_FILE, FIGURE = (
    "summary.json",
    "summary.txt",
    "trials.csv",
    "presentations.csv",
    "sync.h5",
    "session.png",
)


def summarise(log: SessionLog, *, running: bool = False) -> tuple[Summary, str]:
    """Return a session's summary, in figures and in words; ``running`` if its process is alive."""
    summary = _summary(Folds.of(log.entries), log, running=running)
    return summary, in_words(summary, damage=log.damage)


def write_products(log: SessionLog) -> list[Path]:
    """Write all products beside the log; return their paths.

    Raises
    ------
    OSError
        One can't be written; those before it are there.
    """
    from rig.records.figures import draw_session, session_png  # noqa: PLC0415 - only here is it drawn
    from rig.records.sync_file import sync_image  # noqa: PLC0415 - h5py takes its time, and only here is it made

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
    contents = {name: text.encode() for name, text in texts.items()}
    contents |= {SYNC_FILE: sync_image(log), FIGURE: session_png(figure)}
    for name in PRODUCTS:
        write_whole(folder / name, contents[name])
    return [folder / name for name in PRODUCTS]


def _summary(folds: Folds, log: SessionLog, *, running: bool = False) -> Summary:
    summary = with_alignment(folds.summary.summary(running=running), alignment_of(log))
    return with_performance(summary, folds.trials.rows, stage_parameters=log.started.stage_parameters)
