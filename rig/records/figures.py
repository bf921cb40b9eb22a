"""The session in one picture: licks around changes, rates, running, water, frame intervals.

Drawn without a display. Outcomes differ by marker as well as by colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from hardware.arrays import AnyArray, FloatArray, GreyFrame
from rig.records.exemplars import Exemplar
from rig.records.running import speed_cm_s
from stages.metrics import ROLLING_TRIALS

BEFORE_S, AFTER_S = 2.0, 4.0
"""What the raster shows around the change."""
SMOOTH_S = 1.0
LEAST_WATER_ML = 0.01
"""The water's axis goes so far at least: one reward, even where none was given."""
OUTCOMES = {
    "hit": ("#0072b2", "o"),
    "miss": ("#d55e00", "x"),
    "false_alarm": ("#cc79a7", "^"),
    "correct_reject": ("#009e73", "s"),
    "auto_rewarded": ("#e69f00", "D"),
}
"""Colours of Okabe and Ito, told apart by the colour-blind."""


def draw_session(
    *, title: str, trials: pd.DataFrame, flips: AnyArray, refresh_hz: float, response_window_s: tuple[float, float]
) -> Figure:
    """Return the figure of a session.

    Parameters
    ----------
    trials
        As ``performance.with_rolling`` returns them.
    flips
        Array of ``FLIP_DTYPE``.
    """
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13)
    grid = figure.add_gridspec(4, 2, width_ratios=(1.0, 1.15))
    raster = figure.add_subplot(grid[:, 0])
    rates = figure.add_subplot(grid[0, 1])
    running = figure.add_subplot(grid[1, 1], sharex=rates)
    water = figure.add_subplot(grid[2, 1], sharex=rates)
    intervals = figure.add_subplot(grid[3, 1])
    _raster(raster, trials, response_window_s)
    _rates(rates, trials)
    _running(running, flips)
    _water(water, trials)
    _intervals(intervals, flips, refresh_hz)
    last_min = float(flips["time_s"][-1]) / 60 if len(flips) else 1.0
    rates.set_xlim(0, max(last_min, 0.1))
    return figure


