"""A mouse on the scales, and what it drank: its limits, its weight for the record, its water of the day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rig.lab.errors import StartRefused
from rig.lab.rows import Mouse, Override, OverrideKind, Water, Weight
from rig.training.guard import Doubtful, doubts
from rig.training.welfare import Limits, refuse_implausible

if TYPE_CHECKING:
    from rig.lab.lab import Lab


KINDS = {Doubtful.WEIGHT: OverrideKind.WRONG_WEIGHT, Doubtful.HISTORY: OverrideKind.MISFIT}
"""As what a doubt that the mouse's name has settled goes on record."""


def limits_of(mouse: Mouse) -> Limits:
    """Return a mouse's own limits; ``WelfareError`` if they protect nothing."""
    return Limits(
        baseline_g=mouse.baseline_weight_g,
        floor_g=mouse.floor_weight_g,
        target_g=mouse.target_weight_g,
        least_daily_ml=mouse.least_daily_water_ml,
    )


def drunk_ml(lab: Lab, mouse: str, day: str) -> float:
    """Return all the water that a mouse had on a day, in mL."""
    return sum(row.volume_ml for row in lab.rows(Water, mouse=mouse, day=day))


def weigh(
    lab: Lab,
    mouse: Mouse,
    weight_g: float,
    *,
    day: str,
    last_session_day: str | None,
    sure: Callable[[Sequence[str]], bool],
) -> Weight:
    """Record a weight, if it is plausible and the mouse is the one it is said to be.

    Parameters
    ----------
    sure
        Asked whether it is, if there are doubts: told these, it returns whether the mouse's name was typed.

    Raises
    ------
    WelfareError
        No mouse weighs that.
    StartRefused
        Nobody was sure.
    """
    refuse_implausible(weight_g)
    found = doubts(
        mouse.name,
        weight_g=weight_g,
        day=day,
        baseline_g=mouse.baseline_weight_g,
        weights=[(row.day, row.weight_g) for row in lab.rows(Weight, mouse=mouse.name)],
        last_session_day=last_session_day,
    )
    if found:
        doubted = list(found.values())
        if not sure(doubted):
            raise StartRefused(
                f"{'; '.join(doubted)}: the name {mouse.name} was not confirmed, so nothing is recorded; look at the "
                f"cage's card and weigh again"
            )
        for of, words in found.items():
            lab.record(Override(mouse=mouse.name, day=day, kind=KINDS[of], why=words))
    return lab.record(Weight(mouse=mouse.name, day=day, weight_g=weight_g))
