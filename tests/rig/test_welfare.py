"""Weight and water: every limit on both sides, and the doubts whether this is the mouse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.training.guard import doubts
from rig.training.welfare import (
    Limits,
    WelfareError,
    owed_ml,
    refuse_below_floor,
    refuse_dry_before_passive,
    refuse_implausible,
    refuse_no_drink,
)

LIMITS = Limits(baseline_g=25.0, floor_g=20.0, target_g=21.5, least_daily_ml=1.0)
DAY = "2026-02-10"


@pytest.mark.parametrize("weight_g", [5.0, 20.0, 80.0])
def test_a_mouse_may_weigh_that(weight_g: float) -> None:
    refuse_implausible(weight_g)


@pytest.mark.parametrize("weight_g", [2.0, 4.99, 80.1, 270.0, float("nan"), float("inf"), -21.0])
def test_no_mouse_weighs_that(weight_g: float) -> None:
    with pytest.raises(WelfareError, match=r"no mouse weighs that \(5 to 80 g\); weigh again"):
        refuse_implausible(weight_g)


@pytest.mark.parametrize("volume_ml", [0.0, -0.1, 5.01, float("nan")])
def test_that_is_no_drink_of_a_mouse(volume_ml: float) -> None:
    with pytest.raises(WelfareError, match="no drink of a mouse"):
        refuse_no_drink(volume_ml)


def test_a_mouse_at_its_floor_has_its_session_and_one_below_it_has_none() -> None:
    refuse_below_floor("M1", 20.0, LIMITS)
    with pytest.raises(WelfareError) as refused:
        refuse_below_floor("M1", 19.9, LIMITS, drunk_ml=0.4)
    with pytest.raises(WelfareError, match=r"weighs 19\.96 g, .* below its floor of 20\.0 g"):
        refuse_below_floor("M1", 19.96, LIMITS)  # no rounding carries it across
    with pytest.raises(WelfareError, match="no session; have whoever answers for its welfare look at it"):
        refuse_below_floor("M1", 19.9, LIMITS, drunk_ml=1.2)  # it had its water
    assert "M1 weighs 19.9 g, 80 % of 25.0 g and below its floor of 20.0 g: no session; give it 0.60 mL" in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("drunk_ml", "owed"),
    [
        (0.0, 1.0),
        (0.744, 0.26),  # up to the next mark
        (0.75, 0.25),
        (0.994, 0.01),
        (0.996, 0.0),  # less than a reward is owed to nobody
        (1.0, 0.0),
        (2.3, 0.0),
    ],
)
def test_what_is_owed_is_the_least_daily_water_less_what_was_drunk(drunk_ml: float, owed: float) -> None:
    assert owed_ml(LIMITS, drunk_ml=drunk_ml) == pytest.approx(owed)


@given(st.lists(st.floats(0.005, 0.5), max_size=20))
def test_whoever_gives_what_is_owed_owes_nothing(drinks_ml: list[float]) -> None:
    had_ml = sum(drinks_ml)
    rest_ml = owed_ml(LIMITS, drunk_ml=had_ml)

    assert owed_ml(LIMITS, drunk_ml=had_ml + rest_ml) == 0.0
    assert had_ml + rest_ml >= LIMITS.least_daily_ml - 0.005
    assert rest_ml <= max(0.0, LIMITS.least_daily_ml - had_ml) + 0.01


def test_a_passive_session_is_refused_until_the_days_water_was_given() -> None:
    refuse_dry_before_passive("M1", LIMITS, drunk_ml=1.0)
    with pytest.raises(WelfareError, match=r"gets its water before: it had 0\.30 mL of 1\.00; give it 0\.70 mL"):
        refuse_dry_before_passive("M1", LIMITS, drunk_ml=0.3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"floor_g": 25.0}, "not below the baseline, 25 g; a floor is usually 80 % of it, 20.0 g"),
        ({"baseline_g": 250.0}, "the baseline is 250 g"),
        ({"floor_g": 2.0}, "the floor is 2 g"),
        ({"target_g": 215.0}, "the target is 215 g"),
        ({"least_daily_ml": 0.0}, "0 mL is no day's water"),
        ({"least_daily_ml": 10.0}, "10 mL is no day's water"),
    ],
)
def test_limits_that_protect_nothing_are_refused(changes: dict[str, float], says: str) -> None:
    fields = {"baseline_g": 25.0, "floor_g": 20.0, "target_g": 21.5, "least_daily_ml": 1.0}
    with pytest.raises(WelfareError, match=says):
        Limits(**fields | changes)


@pytest.mark.parametrize(
    ("weight_g", "weights", "last_session", "says"),
    [
        (21.0, [("2026-02-08", 21.4), ("2026-02-09", 21.1)], "2026-02-09", None),
        (23.2, [("2026-02-08", 21.4), ("2026-02-09", 21.0)], "2026-02-09", None),  # 9 % off
        (23.6, [("2026-02-08", 21.4), ("2026-02-09", 21.0)], "2026-02-09", "11% above its last 2 weights, 21.2 g"),
        (18.9, [("2026-02-09", 21.2)], "2026-02-09", "11% below its last weight, 21.2 g (more than 10%)"),
        (21.5, [], None, None),  # new: 14 % below its baseline, restricted
        (19.0, [], None, "24% below its baseline, 25.0 g (more than 20%)"),
        (21.5, [("2026-01-10", 30.0)], "2026-02-09", None),  # a weight of a month ago says nothing
        (21.0, [("2026-02-10", 30.0), ("2026-02-09", 21.1)], "2026-02-09", None),  # nor does today's
        (21.0, [("2026-02-05", 30.0)] + [(f"2026-02-0{n}", 21.0) for n in (6, 7, 8, 9)], "2026-02-09", None),  # a slip
        (
            21.0,
            [(f"2026-02-0{n}", 21.0) for n in (6, 7, 8, 9)] + [("2026-01-25", 30.0)] * 5,
            "2026-02-09",
            None,
        ),  # late
        (21.0, [("2026-02-01", 21.0)], "2026-01-27", None),
        (21.0, [("2026-02-01", 21.0)], "2026-01-26", "M1 had no session for 15 days"),
    ],
)
def test_a_weight_off_the_trend_and_a_long_absence_are_doubted(
    weight_g: float, weights: list[tuple[str, float]], last_session: str | None, says: str | None
) -> None:
    found = doubts("M1", weight_g=weight_g, day=DAY, baseline_g=25.0, weights=weights, last_session_day=last_session)

    assert len(found) == (says is not None)
    assert says is None or says in next(iter(found.values()))
