"""What a criterion found in a history: figures, written so that no rounding carries them across a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def in_words(n: int) -> str:
    """Return a small count as a word, a large one in digits."""
    return _WORDS[n] if 0 <= n < len(_WORDS) else str(n)


def figure_text(value: float | None, *, beside: Sequence[float] = (), decimals: int = 2) -> str:
    """Return a figure with as many decimals as it takes to stand on its true side of each threshold."""
    if value is None:
        return "none"
    for n in range(decimals, 18):
        text = f"{value:.{n}f}"
        if all((float(text) > limit, float(text) < limit) == (value > limit, value < limit) for limit in beside):
            return text
    return repr(value)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one kind, a value a session or one over all of them."""

    what: str
    """In words: ``peak d′``."""
    values: tuple[float | None, ...]
    session_ids: tuple[str, ...]
    """The sessions it was taken from, oldest first."""
    beside: tuple[float, ...] = ()
    """The thresholds it is held against; it is written closely enough to stand on the true side of each."""
    decimals: int = 0
    """How closely it is written at least."""

    @property
    def shown(self) -> tuple[str, ...]:
        """The values as the sentence writes them."""
        return tuple(figure_text(value, beside=self.beside, decimals=self.decimals) for value in self.values)

    def words(self) -> str:
        """Return it as it stands in a sentence."""
        return f"{self.what} {', '.join(self.shown) or 'of no session'}"


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A criterion applied to a history."""

    criterion: str
    """Its kind."""
    holds: bool
    needs: str
    """What it takes, to follow ``needs``: ``two of the last three above 2``."""
    figures: tuple[Figure, ...]
    n_sessions: int | None = None
    """How many sessions there are, where that is fewer than the criterion's window."""

    def found(self) -> str:
        """Return what was found, in words."""
        short = f" ({in_words(self.n_sessions)} so far)" if self.n_sessions is not None else ""
        return "; ".join(figure.words() for figure in self.figures) + short
