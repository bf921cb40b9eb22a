"""What can go wrong with the laboratory's database, each said in a sentence."""

from __future__ import annotations


class LabError(Exception):
    """The database can't do what was asked: what, where, how to mend it."""


class LaboratoryAway(LabError):
    """The laboratory's database can't be reached. What is recorded goes into the rig's own file meanwhile."""


class StartRefused(LabError):
    """A mouse may not start a session here and now."""


class MouseHeld(StartRefused):
    """Another rig, or another program on this one, has the mouse.

    Parameters
    ----------
    free_in_s
        When its lease ends if its heart stands still, by the database's clock.
    """

    def __init__(self, sentence: str, *, free_in_s: float) -> None:
        super().__init__(sentence)
        self.free_in_s = free_in_s


class SecondSession(StartRefused):
    """The mouse had a session on this day, and there is no override."""
