"""The task without a rig: a monitor, a valve and a spout that never fail, and any mouse.

For what needs the task's own answers and no device: distributions over many hours, one trial of each kind for a
picture, another program's recording. A test proves that the whole loop on simulated devices decides the same.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from stages.events import (
    Action,
    Event,
    InputEvent,
    Lick,
    RewardArmed,
    RewardCommanded,
    RewardConfirmed,
    RewardDisarmed,
    RewardFired,
    RewardPath,
    RewardWithdrawn,
    SpoutCommanded,
    SpoutMoved,
)
from stages.task import At, Task
from stages.trial import NEVER

OPEN_S = 0.05
"""How long a pulse is said to have lasted; no decision rests on it."""


class PromptValve:
    """Answers every order at once, and the spout's too; pays the first lick in an armed window."""

    def __init__(self) -> None:
        self._armed: RewardArmed | None = None

    def follow(self, actions: Sequence[Action], *, time_s: float) -> list[InputEvent]:
        """Carry out what a step asked for; return what the next one hears of it."""
        heard: list[InputEvent] = []
        for action in actions:
            match action:
                case RewardArmed():
                    self._armed = action
                case RewardWithdrawn(reward=reward) if self._armed is not None:
                    self._armed = None
                    heard.append(RewardDisarmed(reward=reward))
                case RewardCommanded(reward=reward):
                    heard += _paid(reward, time_s=time_s, lick_s=None)
                case SpoutCommanded(position=position):
                    heard.append(SpoutMoved(position=position, time_s=time_s))
                case _:
                    pass
        return heard

    def lick(self, lick_s: float, *, ticks: int = -1) -> list[InputEvent]:
        """Return a lick and, if it is paid, its reward."""
        heard: list[InputEvent] = [Lick(time_s=lick_s, ticks=ticks)]
        armed = self._armed
        if armed is not None and armed.opens_s <= lick_s <= armed.closes_s:
            self._armed = None
            heard += _paid(armed.reward, time_s=lick_s, lick_s=lick_s)
        return heard


class DryMouse(Protocol):
    """A mouse that is told everything and says when it licks next."""

    def sees(self, event: Event, *, time_s: float) -> None:
        """Take note of something the task has heard or decided."""

    @property
    def next_lick_s(self) -> float:
        """The time of the next lick, or infinity."""

    def take_lick(self) -> float:
        """Make that lick; return its time."""


class DryStep(NamedTuple):
    """A step: its flip, what it was told and what it decided, in order."""

    refresh: int
    time_s: float
    events: Sequence[Event]


def run_dry(
    task: Task, mouse: DryMouse, *, refresh_hz: float, flips_s: Sequence[float] | None = None
) -> Iterator[DryStep]:
    """Run a session to its end, one step a yield, stepping only when something is due.

    Parameters
    ----------
    flips_s
        The time of each flip, one a refresh; without them they come exactly at the nominal rate.
    """
    valve = PromptValve()

    def time_of(refresh: int) -> float:
        return refresh / refresh_hz if flips_s is None else flips_s[refresh]

    def first_flip_at(time_s: float) -> int:
        if time_s == math.inf:
            return NEVER
        return math.ceil(time_s * refresh_hz - 1e-9) if flips_s is None else bisect_left(flips_s, time_s)

    refresh = 0
    inputs: list[InputEvent] = []
    while True:
        time_s = time_of(refresh)
        out = task.step(At(refresh, refresh, time_s), inputs)
        events = (*inputs, *out.events)
        for event in events:
            mouse.sees(event, time_s=time_s)
        yield DryStep(refresh, time_s, events)
        if out.finished:
            return
        inputs = valve.follow(out.actions, time_s=time_s)
        due = min(out.due_refresh, first_flip_at(out.due_s), first_flip_at(mouse.next_lick_s))
        refresh = refresh + 1 if inputs else max(refresh + 1, due)
        while mouse.next_lick_s <= time_of(refresh):
            inputs += valve.lick(mouse.take_lick())


def _paid(reward: int, *, time_s: float, lick_s: float | None) -> list[InputEvent]:
    path = RewardPath.COMMANDED if lick_s is None else RewardPath.CARD
    return [
        RewardFired(reward=reward, path=path, time_s=time_s, lick_time_s=lick_s),
        RewardConfirmed(reward=reward, time_s=time_s, open_s=OPEN_S),
    ]
