"""What a stage is made of: every parameter of the task with its unit, bounds and source.

One YAML file per stage holds exactly these fields. Unknown fields are refused (camstim dropped
``catch_frequency`` in silence, TASK_FACTS 1.1), and combinations that contradict each other are
named by the cross-field checks. Numbers are those of regimen Task1A v1.1.1 unless said otherwise.

Two kinds of stage: ``StageParameters`` has trials, ``SweepParameters`` shows a sweep of patches
without a task. The field ``sweep`` tells them apart.

What never comes to bear is no contradiction: TRAINING_0 gives a time-out though no lick aborts, a
passive stage its reward volume. Refused is what the task could not do, or would do in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def named_image_set(stage: str) -> str | None:
    """Return the image set that a stage's name says, as published ones do (``OPHYS_1_images_A``); None without."""
    found = re.search(r"_images_([^_]+)", stage)
    return found[1] if found else None


class Wrong(NamedTuple):
    """What is wrong with a field beside the others, and what would be right."""

    field: str
    """From the model that says so: ``warm_up_trials``, ``change.flashes_min``."""
    message: str


class Contradictions(ValueError):
    """Fields that are right one by one and not together."""

    def __init__(self, problems: list[Wrong]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in problems))
        self.problems = problems


class Gratings(_Strict):
    """Full-field square gratings in groups; the identity of the stimulus is its group."""

    kind: Literal["gratings"]
    groups_deg: dict[str, Annotated[list[float], Field(min_length=1)]] = Field(
        description="orientations of each group in degrees, e.g. vertical: [0, 180]", min_length=2
    )
    spatial_frequency_cpd: float = Field(gt=0, description="cycles per degree; 0.04 (TASK_FACTS 9)")
    phase_cycles: float = Field(ge=0, lt=1, description="0.25 (TASK_FACTS 9)")
    contrast: float = Field(gt=0, le=1, description="1.0: the regimen gives none, camstim's early default")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        group_of: dict[float, str] = {}
        problems = []
        for group, orientations in self.groups_deg.items():
            for orientation in orientations:
                first = group_of.setdefault(orientation % 180, group)
                if first != group:
                    what = f"{orientation:g} looks as an orientation of {first} does: the mouse could not tell them"
                    problems.append(Wrong(f"groups_deg.{group}", what))
        if problems:
            raise Contradictions(problems)
        return self


class NaturalImages(_Strict):
    """Eight pictures of one image set, named in ``configs/image_sets``."""

    kind: Literal["natural_images"]
    image_set: str = Field(description="name of the set: A, B, G, H or a laboratory's own")


class Flashed(_Strict):
    """The stimulus comes and goes: ``flash_s`` on, ``gray_s`` gray (TASK_FACTS 1.1)."""

    kind: Literal["flashed"]
    flash_s: float = Field(gt=0, description="0.25")
    gray_s: float = Field(gt=0, description="0.5")


class Static(_Strict):
    """The stimulus stays on all the time (TRAINING_0 and TRAINING_1)."""

    kind: Literal["static"]


class GeometricChange(_Strict):
    """The change comes on a flash: geometric, restricted to a range and renormalised (TASK_FACTS 1.4)."""

    kind: Literal["geometric"]
    p: float = Field(gt=0, lt=1, description="0.3")
    flashes_min: int = Field(ge=1, description="4; the flash a trial starts on is number 0")
    flashes_max: int = Field(ge=1, description="11, inclusive")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.flashes_max < self.flashes_min:
            raise Contradictions([Wrong("flashes_max", f"{self.flashes_max} is below flashes_min, {self.flashes_min}")])
        return self


class ExponentialChange(_Strict):
    """The change comes after ``earliest_s`` plus an exponential time below ``below_s`` (TASK_FACTS 1.4)."""

    kind: Literal["exponential"]
    earliest_s: float = Field(ge=0, description="2.25, camstim's pre_change_time; licks in it abort")
    mean_s: float = Field(gt=0, description="2.0")
    below_s: float = Field(gt=0, description="6.0; redrawn until below it")


class CatchDraw(_Strict):
    """Each fresh trial is a catch trial with this probability (gratings; 0.125, TASK_FACTS 1.5)."""

    kind: Literal["draw"]
    probability: float = Field(ge=0, lt=1)


class CatchWalk(_Strict):
    """A trial is a catch trial where the image walk stays put: 8 of 64 = 12.5 % (TASK_FACTS 1.5)."""

    kind: Literal["walk"]


