"""The twin's card without its server: however time is cut up, the same happens at the same ticks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.clock import CardClock
from hardware.simulated.mice import ScriptedMouse
from hardware.simulated.twin.errors import CardError
from hardware.simulated.twin.inputs import AnalogInput, CounterInput, DigitalInput
from hardware.simulated.twin.model import Card
from hardware.simulated.twin.mouse import MouseAtCard
from hardware.simulated.twin.outputs import PulseOutput
from hardware.simulated.twin.pins import LINES, lines, split
from hardware.simulated.twin.tasks import CONTINUOUS, Task

END = 10_000_000
EDGES = st.lists(
    st.tuples(st.integers(1, 2000).map(lambda n: n * 4999), st.sampled_from([0, 1, 31]), st.booleans()), max_size=60
)


def new_card() -> Card:
    return Card(device="Dev1", clock=CardClock(drift_ppm=0.0, zero_ticks=0))


def inputs(card: Card) -> tuple[DigitalInput, CounterInput]:
    di, ci = DigitalInput(card), CounterInput(card)
    di.add(lines("Dev1/port0", "Dev1"), one_channel=True, name="")
    di.detect_changes("Dev1/port0", "Dev1/port0", mode=CONTINUOUS, samples_per_channel=1000)
    ci.counter, ci.term, ci.clock_term, ci.mode = (
        "ctr1",
        "/Dev1/100MHzTimebase",
        "/Dev1/ChangeDetectionEvent",
        CONTINUOUS,
    )
    for engine in (ci, di):
        Task("", card, engine).start()
    return di, ci


def run(edges: list[tuple[int, int, bool]], stops: list[int]) -> tuple[list[int], list[int], Card]:
    """Return counts and words of a card on which a lick starts a pulse, advanced from stop to stop."""
    card = new_card()
    card.wire("port0/line31", "PFI0")
    card.wire("ctr0", "port0/line7")
    di, ci = inputs(card)
    co = PulseOutput(card)
    co.counter, co.high_s, co.low_s, co.trigger, co.retriggerable = "ctr0", 0.004, 0.001, "PFI0", True
    Task("", card, co).start()
    mouse = ScriptedMouse(np.random.default_rng(1), lick_times_s=[0.01, 0.08])
    MouseAtCard(card=card, mouse=mouse, lick_line="port0/line31", valve="ctr0")
    for tick, line, level in edges:
        card.at(tick, lambda pin=f"port0/line{line}", level=level: card.drive(pin, level=level))
    for stop in sorted(stops):
        card.advance(stop)
    card.advance(END)
    return ci.read(ci.available()), di.read(di.available()), card


@given(edges=EDGES, stops=st.lists(st.integers(0, END), max_size=20))
def test_however_time_is_cut_up_the_same_happens_at_the_same_ticks(
    edges: list[tuple[int, int, bool]], stops: list[int]
) -> None:
    ticks, words, _ = run(edges, [])
    assert run(edges, stops)[:2] == (ticks, words)
    assert len(ticks) == len(words)
    assert np.all(np.diff(ticks) > 0)


@given(edges=EDGES)
def test_the_samples_are_what_the_scope_saw(edges: list[tuple[int, int, bool]]) -> None:
    ticks, words, card = run(edges, [])
    changes = [(tick, line, level) for line in range(32) for tick, level in card.scope[f"port0/line{line}"]]
    at_end, state = {}, 0
    for tick, line, level in sorted(changes, key=lambda change: change[0]):
        state = state | 1 << line if level else state & ~(1 << line)
        at_end[tick] = state
    seen, before = [], 0
    for tick, state in at_end.items():
        if state != before:
            seen.append((tick, state))
        before = state
    assert list(zip(ticks, words, strict=True)) == seen


def test_wires_in_a_ring_come_to_rest() -> None:
    card = new_card()
    ring = ("port0/line1", "port0/line2", "PFI4")
    for source, target in zip(ring, ring[1:] + ring[:1], strict=True):
        card.wire(source, target)
    card.drive("port0/line2", level=True)
    assert all(card.level(card.resolve(net)) for net in ring)


def test_a_call_after_a_change_comes_a_tick_later() -> None:
    card = new_card()
    ticks = []
    for level in (True, False, True):
        card.begin_call(500)
        card.drive("port0/line0", level=level)
        card.end_call()
        ticks.append(card.now)
    assert ticks == [500, 501, 502]


def test_what_one_task_holds_another_does_not_get_and_nothing_is_half_taken() -> None:
    card = new_card()
    card.reserve("a", [("ctr0", -50103)])
    with pytest.raises(CardError, match="ctr0"):
        card.reserve("b", [("ctr1", -50103), ("ctr0", -50103)])
    card.release("a")
    card.reserve("c", [("ctr0", -50103), ("ctr1", -50103)])


@pytest.mark.parametrize("rate_hz", [1000.0, 999.0, 30_000.0, 7.3])
def test_as_many_samples_as_have_come(rate_hz: float) -> None:
    card = new_card()
    ai = AnalogInput(card)
    ai.channels, ai.ranges, ai.mode, ai.rate_hz = ["ai0"], [(0.0, 5.0)], CONTINUOUS, rate_hz
    ai.start()
    card.advance(12_345_678)
    n = ai.total()
    assert ai.due(n) <= card.now < ai.due(n + 1)


def test_names_of_lines() -> None:
    assert split(" Dev1/port0/line2:0, Dev1/PFI1 ,") == [f"Dev1/port0/line{n}" for n in (2, 1, 0)] + ["Dev1/PFI1"]
    assert lines("/dev1/PFI9,Dev1/Port2/line1", "Dev1") == ["port2/line1", "port2/line1"]
    assert lines("Dev1/port0,Dev1/port1,Dev1/port2", "Dev1") == list(LINES)
    for name in ("Dev1/port3/line0", "Dev2/port0/line0", "Dev1/PFI16", "line0"):
        with pytest.raises(CardError):
            lines(name, "Dev1")
