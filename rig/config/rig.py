"""The model of a rig: what stands in a file of ``configs/rigs``."""

from __future__ import annotations

from datetime import date
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stages.events import FaultPolicy
from stimuli.headless import Behaviour


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HeadlessScreenConfig(_Strict):
    """A simulated monitor."""

    kind: Literal["headless"]
    refresh_hz: float = Field(gt=20, lt=500, description="nominal rate; durations must be whole refreshes of it")
    behaviour: Behaviour = Field(description="perfect, jittering, dropping or drifting")


class SimulatedCardConfig(_Strict):
    """A simulated card."""

    kind: Literal["simulated"]
    drift_ppm: float = Field(ge=-500, le=500, description="how much faster than the host its clock runs")


class ValveConfig(_Strict):
    """The reward valve: which paths may open it, and its dated calibration."""

    paths: list[Literal["card", "software"]] = Field(min_length=1, description="what may pay an armed lick")
    slope_s_per_ul: float = Field(gt=0, description="open time per volume")
    intercept_s: float = Field(ge=0, description="open time that gives no water yet")
    volume_min_ul: float = Field(gt=0, description="smallest volume that was weighed")
    volume_max_ul: float = Field(gt=0, description="largest volume that was weighed")
    measured_on: date = Field(description="day of the calibration")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.volume_max_ul <= self.volume_min_ul:
            raise ValueError("volume_max_ul must be above volume_min_ul")
        return self


class FaultsConfig(_Strict):
    """Faults a simulated rig is asked for, in seconds after the first flip; null for never."""

    lick_line_stuck_s: float | None = Field(default=None, ge=0)
    encoder_frozen_s: float | None = Field(default=None, ge=0)
    valve_silent_s: float | None = Field(default=None, ge=0)
    device_gone_s: float | None = Field(default=None, ge=0)
    spout_stuck: bool = False


POLICY_DEVICES = ("card", "valve", "lick_sensor", "encoder", "spout", "log", "microscope", "cameras")


class RigConfig(_Strict):
    """One rig, complete."""

    rig: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="the rig's name")
    screen: HeadlessScreenConfig
    card: SimulatedCardConfig
    valve: ValveConfig
    imaging: bool = Field(description="whether the rig has a microscope and cameras")
    lick_latency_s: float = Field(
        ge=0,
        le=0.1,
        description="how late a lick may reach the task; response windows close, and trials end, this much later; "
        "0 simulated, some ms on a card",
    )
    data_dir: str = Field(description="where sessions go, relative to the folder the program runs in")
    policies: dict[str, FaultPolicy] = Field(description="what a fault of each device does to the session")
    faults: FaultsConfig = FaultsConfig()

    @field_validator("policies")
    @classmethod
    def _known_devices(cls, policies: dict[str, FaultPolicy]) -> dict[str, FaultPolicy]:
        unknown = sorted(set(policies) - set(POLICY_DEVICES))
        if unknown:
            raise ValueError(f"no such device: {', '.join(unknown)}; one of {', '.join(POLICY_DEVICES)}")
        missing = [device for device in POLICY_DEVICES if device not in policies]
        if missing:
            raise ValueError(
                f"nothing is said of {', '.join(missing)}; say continue, pause, stop or stop_now for every device"
            )
        return policies


class ImageSetConfig(_Strict):
    """An image set: its letter and the published names of its eight pictures."""

    image_set: str
    names: list[str] = Field(min_length=8, max_length=8)
    source: str = Field(description="where the names come from")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError("names: the eight pictures must differ")
        return self