class Movie(_Strict):
    """The movie shown at the end (TASK_FACTS 1.9)."""

    name: str = Field(description="natural_movie_one")
    frame_rate_hz: float = Field(gt=0, description="30")
    n_frames: int = Field(gt=0, description="900")
    n_repeats: int = Field(gt=0, description="10")


class StageParameters(_Strict):
    """One stage, complete. Durations in seconds, volumes in microlitres, counts as counts."""

    stage: str = Field(pattern=r"^[A-Za-z0-9_]+$", description="session type, as the data file will name it")
    stimulus: Annotated[Gratings | NaturalImages, Field(discriminator="kind")]
    presentation: Annotated[Flashed | Static, Field(discriminator="kind")]
    change: Annotated[GeometricChange | ExponentialChange, Field(discriminator="kind")]
    catch: Annotated[CatchDraw | CatchWalk, Field(discriminator="kind")]

    response_window_s: tuple[float, float] = Field(description="[0.15, 0.75] after the change, both ends count")
    abort_on_early_lick: bool = Field(description="a lick before the change ends the trial")
    timeout_s: float = Field(ge=0, description="0.3 after an early lick; each lick begins it anew")
    max_repeats_after_abort: int = Field(ge=0, description="5: the same parameters again after an abort")
    after_window_s: float = Field(ge=0, description="3.5 from the window's close to the trial's end")

    reward_volume_ul: float = Field(ge=0, description="earned reward")
    auto_reward_volume_ul: float = Field(ge=0, description="5: auto and free rewards")
    auto_reward_delay_s: float = Field(ge=0, description="0.15 after the change")
    warm_up_trials: int = Field(ge=-1, description="completed go trials paid automatically; -1: all")
    free_reward_after_misses: int | None = Field(
        ge=1, description="go trials in a row without reward after which the next go trial is paid; null: never"
    )
    volume_limit_ul: float = Field(gt=0, description="5000; judged at a trial's end")

    omission_probability: float = Field(ge=0, lt=1, description="0.05 of the eligible flashes in OPHYS_1-6")
    passive: bool = Field(description="spout retracted, no water; the trials run all the same")
    imaging: bool = Field(description="the microscope records this stage")

    gray_before_s: float = Field(ge=0, description="20, or 300 with the epilogue")
    task_duration_min: float = Field(gt=0, description="60 (15 in TRAINING_0); judged at a trial's end")
    gray_after_s: float = Field(ge=0, description="as gray_before_s")
    movie: Movie | None = Field(description="the epilogue, or null")
    overrun_limit_s: float = Field(
        default=60.0,
        ge=0,
        description="a trial still running this long past the task's duration is cut: a mouse that never "
        "stops licking would keep its time-out for ever",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._of_stimulus(), *self._of_window(), *self._of_water()]
        if problems:
            raise Contradictions(problems)
        return self

    @property
    def _pays_automatically(self) -> bool:
        return not self.passive and (self.warm_up_trials != 0 or self.free_reward_after_misses is not None)

    def _of_stimulus(self) -> Iterator[Wrong]:
        flashed = isinstance(self.presentation, Flashed)
        if flashed != isinstance(self.change, GeometricChange):
            yield Wrong(
                "change.kind",
                f"{self.change.kind} does not go with presentation {self.presentation.kind}: flashed goes with "
                "geometric (counted in flashes), static with exponential (in seconds)",
            )
        if self.omission_probability and not flashed:
            yield Wrong("omission_probability", "must be 0 when the presentation is static: there is no flash to omit")
        if self.omission_probability and isinstance(self.change, GeometricChange) and self.change.flashes_min < 2:
            yield Wrong(
                "change.flashes_min",
                "must be at least 2 with omissions: the flash before a change is never omitted, and the flash a "
                "trial starts on is planned before the trial is",
            )
        if isinstance(self.catch, CatchWalk) != isinstance(self.stimulus, NaturalImages):
            yield Wrong(
                "catch.kind",
                f"{self.catch.kind} does not go with stimulus {self.stimulus.kind}: images take their catch trials "
                "from the walk, gratings draw them",
            )
        if isinstance(self.catch, CatchDraw) and self.catch.probability and self.warm_up_trials == -1:
            yield Wrong(
                "catch.probability",
                "must be 0 when warm_up_trials is -1: a catch trial that falls inside the warm-up is not run, "
                "so there would never be one",
            )

        named = named_image_set(self.stage)
        if isinstance(self.stimulus, NaturalImages) and named not in (None, self.stimulus.image_set):
            yield Wrong(
                "stimulus.image_set",
                f"{self.stimulus.image_set} contradicts the stage's name {self.stage}, which says set {named}: the "
                "data file would be filed under images the mouse never saw",
            )

    def _of_window(self) -> Iterator[Wrong]:
        low, high = self.response_window_s
        window = f"[{low:g}, {high:g}]"
        if not 0 <= low <= high:
            yield Wrong("response_window_s", f"{window} must rise and not begin before the change")
        elif low == high and self.warm_up_trials != -1:
            yield Wrong(
                "response_window_s",
                f"{window} leaves no time for an answer: give it a length, or pay every trial (warm_up_trials: -1)",
            )
        if isinstance(self.presentation, Flashed):
            cycle_s = self.presentation.flash_s + self.presentation.gray_s
            if high > cycle_s + 1e-9:
                yield Wrong(
                    "response_window_s",
                    f"ends at {high:g} s, after the next flash ({cycle_s:g} s): a lick could answer two flashes",
                )
        end_s = high + self.after_window_s
        if self._pays_automatically and self.auto_reward_delay_s >= end_s:
            yield Wrong(
                "auto_reward_delay_s",
                f"{self.auto_reward_delay_s:g} s must be below {end_s:g} s: the trial ends that long after the change "
                "(response_window_s and after_window_s), and the water would never be given",
            )

    def _of_water(self) -> Iterator[Wrong]:
        if self.passive:
            if self.warm_up_trials:
                yield Wrong("warm_up_trials", "must be 0 in a passive stage: no water is given")
            if self.free_reward_after_misses is not None:
                yield Wrong("free_reward_after_misses", "must be null in a passive stage: no water is given")
            return
        largest_ul = max(self.reward_volume_ul, self.auto_reward_volume_ul if self._pays_automatically else 0.0)
        if self.volume_limit_ul < largest_ul:
            yield Wrong("volume_limit_ul", f"{self.volume_limit_ul:g} uL is less than one reward, {largest_ul:g} uL")
        if self._pays_automatically and not self.auto_reward_volume_ul:
            yield Wrong(
                "auto_reward_volume_ul",
                "must be above 0: warm_up_trials or free_reward_after_misses would pay trials with no water "
                "(0 and null pay none)",
            )


