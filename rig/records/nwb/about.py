"""What a rig can't know and a data file wants: the mouse's age and genes, the laboratory.

A YAML file, looked for as ``about.yaml`` in the session's folder, then as ``MOUSE.yaml`` beside it. What nobody gave
is written as unknown.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rig.config.load import load_yaml
from rig.records.nwb import NwbError

SESSION_FILE = "about.yaml"
OLDEST_DAYS = 1825
Text = Annotated[str, Field(min_length=1)]


class About(BaseModel):
    """A mouse, and whose it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    born: date | None = Field(default=None, description="day of birth; null: unknown")
    sex: Literal["M", "F", "U", "O"] = Field(default="U", description="male, female, unknown, other")
    species: Text = "Mus musculus"
    strain: Text | None = None
    genotype: Text = Field(default="unknown", description="for example Slc17a7-IRES2-Cre/wt;Ai93/wt")
    driver_line: list[Text] = Field(default_factory=list)
    reporter_line: Text | None = None
    experimenter: list[Text] = Field(default_factory=list, description="as 'Last, First'")
    lab: Text | None = None
    institution: Text | None = None
    project_code: Text = "open-vision-rig"

    def age_days(self, on: date) -> int | None:
        """Return how old the mouse was on a day; None where its birth is not known.

        Raises
        ------
        NwbError
            It was not born yet, or would be older than any mouse.
        """
        if self.born is None:
            return None
        age_days = (on - self.born).days
        if not 0 <= age_days <= OLDEST_DAYS:
            raise NwbError(
                f"a mouse born on {self.born} was {age_days} days old on the session's day, {on}; correct born in the "
                "file about the mouse"
            )
        return age_days


def about_of(folder: Path, *, mouse: str, file: Path | None = None) -> About:
    """Return what is known of a session's mouse: from ``file``, or from where such files are looked for.

    Raises
    ------
    ConfigError
        The file is wrong; says what and where.
    """
    if file is not None:
        return load_yaml(file, About)
    for path in (folder / SESSION_FILE, folder.parent / f"{mouse}.yaml"):
        if path.is_file():
            return load_yaml(path, About)
    return About()
