"""Weight and water: what is plausible, what is owed, and what forbids a session. Pure.

The limits are the mouse's own, in its record; nothing overrides a floor. Who must, corrects the mouse's record, which
is a fact with a name and a reason of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from stages.judgement import figure_text

LIGHTEST_G, HEAVIEST_G = 5.0, 80.0
"""A weight outside is a slip of hand or scale: weaned mice weigh 8 g and more, the heaviest old ones 60 g."""
LARGEST_DRINK_ML = 5.0
"""No mouse takes more in a day; camstim ends a session at as much (TASK_FACTS 1.1)."""
SMALLEST_ML = 0.005
"""What is owed below one reward's volume is not worth a syringe (TASK_FACTS 1.1: 5 uL)."""


MARK_ML = 0.01
"""The finest mark of the syringes that water is given with."""


class WelfareError(Exception):
    """What the rules forbid; says what, whose limit it is, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds for one mouse."""

    baseline_g: float
    """Its weight with all the water it likes."""
    floor_g: float
    """Below it the mouse has no session."""
    target_g: float | None
    least_daily_ml: float
    """What it gets every day, in the session or after it."""

    def __post_init__(self) -> None:
        """Refuse limits that protect nothing.

        Raises
        ------
        WelfareError
            A weight that is no mouse's, a floor above the baseline, water that is none.
        """
        for name, weight_g in (("baseline", self.baseline_g), ("floor", self.floor_g), ("target", self.target_g)):
            if weight_g is not None:
                refuse_implausible(weight_g, what=f"the {name}")
        if self.floor_g >= self.baseline_g:
            raise WelfareError(
                f"the floor, {self.floor_g:g} g, is not below the baseline, {self.baseline_g:g} g; a floor is usually "
                f"80 % of it, {0.8 * self.baseline_g:.1f} g"
            )
        if not 0 < self.least_daily_ml <= LARGEST_DRINK_ML:
            raise WelfareError(
                f"{self.least_daily_ml:g} mL is no day's water; give millilitres above 0, up to {LARGEST_DRINK_ML:g}"
            )

    def share_of_baseline(self, weight_g: float) -> float:
        """Return a weight as a share of the baseline."""
        return weight_g / self.baseline_g


def refuse_implausible(weight_g: float, *, what: str = "that") -> None:
    """Refuse what no mouse weighs.

    Raises
    ------
    WelfareError
        Outside 5 to 80 g.
    """
    if not LIGHTEST_G <= weight_g <= HEAVIEST_G:
        raise WelfareError(
            f"{what} is {weight_g:g} g, and no mouse weighs that ({LIGHTEST_G:g} to {HEAVIEST_G:g} g); weigh again, in "
            f"grams"
        )


def refuse_no_drink(volume_ml: float) -> None:
    """Refuse what is no drink of a mouse.

    Raises
    ------
    WelfareError
        Nothing, less than nothing, or more than a mouse takes in a day.
    """
    if not (math.isfinite(volume_ml) and 0 < volume_ml <= LARGEST_DRINK_ML):
        raise WelfareError(
            f"{volume_ml:g} mL is no drink of a mouse (above 0, up to {LARGEST_DRINK_ML:g} mL); give millilitres"
        )


def refuse_below_floor(mouse: str, weight_g: float, limits: Limits, *, drunk_ml: float = 0.0, on_day: str = "") -> None:
    """Refuse a session to a mouse that is too light; ``on_day`` as in ``refuse_dry_before_passive``.

    Raises
    ------
    WelfareError
        It weighs less than its floor.
    """
    if weight_g < limits.floor_g:
        rest_ml = owed_ml(limits, drunk_ml=drunk_ml)
        give = (
            f"give it {rest_ml:.2f} mL of water or more (rig mouse water {mouse} ML{on_day}), and " if rest_ml else ""
        )
        raise WelfareError(
            f"{mouse} weighs {weight_words(weight_g, limits)} and below its floor of {limits.floor_g:.1f} g: no "
            f"session; {give}have whoever answers for its welfare look at it"
        )


def owed_ml(limits: Limits, *, drunk_ml: float) -> float:
    """Return the water that a mouse must still get today, in mL, up to the next mark of a syringe.

    Parameters
    ----------
    drunk_ml
        All that it had today: earned, given before and after.
    """
    rest_ml = limits.least_daily_ml - drunk_ml
    return 0.0 if rest_ml < SMALLEST_ML else math.ceil(round(rest_ml / MARK_ML, 6)) * MARK_ML


def had_ml(limits: Limits, *, drunk_ml: float) -> float:
    """Return what a mouse had today, in mL, so that it and what is still owed make its day's water."""
    rest_ml = owed_ml(limits, drunk_ml=drunk_ml)
    return max(limits.least_daily_ml - rest_ml, 0.0) if rest_ml else drunk_ml


def refuse_dry_before_passive(mouse: str, limits: Limits, *, drunk_ml: float, on_day: str = "") -> None:
    """Refuse a passive session to a mouse that has not had its day's water before it.

    The spout is away in such a session, and the mouse is to be sated (TASK_FACTS 2): its water comes first.

    Parameters
    ----------
    on_day
        What the command that is named needs besides: the day, where it is simulated.

    Raises
    ------
    WelfareError
        Some of it is still owed.
    """
    rest_ml = owed_ml(limits, drunk_ml=drunk_ml)
    if rest_ml:
        raise WelfareError(
            f"{mouse} watches passively today and gets its water before: it had "
            f"{had_ml(limits, drunk_ml=drunk_ml):.2f} mL of {limits.least_daily_ml:.2f}; give it {rest_ml:.2f} mL or "
            f"more now, and record it (rig mouse water {mouse} {rest_ml:.2f} --before-passive{on_day}, or --water-ml "
            f"with rig start)"
        )


def in_grams(weight_g: float, limits: Limits) -> str:
    """Return ``21.3 g``, so closely that it stands on its true side of the floor."""
    return f"{figure_text(weight_g, beside=[limits.floor_g], decimals=1)} g"


def weight_words(weight_g: float, limits: Limits) -> str:
    """Return ``21.3 g, 85 % of 25.0 g``."""
    return f"{in_grams(weight_g, limits)}, {in_percent(weight_g, limits)}"


def in_percent(weight_g: float, limits: Limits) -> str:
    """Return ``84 % of 25.0 g``."""
    return f"{100 * limits.share_of_baseline(weight_g):.0f} % of {limits.baseline_g:.1f} g"