class GaborSweep(_Strict):
    """Drifting gratings behind a circular mask, one at a time at every place of a grid, in random order.

    Every combination of azimuth, altitude and orientation comes once in each repeat. Numbers are those of
    the group's Neuropixels experiments (stage OPHYS_7_receptive_field_mapping says where they stand).
    """

    azimuths_deg: list[float] = Field(min_length=1, description="-40 to 40, every 10; 0 is the screen's centre")
    altitudes_deg: list[float] = Field(min_length=1, description="-40 to 40, every 10; up is positive")
    orientations_deg: list[float] = Field(min_length=1, description="0, 45, 90")
    spatial_frequency_cpd: float = Field(gt=0, description="0.08 cycles per degree")
    temporal_frequency_hz: float = Field(ge=0, description="4; 0 stands still")
    diameter_deg: float = Field(gt=0, description="20")
    contrast: float = Field(gt=0, le=1, description="0.8")
    duration_s: float = Field(gt=0, description="0.25")
    gap_s: float = Field(ge=0, description="0: gray between two patches")
    n_repeats: int = Field(ge=1, description="15")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        problems = []
        for field in ("azimuths_deg", "altitudes_deg", "orientations_deg"):
            values: list[float] = getattr(self, field)
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                problems.append(Wrong(field, f"{twice[0]:g} stands there twice; each comes once in a repeat"))
        if problems:
            raise Contradictions(problems)
        return self

    @property
    def n_presentations(self) -> int:
        """How many patches are shown, all repeats."""
        return len(self.azimuths_deg) * len(self.altitudes_deg) * len(self.orientations_deg) * self.n_repeats

    @property
    def length_s(self) -> float:
        """How long the sweep takes, the gap after each patch included."""
        return self.n_presentations * (self.duration_s + self.gap_s)


class SweepParameters(_Strict):
    """A stage without a task, complete: a sweep between gray and gray. The spout is retracted, no water is given."""

    stage: str = Field(pattern=r"^[A-Za-z0-9_]+$", description="session type, as the data file will name it")
    sweep: GaborSweep
    imaging: bool = Field(description="the microscope records this stage")
    gray_before_s: float = Field(ge=0)
    gray_after_s: float = Field(ge=0)
    movie: Movie | None = Field(description="shown at the end, or null")


Stage = StageParameters | SweepParameters


def stage_of(fields: Mapping[str, Any]) -> Stage:
    """Return the fields of either kind of stage as that stage, checked."""
    return (SweepParameters if "sweep" in fields else StageParameters).model_validate(fields)
