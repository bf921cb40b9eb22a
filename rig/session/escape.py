"""Escape at the window is stop-now: one more source of requests beside the command socket."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from hardware.events import Finding
from hardware.protocols import Command, CommandSource
from stages.events import Verb

ESCAPE = "escape"


class WithEscape:
    """A ``CommandSource`` that adds the key's request to another's.

    The key is pressed in the loop's own thread, while it waits for a flip.
    """

    def __init__(self, source: CommandSource, *, who: str) -> None:
        self._source = source
        self._who = who
        self._pressed: deque[Command] = deque()

    def press(self) -> None:
        """Ask for the session's end."""
        text = "Escape at the window"
        self._pressed.append(Command(id=ESCAPE, who=self._who, verb=Verb.STOP_NOW.value, text=text))

    def poll(self) -> Sequence[Command]:
        """See ``CommandSource.poll``."""
        return [*self._source.poll(), *(self._pressed.popleft() for _ in range(len(self._pressed)))]

    def answer(self, *, command: str, applied: bool, what: str) -> None:
        """See ``CommandSource.answer``; who pressed the key sees what comes of it."""
        if command != ESCAPE:
            self._source.answer(command=command, applied=applied, what=what)

    def next_due_s(self) -> float:
        """See ``CommandSource.next_due_s``."""
        return -math.inf if self._pressed else self._source.next_due_s()

    def found(self) -> Sequence[Finding]:
        """See ``CommandSource.found``."""
        return self._source.found()
