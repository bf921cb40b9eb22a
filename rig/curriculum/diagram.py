"""A curriculum as one picture: training down the left, imaging up the right, criteria on the arrows.

Kinds of transition differ by line and head, not by colour alone: advances are solid, lapses dashed, an operator's
dotted with an open head.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from rig.curriculum.words import takes
from stages.curriculum import Curriculum, Transition, TransitionKind, reached

COLUMNS = (0.0, 8.4)
"""Where the middles of the columns are; a row is 1 high."""
BOX_WIDTH, BOX_HEIGHT = 3.7, 0.42
APART = 0.35
"""How far from the middle the arrows of a pair that runs both ways are."""
WRAP = 44

Style = tuple[str, str | tuple[float, tuple[float, float]], str]
"""Colour, line and head of an arrow."""

_STYLES: dict[TransitionKind, Style] = {
    TransitionKind.ADVANCE: ("#0072b2", "-", "-|>"),
    TransitionKind.LAPSE: ("#d55e00", (0, (5, 2)), "-|>"),
    TransitionKind.MANUAL: ("#555555", (0, (1, 1.5)), "->"),
}
_LEGEND = {
    TransitionKind.ADVANCE: "advance, by itself",
    TransitionKind.LAPSE: "lapse, by itself",
    TransitionKind.MANUAL: "an operator's; the order is advice",
}

Places = dict[str, tuple[int, int]]
"""Column and row of each stage."""


def draw_curriculum(curriculum: Curriculum) -> Figure:
    """Return the picture."""
    places = _places(curriculum)
    n_rows = 1 + max(row for _, row in places.values())
    figure = Figure(figsize=(12, 1.05 * n_rows + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    for stage, (column, row) in places.items():
        _box(ax, stage, COLUMNS[column], row)
    for transition in curriculum.transitions:
        back = any((e.source, e.dest) == (transition.dest, transition.source) for e in curriculum.transitions)
        _arrow(ax, transition, places, both_ways=back)
    ax.set_xlim(-2.9, COLUMNS[1] + BOX_WIDTH / 2 + 0.2)
    ax.set_ylim(n_rows - 0.5, -0.5)
    ax.axis("off")
    who = curriculum.identity()
    ax.set_title(f"{who.name} {who.version}, cohort {who.cohort}", loc="left", fontsize=11)
    handles = [
        Line2D([], [], color=_STYLES[kind][0], ls=_STYLES[kind][1], label=label) for kind, label in _LEGEND.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False, handlelength=4)
    return figure


def save_diagram(figure: Figure, path: Path) -> None:
    """Write the picture in the format of the file's name; the same picture gives the same SVG, byte for byte."""
    with mpl.rc_context({"svg.hashsalt": "open-vision-rig", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _places(curriculum: Curriculum) -> Places:
    """Return where stages stand: those that criteria lead to in the left column, the others up the right one."""
    automatic = [each for each in curriculum.transitions if each.kind is not TransitionKind.MANUAL]
    led_to = reached(curriculum.first, automatic)
    left = [stage for stage in curriculum.stages if stage in led_to]
    right = [stage for stage in curriculum.stages if stage not in led_to]
    bottom = max(len(left), len(right)) - 1
    return {stage: (0, row) for row, stage in enumerate(left)} | {
        stage: (1, bottom - n) for n, stage in enumerate(right)
    }


def _box(ax: Axes, stage: str, x: float, row: int) -> None:
    corner = (x - BOX_WIDTH / 2, row - BOX_HEIGHT / 2)
    ax.add_patch(
        FancyBboxPatch(corner, BOX_WIDTH, BOX_HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", fc="white", ec="black")
    )
    ax.text(x, row, stage, ha="center", va="center", fontsize=8)


def _arrow(ax: Axes, transition: Transition, places: Places, *, both_ways: bool) -> None:
    (column, row), (to_column, to_row) = places[transition.source], places[transition.dest]
    down = 1 if to_row > row else -1
    side = -1 if both_ways and transition.kind is TransitionKind.LAPSE else 1
    bend = 0.0
    if column == to_column and abs(to_row - row) == 1:
        x = COLUMNS[column] + (side * APART if both_ways else 0.0)
        start, stop = (x, row + down * BOX_HEIGHT / 2), (x, to_row - down * BOX_HEIGHT / 2)
    elif column == to_column:
        x = COLUMNS[column] + side * BOX_WIDTH / 2
        start, stop, bend = (x, row), (x, to_row), 0.35 * side * down
    else:
        out = 1 if to_column > column else -1
        start = COLUMNS[column] + out * BOX_WIDTH / 2, row
        stop = COLUMNS[to_column] - out * BOX_WIDTH / 2, to_row
    colour, line, head = _STYLES[transition.kind]
    ax.add_patch(
        FancyArrowPatch(
            start,
            stop,
            arrowstyle=head,
            connectionstyle=f"arc3,rad={bend}",
            mutation_scale=13,
            shrinkA=0,
            shrinkB=0,
            color=colour,
            linestyle=line,
            linewidth=1.5,
        )
    )
    if transition.kind is TransitionKind.MANUAL:
        return
    words = "\n".join(textwrap.wrap(takes(transition), WRAP if side > 0 else WRAP // 2 + 6))
    middle = (start[0] + stop[0]) / 2 + side * 0.12, (start[1] + stop[1]) / 2
    ax.text(*middle, words, ha="left" if side > 0 else "right", va="center", fontsize=7, color=colour)
