"""Figures that tests tell: printed when all have run, whichever process ran them."""

from __future__ import annotations

from typing import Protocol

FIGURE = "figure"
"""The name under which a test's report carries what it tells."""


class Tell(Protocol):
    """Tells a line; the fixture ``tell``."""

    def __call__(self, words: str, /) -> None:
        """Have it printed at the end."""
