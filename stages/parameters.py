"""What a stage is made of: every parameter of the task with its unit, bounds and source.

One YAML file per stage holds exactly these fields. Unknown fields are refused (camstim dropped
``catch_frequency`` in silence, TASK_FACTS 1.1), and combinations that contradict each other are
named by the cross-field checks. Numbers are those of regimen Task1A v1.1.1 unless said otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Gratings(_Strict):
    """Full-field square gratings in groups; the identity of the stimulus is its group."""

    kind: Literal["gratings"]
    groups_deg: dict[str, list[float]] = Field(
        description="orientations of each group in degrees, e.g. vertical: [0, 180]", min_length=2
    )
    spatial_frequency_cpd: float = Field(gt=0, description="cycles per degree; 0.04 (TASK_FACTS 9)")
    phase_cycles: float = Field(ge=0, lt=1, description="0.25 (TASK_FACTS 9)")
    contrast: float = Field(gt=0, le=1, description="1.0: the regimen gives none, camstim's early default")


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
            raise ValueError(f"flashes_max {self.flashes_max} is below flashes_min {self.flashes_min}")
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
        problems = []
        low, high = self.response_window_s
        if not 0 <= low <= high:
            problems.append(f"response_window_s [{low:g}, {high:g}] must rise and not begin before the change")
        flashed = isinstance(self.presentation, Flashed)
        if flashed != isinstance(self.change, GeometricChange):
            problems.append(
                f"presentation {self.presentation.kind} does not go with change {self.change.kind}: "
                "flashed goes with geometric (counted in flashes), static with exponential (in seconds)"
            )
        if self.omission_probability and not flashed:
            problems.append("omission_probability must be 0 when the presentation is static: there is no flash to omit")
        if self.omission_probability and isinstance(self.change, GeometricChange) and self.change.flashes_min < 2:
            problems.append(
                "change.flashes_min must be at least 2 with omissions: the flash before a change is never omitted, and "
                "the flash a trial starts on is planned before the trial is"
            )
        walk = isinstance(self.catch, CatchWalk)
        if walk != isinstance(self.stimulus, NaturalImages):
            problems.append(
                f"catch {self.catch.kind} does not go with stimulus {self.stimulus.kind}: "
                "images take their catch trials from the walk, gratings draw them"
            )
        if self.passive and self.warm_up_trials:
            problems.append("warm_up_trials must be 0 in a passive stage: no water is given")
        if self.passive and self.free_reward_after_misses is not None:
            problems.append("free_reward_after_misses must be null in a passive stage: no water is given")
        if isinstance(self.presentation, Flashed):
            # The change must be over before the next one could come; the trial spans whole flashes.
            cycle_s = self.presentation.flash_s + self.presentation.gray_s
            if high > cycle_s + 1e-9:
                problems.append(
                    f"response_window_s ends at {high:g} s, after the next flash ({cycle_s:g} s): a lick could "
                    "answer two flashes"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self
