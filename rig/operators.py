"""The operator as a start knows one: answers from the command's options, or from whoever sits at the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.text import Text

from rig.lab.errors import StartRefused
from rig.training.large import large


@dataclass(slots=True, kw_only=True)
class AtTerminal:
    """Asks what no option has said; without a terminal it refuses and names the option.

    Parameters
    ----------
    asks
        Whether somebody is there to answer.
    weight_given_g, water_given_ml, name_given
        What options said.
    """

    out: Console
    asks: bool
    weight_given_g: float | None = None
    water_given_ml: float | None = None
    name_given: str | None = None
    shown: bool = False
    """Whether the name has been shown."""

    def tell(self, words: str) -> None:
        """See ``Operator``."""
        self.out.print(words, markup=False)

    def show_name(self, mouse: str) -> None:
        """See ``Operator``."""
        self.shown = True
        self.out.print(Text(f"\n{large(mouse, columns=self.out.width)}\n", style="bold"), soft_wrap=False, no_wrap=True)

    def weight_g(self, mouse: str) -> float:
        """See ``Operator``."""
        if self.weight_given_g is not None:
            return self.weight_given_g
        if not self.asks:
            raise StartRefused(f"{mouse} was not weighed today, and nobody is here to ask; give --weight-g GRAMS")
        weight_g: float = typer.prompt(f"Weight of {mouse} in g", type=float)
        return weight_g

    def is_this(self, mouse: str, doubts: Sequence[str]) -> bool:
        """See ``Operator``."""
        if self.name_given is None and not self.asks:
            if not self.shown:
                self.show_name(mouse)
            raise StartRefused(f"{'; '.join(doubts)}: look at the cage's card, and give the name on it with --name")
        for doubt in doubts:
            self.out.print(f"▲ {doubt}.", markup=False)
        self.out.print(f"Is this {mouse}?", markup=False)
        self.show_name(mouse)
        if self.name_given is not None:
            return self.name_given == mouse
        typed: str = typer.prompt("Type the name on the cage's card")
        return typed.strip() == mouse

    def given_ml(self, mouse: str, *, at_least_ml: float) -> float | None:
        """See ``Operator``."""
        if self.water_given_ml is not None or not self.asks:
            return self.water_given_ml
        given_ml: float = typer.prompt(
            f"Water that {mouse} has just been given, in mL ({at_least_ml:.2f} or more; 0: none)", type=float
        )
        return given_ml or None
