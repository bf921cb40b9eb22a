"""Every mouse on one page: what it does today and why, how it did, its weight, its water, who has it.

What a mouse's line asks for is its first word, in large blocks of light and dark and with a sign of its own, so that
STOP and GO differ at two metres, and to eyes that don't tell red from green.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from rig.config.load import ConfigError
from rig.lab.rows import Mouse
from rig.training.scales import limits_of
from rig.training.welfare import Limits, had_ml, in_grams, owed_ml
from stages.curriculum import Curriculum
from stages.events import EndReason

if TYPE_CHECKING:
    from rig.lab.lab import MouseToday, Today


class Calls(StrEnum):
    """What a mouse's line asks for."""

    RUNS = "RUNS"
    """A rig has it."""
    STOP = "STOP"
    """No session: its weight, or no decision."""
    WATER = "WATER"
    """It had its session, and is owed water."""
    GO = "GO"
    """Its session is still to come."""
    DONE = "DONE"
    """It had its session and its water."""


STYLES = {
    Calls.RUNS: ("●", "bold #ffffff on #0b4f9e"),
    Calls.STOP: ("✗", "bold #ffffff on #a8001c"),
    Calls.WATER: ("▲", "bold #000000 on #ffd54a"),
    Calls.GO: ("▶", "bold #000000 on #8ff0a4"),
    Calls.DONE: ("✓", "bold"),
}
"""Sign and style, the colours said in full: a terminal's own may be any. Light on dark stops or waits, dark on light
asks for a hand, done is plain."""
UNDECIDED = "not decided"
UNKNOWN = "lease unknown"
TAG_COLUMNS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class MouseLine:
    """One mouse, in words."""

    mouse: str
    calls: Calls
    stage: str
    why: str
    d_prime: str
    """Of its last session before today."""
    weight: str
    water: str
    lease: str


def lines(
    today: Today,
    *,
    curriculum: Callable[[Mouse], Curriculum],
    is_passive: Callable[[Mouse, str], bool],
    refused: Callable[[Mouse], str | None],
) -> list[MouseLine]:
    """Return a line a mouse, by name.

    Parameters
    ----------
    is_passive
        Whether the spout is away in a mouse's stage, so that its water comes first.
    refused
        Why a start would be refused, as far as the rows tell; None if it would not.
    """
    return [
        _line(
            row,
            day=today.day,
            curriculum=curriculum,
            is_passive=is_passive,
            refused=refused,
            leases_known=today.away is None,
        )
        for row in today.mice
    ]


def page(today: Today, rows: Sequence[MouseLine]) -> Group:
    """Return the page: a block a mouse, what its line asks for at the left of it, in its full height."""
    widths = [max(len(each) for each in column) for column in zip(*(_figures(row) for row in rows), strict=True)]
    blocks: list[RenderableType] = [Text(f"{today.day}, {len(rows)} {'mouse' if len(rows) == 1 else 'mice'}", "bold")]
    for row in rows:
        sign, style = STYLES[row.calls]
        block = Table.grid(expand=True)
        block.add_column(width=TAG_COLUMNS, style=style, vertical="middle", justify="center", no_wrap=True)
        block.add_column(width=1)
        block.add_column(ratio=1, overflow="fold")  # a file's long name is not cut
        figures = "   ".join(each.ljust(width) for each, width in zip(_figures(row), widths, strict=True))
        told = Text.assemble((figures.rstrip(), ""), "\n", (row.stage, "bold"), f"\n{row.why}")
        told.stylize("bold", 0, len(row.mouse))
        block.add_row(Text(f"{sign} {row.calls.value}"), "", told)
        blocks += [Rule(style="dim"), block]
    blocks += [Rule(style="dim"), Text(_caption(today), style="dim")]
    return Group(*blocks)


def _figures(row: MouseLine) -> tuple[str, ...]:
    return row.mouse, row.d_prime, row.weight, row.water, row.lease