def session_png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG."""
    png = BytesIO()
    figure.savefig(png, dpi=110, format="png")
    return png.getvalue()


TRIAL_SPAN_S = (-4.6, 5.6)
"""What a figure of single trials shows around the change."""
_OMITTED, _TIMEOUT, _DROP = "omitted", "time-out", "water"
_BEFORE, _AFTER, _SCREEN = "#56b4e9", "#e69f00", "0.88"


def draw_exemplars(stage: str, trials: Sequence[Exemplar], *, screens: Mapping[str, GreyFrame] | None = None) -> Figure:
    """Return a figure of one trial of each kind, a row each: screen, licks, response window, water.

    Parameters
    ----------
    screens
        What the screen shows for the names in the trials, drawn where it comes on.
    """
    figure = Figure(figsize=(11, 0.9 * len(trials) + 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(trials), 1, sharex=True, squeeze=False)[:, 0]
    for ax, trial in zip(axes, trials, strict=True):
        _exemplar(ax, trial, screens or {})
    axes[0].set_title(f"{stage}: one trial of each kind, as the task runs it", fontsize=11, loc="left")
    axes[-1].tick_params(bottom=True, labelbottom=True)
    axes[-1].spines["bottom"].set_visible(True)
    axes[-1].set(xlim=TRIAL_SPAN_S, xlabel="time from change, sham change, or where it would have been (s)")
    handles = [
        Patch(color=_BEFORE, label="stimulus"),
        Patch(color=_AFTER, label="changed stimulus"),
        Patch(facecolor="white", edgecolor="0.3", ls=":", label=_OMITTED),
        Patch(facecolor="none", edgecolor="0.15", hatch="-----", lw=0, label="response window"),
        Patch(facecolor="none", edgecolor="0.15", hatch="////", lw=0, label=_TIMEOUT),
        Line2D([], [], color="black", marker="|", ms=9, mew=1.8, ls="", label="lick"),
        Line2D([], [], color="#0072b2", marker="v", ms=8, ls="", label=_DROP),
        Line2D([], [], color="0.15", lw=2.2, label="trial"),
    ]
    absent = _absent(trials)
    handles = [handle for handle in handles if handle.get_label() not in absent]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, fontsize=8, frameon=False)
    return figure


def save_drawing(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's name; the same figure gives the same SVG, byte for byte."""
    with mpl.rc_context({"svg.hashsalt": "open-vision-rig", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


@dataclass(frozen=True)
class Cell:
    """A stimulus on a contact sheet: its name, and its screens side by side."""

    name: str
    screens: Sequence[GreyFrame]


def draw_contact_sheet(title: str, cells: Sequence[Cell], *, n_columns: int) -> Figure:
    """Return a figure of many screens in rows of ``n_columns`` stimuli, each under its name."""
    n_screens = len(cells[0].screens)
    height_px, width_px = cells[0].screens[0].shape
    n_rows = -(-len(cells) // n_columns)
    screen_in = 12.0 / (n_columns * n_screens)
    row_in, name_in, title_in = screen_in * height_px / width_px, 0.26, 0.42
    height_in = n_rows * (row_in + name_in) + title_in
    figure = Figure(figsize=(12.4, height_in))
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, x=0.012, y=1 - 0.1 / height_in, ha="left", va="top")
    outer = figure.add_gridspec(
        n_rows,
        n_columns,
        left=0.012,
        right=0.988,
        bottom=0.05 / height_in,
        top=1 - (title_in + name_in - 0.05) / height_in,
        wspace=0.04,
        hspace=name_in / row_in,
    )
    for i, cell in enumerate(cells):
        inner = outer[divmod(i, n_columns)].subgridspec(1, n_screens, wspace=0.02)
        for column, screen in enumerate(cell.screens):
            ax = figure.add_subplot(inner[0, column])
            ax.imshow(screen, cmap="gray", vmin=0, vmax=255)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(linewidth=0.5, color="0.5")
            if column == 0:
                ax.set_title(cell.name, fontsize=8, loc="left", pad=2)
    return figure


def draw_patches(title: str, shown: Sequence[tuple[float, float, GreyFrame]], *, names: Sequence[str]) -> Figure:
    """Return a figure of screens in time: from when to when in seconds, and what."""
    figure = Figure(figsize=(12.4, 2.3), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    for (start_s, stop_s, screen), name in zip(shown, names, strict=True):
        rim_s = 0.02 * (stop_s - start_s)
        extent = (start_s + rim_s, stop_s - rim_s, 0.0, 1.0)
        ax.imshow(screen, cmap="gray", vmin=0, vmax=255, extent=extent)
        ax.text(start_s + 2 * rim_s, 1.08, name, fontsize=7, rotation=25, color="0.25")
    height_px, width_px = shown[0][2].shape
    ax.set_aspect((shown[0][1] - shown[0][0]) * height_px / width_px)
    ax.set(xlim=(shown[0][0], shown[-1][1]), ylim=(0.0, 1.9), yticks=[], xlabel="time from the first flip (s)")
    ax.set_title(title, fontsize=11, loc="left")
    ax.spines[:].set_visible(False)
    return figure


def _absent(trials: Sequence[Exemplar]) -> set[str]:
    """Return which of what only some trials have none of these has: it has no place in the legend."""
    occurs = {
        _OMITTED: any(shown.omitted for trial in trials for shown in trial.shown),
        _TIMEOUT: any(trial.timeout_s is not None for trial in trials),
        _DROP: any(trial.reward_s is not None for trial in trials),
    }
    return {name for name, is_there in occurs.items() if not is_there}


def _exemplar(ax: Axes, trial: Exemplar, screens: Mapping[str, GreyFrame]) -> None:
    """Draw the screen as a strip, licks and water above it, the trial's extent below."""
    first_s, last_s = TRIAL_SPAN_S
    ax.axhspan(0.0, 1.0, color=_SCREEN, lw=0)
    for shown in trial.shown:
        start_s, stop_s = max(shown.start_s, first_s), min(shown.stop_s, last_s)
        if stop_s <= start_s:
            continue
        changed = trial.change == "change" and shown.start_s >= -1e-6
        box = Rectangle((start_s, 0.0), stop_s - start_s, 1.0, color=_AFTER if changed else _BEFORE, lw=0)
        if shown.omitted:
            box.set(facecolor="white", edgecolor="0.3", ls=":", lw=1)
        ax.add_patch(box)
        if not shown.omitted and shown.name in screens:
            _screen_in(ax, start_s, stop_s, screens[shown.name])
    names = [shown.name for shown in trial.shown if not shown.omitted]
    before = next((s.name for s in trial.shown if not s.omitted and s.stop_s > trial.start_s), "")
    ax.text(max(trial.start_s, first_s) + 0.04, 1.12, before, fontsize=7, color="0.25")
    if trial.change == "change":
        after = next(s.name for s in trial.shown if not s.omitted and s.start_s >= -1e-6)
        ax.text(2.3, 1.12, f"changed to {after}", fontsize=7, color="0.25")
    elif trial.change == "sham change" and names:
        ax.text(2.3, 1.12, "sham change", fontsize=7, color="0.25")
    if trial.window_s is not None and trial.window_s[1] > trial.window_s[0]:
        _hatch(ax, trial.window_s, "-----")
    if trial.timeout_s is not None:
        _hatch(ax, trial.timeout_s, "////")
    if trial.change != "no change":
        ax.plot([0, 0], [-0.25, 1.35], color="black", lw=1)
    ax.plot(trial.licks_s, [1.3] * len(trial.licks_s), "|", color="black", ms=9, mew=1.8)
    if trial.reward_s is not None:
        ax.plot(trial.reward_s, 1.75, "v", color="#0072b2", ms=8)
        ax.text(trial.reward_s + 0.12, 1.62, f"{trial.reward_ul:g} µL", fontsize=8, color="#0072b2")
    ax.plot([max(trial.start_s, first_s), trial.end_s], [-0.28, -0.28], color="0.15", lw=2.2, solid_capstyle="butt")
    ax.set(ylim=(-0.5, 2.1), yticks=[])
    ax.set_ylabel(trial.kind.replace(" ", "\n", 1), rotation=0, ha="right", va="center", fontsize=10)
    ax.spines[:].set_visible(False)
    ax.tick_params(bottom=False, labelbottom=False)


SCREEN_WIDTH_S = 0.62
"""How long a whole screen is in a figure of trials; one that is on for a shorter time is cut at both sides."""


def _screen_in(ax: Axes, start_s: float, stop_s: float, screen: GreyFrame) -> None:
    """Draw what is on from ``start_s`` on, in its own proportions, as much of it as there is time."""
    stop_s = min(stop_s, start_s + SCREEN_WIDTH_S)
    width_px = screen.shape[1]
    cut_px = round(width_px * (1 - (stop_s - start_s) / SCREEN_WIDTH_S) / 2)
    middle = screen[:, cut_px : width_px - cut_px]
    ax.imshow(middle, cmap="gray", vmin=0, vmax=255, extent=(start_s, stop_s, 0.12, 1.0), aspect="auto", zorder=2)


def _hatch(ax: Axes, span_s: tuple[float, float], hatch: str) -> None:
    low_s, high_s = span_s
    ax.add_patch(
        Rectangle((low_s, 0.0), high_s - low_s, 1.0, facecolor="none", edgecolor="0.15", lw=0, hatch=hatch, zorder=3)
    )


def _raster(ax: Axes, trials: pd.DataFrame, response_window_s: tuple[float, float]) -> None:
    """Draw each completed trial's licks against its change, trials from top to bottom."""
    completed = trials[trials["change_time_s"].notna()]
    n_aborted = int(trials["aborted"].sum())
    ax.axvspan(*response_window_s, color="0.9", zorder=0)
    ax.axvline(0, color="0.3", lw=0.8)
    for column, (outcome, (colour, marker)) in enumerate(OUTCOMES.items()):
        x: list[float] = []
        y: list[int] = []
        rows = np.flatnonzero((completed["outcome"] == outcome).to_numpy())
        for row in rows.tolist():
            licks = np.asarray(completed["lick_times_s"].iloc[row]) - completed["change_time_s"].iloc[row]
            licks = licks[(licks >= -BEFORE_S) & (licks <= AFTER_S)]
            x += licks.tolist()
            y += [row] * len(licks)
        ax.plot(x, y, "|", color=colour, ms=3.5, mew=0.9)
        name = outcome.replace("_", " ")
        at = np.full(len(rows), AFTER_S + 0.12 * (column + 1))  # a column each: neighbours don't hide each other
        ax.plot(at, rows, marker, color=colour, ms=3, ls="", clip_on=False, label=f"{name} ({len(rows)})")
    ax.set(
        xlim=(-BEFORE_S, AFTER_S),
        ylim=(max(len(completed), 1) - 0.5, -0.5),
        xlabel="time from change or sham change (s)",
        ylabel="completed trial",
        title=f"licks (response window shaded); {n_aborted} aborted trials left out",
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), fontsize=8, ncol=3, markerscale=1.6, frameon=False)
    if completed.empty:
        ax.set_yticks([])
        what = "no trials" if trials.empty else "no completed trial"
        ax.text(0.5, 0.5, what, transform=ax.transAxes, ha="center")


def _rates(ax: Axes, trials: pd.DataFrame) -> None:
    """Draw the raw rates, as the summary tells them; d′ is of rates that are corrected by trial count."""
    done = trials[~trials["aborted"] & (trials["outcome"] != "incomplete")]
    minutes = done["change_time_s"] / 60
    ax.plot(minutes, done["rolling_hit_rate_raw"], color=OUTCOMES["hit"][0], label="hit rate")
    false_alarms = done["rolling_false_alarm_rate_raw"]
    ax.plot(minutes, false_alarms, color=OUTCOMES["false_alarm"][0], ls="--", label="false-alarm rate")
    ax.set(ylim=(-0.05, 1.05), ylabel="rate")
    ax.set_title(f"rolling over {ROLLING_TRIALS} trials", loc="left", fontsize=11)
    right = ax.twinx()
    right.plot(minutes, done["rolling_d_prime"], color="0.45", lw=1, ls=":", label="d′")
    right.set(ylim=(-1, 5), ylabel="d′ (dotted)")
    ax.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, frameon=False)


def _running(ax: Axes, flips: AnyArray) -> None:
    if len(flips) > 2:
        speed = speed_cm_s(flips)
        every = max(1, round(len(flips) / max(float(flips["time_s"][-1]), 1e-9) * SMOOTH_S))
        n = len(speed) // every * every
        mean = np.nanmean(speed[:n].reshape(-1, every), axis=1) if n and not np.isnan(speed).all() else np.empty(0)
        ax.plot(flips["time_s"][:n:every][: len(mean)] / 60, mean, color="0.2", lw=0.6)
    ax.set(ylabel="speed (cm/s)", title=f"running, mean of every {SMOOTH_S:g} s")


def _water(ax: Axes, trials: pd.DataFrame) -> None:
    given = trials[trials["reward_time_s"].notna()].sort_values("reward_time_s")
    ax.step(
        np.concatenate([[0.0], given["reward_time_s"] / 60]),
        np.concatenate([[0.0], given["reward_volume_ul"].cumsum() / 1000]),
        where="post",
        color="#0072b2",
    )
    ax.set_ylim(0.0, max(float(given["reward_volume_ul"].sum()) / 1000, LEAST_WATER_ML) * 1.05)
    ax.set(ylabel="water (mL)", xlabel="session time (min)", title="water given in trials")


def _intervals(ax: Axes, flips: AnyArray, refresh_hz: float) -> None:
    intervals_ms: FloatArray = np.diff(flips["time_s"]) * 1000
    nominal_ms = 1000 / refresh_hz
    edges = np.arange(0, 5.01, 0.02) * nominal_ms
    counts, _ = np.histogram(np.minimum(intervals_ms, edges[-1] - 1e-9), edges)
    ax.stairs(counts, edges, fill=True, color="0.35")
    ax.set_yscale("symlog", linthresh=1)
    n_late = int((flips["n_missed"] > 0).sum())
    ax.set(
        xlabel=f"frame interval (ms); nominal {nominal_ms:.2f} ms, 5 refreshes and more in the last bin",
        ylabel="flips",
        title=f"frame intervals, {n_late} late",
        xlim=(0, edges[-1]),
    )
