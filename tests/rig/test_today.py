"""Every mouse on one page: what each line asks for, and that it can be told apart across the room."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from hardware.simulated.mice import MouseKind
from rig.lab.rows import Water, WaterKind, Weight
from rig.training.begun import refused_by_starts
from rig.training.standing import refused_by_rows
from rig.training.today import STYLES, Calls, MouseLine, lines, page
from tests.rig.laboratory import MOUSE, Laboratory, curriculum_of, laboratory

SHORT = {"gray_before_s": 0.5, "gray_after_s": 0.5, "movie": None, "task_duration_min": 0.5}
OF: dict[str, Any] = {
    "curriculum": curriculum_of,
    "is_passive": lambda _mouse, _stage: False,
    "refused": lambda _mouse: None,
}
PASSIVE = "OPHYS_2_images_A_passive"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Laboratory]:
    with laboratory(tmp_path, changes=SHORT, kind=MouseKind.PERFECT) as made:
        yield made


def line(there: Laboratory, *, passive: bool = False) -> MouseLine:
    """The line of the only mouse."""
    (only,) = lines(
        there.lab.today(there.day),
        curriculum=curriculum_of,
        is_passive=lambda _mouse, _stage: passive,
        refused=lambda mouse: (
            refused_by_starts(there.lab, mouse.name)
            or refused_by_rows(there.lab, mouse, curriculum=curriculum_of(mouse))
        ),
    )
    return only


def test_a_new_mouse_is_to_go_at_the_first_stage(there: Laboratory) -> None:
    found = line(there)

    assert (found.calls, found.stage, found.d_prime, found.weight) == (
        Calls.GO, "TRAINING_0_gratings_autorewards_15min", "new", "never weighed",
    )  # fmt: skip
    assert found.water == "0.00 of 1.00 mL"


def test_after_its_session_a_mouse_wants_its_water_and_then_is_done(there: Laboratory) -> None:
    day = there.start()

    found = line(there)
    assert found.calls is Calls.WATER
    assert found.stage == "TRAINING_0_gratings_autorewards_15min, done, no d′"
    assert found.why.startswith(f"give it {day.owed_ml:.2f} mL of water; next: moved on from")
    there.lab.record(Water(mouse="M1", day=there.day, kind=WaterKind.SUPPLEMENT, volume_ml=day.owed_ml))
    assert line(there).calls is Calls.DONE
    there.n_days += 1
    tomorrow = line(there)
    assert (tomorrow.calls, tomorrow.stage) == (Calls.GO, "TRAINING_1_gratings")
    assert tomorrow.weight == "21.5 g 86% yesterday"


def test_a_mouse_below_its_floor_is_stopped(there: Laboratory) -> None:
    there.lab.record(Weight(mouse="M1", day=there.day, weight_g=19.9))

    found = line(there)

    assert found.calls is Calls.STOP
    assert found.weight == "19.9 g 80% today, floor 20.0 g"
    assert found.why.startswith("below its floor: no session; give it 1.00 mL of water, and look after it")


def test_a_passive_day_says_its_water_first(there: Laboratory) -> None:
    assert line(there, passive=True).why == "passive: 1.00 mL of water first; no session yet"


def test_a_mouse_on_a_rig_runs_until_its_lease_is_dead(there: Laboratory) -> None:
    with there.lab.lease("M1", rig="box-2", session_id="00000000-0000-4000-8000-000000000001", day=there.day):
        held = there.lab.today(there.day)
    (row,) = held.mice
    assert row.lease is not None
    dead = msgspec.structs.replace(row, lease=msgspec.structs.replace(row.lease, now_s=row.lease.expires_s))

    (runs,) = lines(held, **OF)
    (waits,) = lines(msgspec.structs.replace(held, mice=(dead,)), **OF)

    assert (runs.calls, runs.lease) == (Calls.RUNS, "box-2, tester")
    assert (waits.calls, waits.lease) == (Calls.GO, "box-2, tester (dead)")


def test_a_mouse_whose_rig_was_switched_off_in_mid_session_is_stopped(there: Laboratory) -> None:
    with there.lab.lease("M1", rig="box-2", session_id="00000000-0000-4000-8000-000000000001", day=there.day):
        runs = line(there)
    there.n_days += 1
    found = line(there)

    assert (runs.calls, runs.why) == (Calls.RUNS, "no session yet")
    assert (found.calls, found.stage) == (Calls.STOP, "not decided")
    assert found.why.startswith("its session of 2026-01-05, begun on box-2, is not on record: it runs still, or")


def test_a_session_that_crashed_is_not_said_to_be_done(there: Laboratory) -> None:
    there.start()
    (row,) = there.lab.session_rows("M1")
    there.lab.correct(row, why="as if it had", ended="crashed", task_min=3.2, planned_min=15.0)

    found = line(there)

    assert found.stage == "TRAINING_0_gratings_autorewards_15min, crashed after 3 of 15 min, no d′"
    assert found.why.startswith("rig start M1 --continue goes on with it; give it ")


def test_a_session_without_its_decision_stops_the_mouse(there: Laboratory) -> None:
    there.start()
    there.n_days += 1
    (row,) = there.lab.today(there.day).mice
    undecided = msgspec.structs.replace(row, decision=None)
    today = msgspec.structs.replace(there.lab.today(there.day), mice=(undecided,))

    (found,) = lines(today, **OF)

    assert (found.calls, found.stage) == (Calls.STOP, "not decided")


def test_a_mouse_that_a_start_would_refuse_is_stopped_with_the_command_that_mends_it(there: Laboratory) -> None:
    there.start()
    (row,) = there.lab.session_rows("M1")
    there.lab.correct(row, why="it was another stage", stage="TRAINING_1_gratings")
    for day in (0, 1, 5):
        there.n_days = day
        found = line(there)

        assert (found.calls, "done" in found.stage) == (Calls.STOP, False) if day else (Calls.WATER, True)
        assert "ran TRAINING_1_gratings, but TRAINING_0_gratings_autorewards_15min was due" in found.why
        assert "rig mouse place M1 TRAINING_1_gratings --before-first --why REASON" in found.why


def test_the_page_fits_its_terminal_and_says_when_the_laboratory_is_away(there: Laboratory) -> None:
    for name in ("M2", "M3-with-a-long-name"):
        there.lab.record(msgspec.structs.replace(MOUSE, name=name))
    today = msgspec.structs.replace(there.lab.today(there.day), away="the server does not answer")
    rows = lines(today, **OF)
    assert [row.lease for row in rows] == ["lease unknown"] * 3

    for width in (80, 120):
        shown = io.StringIO()
        Console(file=shown, width=width).print(page(today, rows))
        text = shown.getvalue()
        assert max(len(each) for each in text.splitlines()) <= width
        assert "▲ the laboratory is away: which rig has which mouse is not known here" in text
        assert text.count("▶ GO") == 3


def _luminance(color: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2)."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_what_a_line_asks_for_is_told_by_sign_by_word_and_by_light() -> None:
    signs = [sign for sign, _ in STYLES.values()]
    assert len(set(signs)) == len(Calls)
    for _, style in STYLES.values():
        if colors := re.findall(r"#[0-9a-f]{6}", style):
            assert _contrast(*colors) >= 7.0  # the strictest of WCAG's levels
    stop, go = (re.findall(r"#[0-9a-f]{6}", STYLES[call][1])[1] for call in (Calls.STOP, Calls.GO))
    assert _contrast(stop, go) >= 5.0  # dark and light, to eyes that don't tell red from green
    waits = (Calls.STOP, Calls.RUNS)
    asks = (Calls.GO, Calls.WATER)
    backs = {call: _luminance(re.findall(r"#[0-9a-f]{6}", STYLES[call][1])[1]) for call in (*waits, *asks)}
    assert all(
        backs[dark] < backs[light]
        for dark, light in combinations((*waits, *asks), 2)
        if dark in waits and light in asks
    )