def _line(
    row: MouseToday,
    *,
    day: str,
    curriculum: Callable[[Mouse], Curriculum],
    is_passive: Callable[[Mouse, str], bool],
    refused: Callable[[Mouse], str | None],
    leases_known: bool,
) -> MouseLine:
    mouse, limits = row.mouse, limits_of(row.mouse)
    drunk = sum(each.volume_ml for each in row.water)
    rest_ml = owed_ml(limits, drunk_ml=drunk)
    stage, why = _stage(row, curriculum)
    held = row.lease is not None and not row.lease.expired
    if not held and (problem := refused(mouse)) is not None:
        stage, why = UNDECIDED, problem
    light = row.weight is not None and row.weight.day == day and row.weight.weight_g < limits.floor_g
    if held:
        calls = Calls.RUNS
    elif row.sessions:
        calls = Calls.WATER if rest_ml else Calls.DONE
    else:
        calls = Calls.STOP if light or stage == UNDECIDED else Calls.GO
    if row.sessions:
        did = row.sessions[-1]
        give = f"give it {rest_ml:.2f} mL of water; " if rest_ml else ""
        done = "done"
        if did.ended == EndReason.CRASHED and not held:
            done = f"crashed after {did.task_min:.0f} of {did.planned_min:g} min"
            give = f"rig start {mouse.name} --continue goes on with it; {give}"
        stage, why = f"{did.stage}, {done}, {_figure(did.peak_d_prime)}", f"{give}next: {why}"
    elif calls is Calls.STOP and light:
        give = f"give it {rest_ml:.2f} mL of water, and " if rest_ml else ""
        why = f"below its floor: no session; {give}look after it; {why}"
    elif rest_ml and is_passive(mouse, stage):
        why = f"passive: {rest_ml:.2f} mL of water first; {why}"
    lease = "" if leases_known else UNKNOWN
    if row.lease is not None:
        lease = f"{row.lease.rig}, {row.lease.who}" + ("" if held else " (dead)")
    return MouseLine(
        mouse=mouse.name,
        calls=calls,
        stage=stage,
        why=why,
        d_prime="new" if row.last_session is None else _figure(row.last_session.peak_d_prime),
        weight=_weight(row, limits, day=day, light=light),
        water=f"{had_ml(limits, drunk_ml=drunk):.2f} of {limits.least_daily_ml:.2f} mL",
        lease=lease,
    )


def _stage(row: MouseToday, curriculum: Callable[[Mouse], Curriculum]) -> tuple[str, str]:
    """Return the stage of the next session and why, from the decision on record."""
    last = row.sessions[-1] if row.sessions else row.last_session
    if row.decision is not None and row.decision.after_session == (None if last is None else last.session_id):
        return row.decision.stage, row.decision.sentence
    if last is None:
        try:
            return curriculum(row.mouse).first, "no session yet"
        except ConfigError as error:  # of this mouse alone: the others are to be seen
            return UNDECIDED, str(error)
    return UNDECIDED, "its last session has no decision on record: rig start makes it, or says why it can't"


def _weight(row: MouseToday, limits: Limits, *, day: str, light: bool) -> str:
    if row.weight is None:
        return "never weighed"
    ago = (date.fromisoformat(day) - date.fromisoformat(row.weight.day)).days
    when = "today" if ago == 0 else "yesterday" if ago == 1 else f"{ago} days ago"
    floor = f", floor {limits.floor_g:.1f} g" if light else ""
    return f"{in_grams(row.weight.weight_g, limits)} {limits.share_of_baseline(row.weight.weight_g):.0%} {when}{floor}"


def _figure(d_prime: float | None) -> str:
    return "no d′" if d_prime is None else f"d′ {d_prime:.2f}"


def _caption(today: Today) -> str:
    away = "\n▲ the laboratory is away: which rig has which mouse is not known here" if today.away else ""
    return f"● on a rig  ✗ no session  ▲ water to give  ▶ session to come  ✓ done{away}"
