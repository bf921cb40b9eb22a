"""The model of a rig: what stands in a file of ``configs/rigs``."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hardware.events import Finding, Verdict
from hardware.lines import Line
from hardware.nidaq.connection import CardConfig, pin_of
from hardware.simulated.microscope.faults import MicroscopeFault, MicroscopeStep
from rig.config.load import nearest
from stages.events import FaultPolicy
from stages.metrics import MONITOR_DELAY_S
from stages.parameters import Contradictions, Wrong
from stimuli.geometry import Geometry
from stimuli.headless import Behaviour
from stimuli.patch import Corner


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


GammaExponent = Annotated[float, Field(gt=0.5, lt=5)]


class GeometryConfig(_Strict):
    """A flat monitor before the eye: its pixels and its size and place in centimetres."""

    width_px: int = Field(gt=0, le=16_384)
    height_px: int = Field(gt=0, le=16_384)
    width_cm: float = Field(gt=0, le=500, description="of the picture, without the frame around it")
    height_cm: float = Field(gt=0, le=500)
    distance_cm: float = Field(gt=0, le=500, description="from the eye to the nearest point of the monitor")

    def geometry(self) -> Geometry:
        """Return it as frames are rendered with it."""
        return Geometry(**self.model_dump())


PUBLISHED = GeometryConfig(width_px=1920, height_px=1200, width_cm=52.0, height_cm=32.5, distance_cm=15.0)
"""The published set-up (TASK_FACTS 9)."""
RefreshHz = Annotated[float, Field(gt=20, lt=500, description="nominal rate; durations must be whole refreshes of it")]


class HeadlessScreenConfig(_Strict):
    """A simulated monitor."""

    kind: Literal["headless"]
    refresh_hz: RefreshHz
    behaviour: Behaviour = Field(description="perfect, jittering, dropping or drifting")
    geometry: GeometryConfig = PUBLISHED


class ScreenCalibrationConfig(_Strict):
    """What a photometer measured of the monitor."""

    gamma: tuple[GammaExponent, GammaExponent, GammaExponent] = Field(
        description="exponents of red, green and blue; undone by a table"
    )
    mean_luminance_cd_m2: float = Field(gt=0, le=10_000, description="of grey level 127")
    measured_on: date = Field(description="day of the measurement")


class PatchConfig(_Strict):
    """The patch under the photodiode."""

    corner: Corner = Field(description="upper_left, upper_right, lower_left or lower_right, seen from before it")
    size_px: int = Field(gt=0, le=2000)


class PsychopyScreenConfig(_Strict):
    """A window of PsychoPy's on a monitor."""

    kind: Literal["psychopy"]
    screen_number: int = Field(ge=0, le=15, description="which monitor, from 0, as the system counts them")
    full_screen: bool
    geometry: GeometryConfig
    upside_down: bool = Field(description="the monitor hangs turned by 180 degrees")
    mirrored: bool = Field(description="the mouse sees it by a mirror, or from behind")
    refresh_hz: RefreshHz
    paced_by: Literal["monitor", "clock"] = Field(
        description="what flips wait for: the monitor, or this program's clock where nothing holds them back"
    )
    calibration: ScreenCalibrationConfig | None = Field(description="null where nothing has been measured")
    patch: PatchConfig | None = Field(description="null without a photodiode")

    @model_validator(mode="after")
    def _patch_fits(self) -> Self:
        if self.patch is not None and self.patch.size_px > min(self.geometry.width_px, self.geometry.height_px):
            raise Contradictions([Wrong("patch.size_px", f"{self.patch.size_px} px is larger than the screen")])
        return self


ScreenConfig = HeadlessScreenConfig | PsychopyScreenConfig
WINDOW_SHARE = 2
"""A window on a desktop has this fraction of the monitor's pixels along each side, so that it fits."""


def desktop_window(screen: ScreenConfig) -> PsychopyScreenConfig:
    """Return a window on this desktop of the same geometry and rate as a screen, with fewer pixels."""
    size = {side: getattr(screen.geometry, side) // WINDOW_SHARE for side in ("width_px", "height_px")}
    return PsychopyScreenConfig(
        kind="psychopy",
        screen_number=0,
        full_screen=False,
        geometry=screen.geometry.model_copy(update=size),
        upside_down=False,
        mirrored=False,
        refresh_hz=screen.refresh_hz,
        paced_by="clock",
        calibration=None,
        patch=PatchConfig(corner=Corner.LOWER_RIGHT, size_px=100 // WINDOW_SHARE),
    )


def with_screen(config: RigConfig, kind: str) -> RigConfig:
    """Return the rig with a screen of another kind in its screen's place: a window on this desktop, or none.

    Raises
    ------
    ValueError
        There is no such kind; the rig has a real card, to which a window on a desktop tells no refreshes.
    """
    screen = config.screen
    if kind not in ("headless", "psychopy"):
        raise ValueError(f"there is no screen of kind {kind!r}; known: headless, psychopy")
    if kind == screen.kind:
        return config
    if kind == "psychopy" and not config.simulated:
        raise ValueError(f"{config.rig} has a real card, whose monitor only its file can name; put it in there")
    other: ScreenConfig
    if kind == "headless":
        other = HeadlessScreenConfig(
            kind="headless", refresh_hz=screen.refresh_hz, behaviour=Behaviour.JITTERING, geometry=screen.geometry
        )
    else:
        other = desktop_window(screen)
    return RigConfig.model_validate({**config.model_dump(), "screen": other.model_dump()})


class SimulatedCardConfig(_Strict):
    """A simulated card."""

    kind: Literal["simulated"]
    drift_ppm: float = Field(ge=-500, le=500, description="how much faster than the host its clock runs")


LABELS = {line.label: line for line in Line}
NEEDED = (Line.LICK_SENSOR, Line.REWARD_ECHO, Line.VSYNC_STIM)
"""Without these nothing works: licks, the valve's echo, the frame pulse seen back."""
OUTPUTS = ("valve_terminal", "lick_terminal", "frame_output", "running_output", "acquire_output", "align_output")
"""Fields that name a terminal or line besides the input lines: no two may be the same pin."""
Output = Annotated[str, Field(pattern=r"^(port[0-2]/line\d{1,2}|PFI\d{1,2})$")]
Terminal = Annotated[str, Field(pattern=r"^PFI\d{1,2}$")]
Counter = Annotated[str, Field(pattern=r"^ctr[0-3]$")]
AnalogInput = Annotated[str, Field(pattern=r"^ai\d{1,2}$")]


class TwinConfig(_Strict):
    """A digital twin in the card's place: the real library talks to it, a model mouse sits behind it."""

    drift_ppm: float = Field(ge=-500, le=500, description="how much faster than the host its clock runs")


class NidaqCardConfig(_Strict):
    """A National Instruments card and what is wired where. The README has the wiring table."""

    kind: Literal["nidaq"]
    device: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="the card's name in MAX")
    address: str | None = Field(
        pattern=r"^[^\s:/]+:\d{1,5}$",
        description="host:port of NI's gRPC device server; null for the driver of this computer",
    )
    deadline_s: float = Field(gt=0, le=10, description="what a call to a device server may take beyond its own waiting")
    lines: dict[str, Annotated[int, Field(ge=0, le=31)]] = Field(
        description="input lines: the line of port 0 that each signal comes in on, by label"
    )
    edge_counter: Counter = Field(description="counts the timebase at each change of the input lines")
    valve_counter: Counter = Field(description="gives the valve's pulses")
    valve_terminal: Terminal = Field(description="output: the valve's driver; wired to reward_echo as well")
    lick_terminal: Terminal = Field(description="input: the lick sensor again, start trigger of the card's own path")
    frame_output: Output = Field(description="falls at each flip; wired to vsync_stim as well")
    running_output: Output = Field(description="high while the stimulus runs; wired to stim_running as well")
    acquire_output: Output = Field(description="the microscope's trigger; wired to acq_trigger as well")
    align_output: Output = Field(description="pulses at random intervals for other recorders; wired to align as well")
    signal_channel: AnalogInput = Field(description="the encoder's signal, 0 to 5 V, one turn of the wheel")
    supply_channel: AnalogInput = Field(description="the encoder's supply, nominally 5 V")
    wheel_hz: float = Field(ge=100, le=10_000, description="how often the encoder is sampled")
    wheel_counter: Counter = Field(description="counts the pulses of a quadrature encoder, where the wheel has one")
    wheel_pulses: int | None = Field(gt=0, description="pulses a turn of it; null for the analog pair")
    poll_s: float = Field(gt=0, le=0.01, description="how often new edges are looked for")
    watchdog_s: float | None = Field(
        ge=1,
        le=60,
        description="the valve's line goes low when this program has not been heard of for so long; null: none",
    )
    clocked_hz: float = Field(
        ge=1000, le=1_000_000, description="sample rate of the input lines on a card without change detection"
    )
    twin: TwinConfig | None = Field(description="simulate the card by its digital twin; null for a real card")

    @field_validator("lines")
    @classmethod
    def _known_lines(cls, lines: dict[str, int]) -> dict[str, int]:
        for label in lines:
            if label not in LABELS:
                raise ValueError(f"there is no line {label}; {nearest(label, list(LABELS))}".rstrip("; "))
        missing = [line.label for line in NEEDED if line.label not in lines]
        if missing:
            raise ValueError(f"nothing works without {', '.join(missing)}; give each the line of port 0 it is wired to")
        return lines

    @model_validator(mode="after")
    def _one_pin_each(self) -> Self:
        problems: list[Wrong] = []
        user_of: dict[str, str] = {}
        for field, pin in [(f"lines.{label}", f"port0/line{n}") for label, n in self.lines.items()] + [
            (field, pin_of(getattr(self, field))) for field in OUTPUTS
        ]:
            other = user_of.setdefault(pin, field)
            if other != field:
                also = " (PFI n is line n of port 1, from 8 on of port 2)" if not pin.startswith("port0") else ""
                problems.append(Wrong(field, f"{pin} is used by {other} already; give each a pin of its own{also}"))
        counters = ["edge_counter", "valve_counter"] + (["wheel_counter"] if self.wheel_pulses is not None else [])
        for field in counters:
            other = user_of.setdefault(getattr(self, field), field)
            if other != field:
                problems.append(
                    Wrong(field, f"{getattr(self, field)} is used by {other} already; a counter does one thing")
                )
        if self.signal_channel == self.supply_channel:
            problems.append(Wrong("supply_channel", f"{self.supply_channel} is used by signal_channel already"))
        if self.twin is not None and self.address is not None:
            problems.append(Wrong("address", "must be null with a twin, which is started with the session"))
        if problems:
            raise Contradictions(problems)
        return self

    def wired(self, *, address: str | None = None) -> CardConfig:
        """Return it as the card's devices take it; at another address if so wished."""
        fields = self.model_dump(exclude={"kind", "twin", "lines"})
        fields["address"] = address or self.address
        return CardConfig(lines={LABELS[label]: n for label, n in self.lines.items()}, **fields)


class ValveConfig(_Strict):
    """The reward valve: which paths may open it, and its dated calibration."""

    paths: list[Literal["card", "software"]] = Field(min_length=1, description="what may pay an armed lick")
    slope_s_per_ul: float = Field(gt=0, description="open time per volume")
    intercept_s: float = Field(ge=0, description="open time that gives no water yet")
    volume_min_ul: float = Field(gt=0, description="smallest volume that was weighed")
    volume_max_ul: float = Field(gt=0, description="largest volume that was weighed")
    measured_on: date = Field(description="day of the calibration")

    @model_validator(mode="before")
    @classmethod
    def _calibrated(cls, fields: object) -> object:
        """Say what a missing calibration needs; a field that is misspelt is no missing one."""
        if isinstance(fields, dict) and not set(fields) - set(cls.model_fields):
            what = "is missing: no water without a calibration; weigh what the valve gives and enter it with its day"
            missing = [name for name in cls.model_fields if name != "paths" and fields.get(name) is None]
            if missing:
                raise Contradictions([Wrong(name, what) for name in missing])
        return fields

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.volume_max_ul <= self.volume_min_ul:
            raise ValueError("volume_max_ul must be above volume_min_ul")
        return self


PLAIN_TEXT = "whoever reaches this address may command the microscope"
"""What a rig's file must say in so many words before commands go out without keys."""
FramesHz = Annotated[float, Field(gt=0.5, lt=1000, description="frames a second of each plane")]


class _MicroscopeConfig(_Strict):
    """What all microscopes have in common."""

    plane_groups: int = Field(
        default=1,
        ge=1,
        le=4,
        description="planes recorded by turns, or groups of them: one edge each on the frame line",
    )
    frame_rate_hz: FramesHz = 31.0
    first_frames_s: float = Field(
        default=5.0, gt=0, le=60, description="the first frames must be seen this soon after the trigger"
    )


class SimulatedMicroscopeConfig(_MicroscopeConfig):
    """A microscope that is only pulses on a simulated card, in simulated time too."""

    kind: Literal["simulated"]


class _LinkedMicroscopeConfig(_MicroscopeConfig):
    """A microscope that is commanded over a socket."""

    heartbeat_s: float = Field(
        default=0.5,
        ge=0.02,
        le=10,
        description="how often either side says that it lives; six of them missing: it is lost",
    )
    reply_s: float = Field(default=2.0, ge=0.05, le=60, description="a command must be carried out this soon")
    stop_s: float = Field(
        default=20.0, ge=0.05, le=600, description="a recording must be written out this soon after it is stopped"
    )


class MicroscopeFaultConfig(_Strict):
    """What a simulated microscope is asked to do wrong."""

    kind: MicroscopeFault
    step: MicroscopeStep = Field(default=MicroscopeStep.ACQUIRING, description="after which step it begins to")
    delay_s: float = Field(default=0.0, ge=0, le=3600, description="so long after that step")
    lasts_s: float = Field(default=5.0, gt=0, le=3600, description="for faults that pass")


class ProcessMicroscopeConfig(_LinkedMicroscopeConfig):
    """A simulated microscope as a process of its own, started with the session: real sockets, a clock of its own."""

    kind: Literal["process"]
    drift_ppm: float = Field(default=50.0, ge=-500, le=500, description="how much faster than the host its clock runs")
    clock_offset_s: float = Field(default=0.03, description="its clock less the host's when it starts")
    fault: MicroscopeFaultConfig | None = None


class ZmqMicroscopeConfig(_LinkedMicroscopeConfig):
    """A microscope's computer that speaks the protocol of ``rig microscope protocol``."""

    kind: Literal["zmq"]
    address: str = Field(pattern=r"^[^\s:/]+:\d{1,5}$", description="host:port of the microscope's computer")
    keys: str | None = Field(description="folder of key files (`rig keys make`); null without keys, see plain_text")
    own_key: str | None = Field(description="name of this rig's key in that folder")
    peer_key: str | None = Field(description="name of the microscope's public key in that folder")
    plain_text: str | None = Field(default=None, description=f"to do without keys, say in so many words: {PLAIN_TEXT}")

    @model_validator(mode="after")
    def _keys_or_plain(self) -> Self:
        fields = {"keys": self.keys, "own_key": self.own_key, "peer_key": self.peer_key}
        if self.plain_text is None:
            missing = [name for name, value in fields.items() if not value]
            what = "is missing: no microscope is commanded without keys; `rig keys make` makes them"
        else:
            missing = [name for name, value in fields.items() if value is not None]
            what = "must be null where plain_text does without keys"
        problems = [Wrong(name, what) for name in missing]
        if self.plain_text not in (None, PLAIN_TEXT):
            problems.append(Wrong("plain_text", f"is null, or says in so many words: {PLAIN_TEXT}"))
        if problems:
            raise Contradictions(problems)
        return self


MicroscopeConfig = SimulatedMicroscopeConfig | ProcessMicroscopeConfig | ZmqMicroscopeConfig


class FaultsConfig(_Strict):
    """Faults a simulated rig or a twin is asked for, in seconds after the first flip; null for never."""

    lick_line_stuck_s: float | None = Field(default=None, ge=0)
    encoder_frozen_s: float | None = Field(default=None, ge=0)
    valve_silent_s: float | None = Field(default=None, ge=0)
    device_gone_s: float | None = Field(default=None, ge=0)
    spout_stuck: bool = False
    photodiode_unplugged_s: float | None = Field(default=None, ge=0, description="its line goes low and stays")
    patch_covered_s: float | None = Field(default=None, ge=0, description="by something bright: its line stays high")
    vsync_2p_dead_s: float | None = Field(default=None, ge=0, description="the 2-photon line goes low and stays")
    vsync_2p_and_photodiode_swapped_s: float | None = Field(default=None, ge=0)
    lick_line_chatters_s: float | None = Field(default=None, ge=0, description="twin only")
    lick_and_echo_swapped_s: float | None = Field(default=None, ge=0, description="twin only")
    frame_and_running_swapped_s: float | None = Field(default=None, ge=0, description="twin only")
    buffer_overflows_s: float | None = Field(default=None, ge=0, description="twin only")
    answers_late_s: float | None = Field(default=None, ge=0, description="twin only")

    def of_a_twin(self) -> list[str]:
        """Return the faults asked for that only a twin has."""
        return [name for name in TWIN_FAULTS if getattr(self, name) is not None]


TWIN_FAULTS = (
    "lick_line_chatters_s",
    "lick_and_echo_swapped_s",
    "frame_and_running_swapped_s",
    "buffer_overflows_s",
    "answers_late_s",
)


FAULTY_LINES = {
    "photodiode_unplugged_s": (Line.STIM_PHOTODIODE,),
    "patch_covered_s": (Line.STIM_PHOTODIODE,),
    "vsync_2p_dead_s": (Line.VSYNC_2P,),
    "vsync_2p_and_photodiode_swapped_s": (Line.VSYNC_2P, Line.STIM_PHOTODIODE),
}
"""What a fault of a line is a fault of."""
POLICY_DEVICES = ("card", "valve", "lick_sensor", "encoder", "spout", "log", "microscope", "cameras")
ALARM_DEVICES = ("photodiode", "lines")
"""Only raise an alarm where a rig's file says nothing of them."""


class RigConfig(_Strict):
    """One rig, complete."""

    rig: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="the rig's name")
    screen: Annotated[HeadlessScreenConfig | PsychopyScreenConfig, Field(discriminator="kind")]
    card: Annotated[SimulatedCardConfig | NidaqCardConfig, Field(discriminator="kind")]
    valve: ValveConfig
    monitor_delay_s: float = Field(
        default=MONITOR_DELAY_S,
        gt=0,
        le=0.07,
        description="from a flip to the picture, nominal; data files apply it where their readers expect it",
    )
    imaging: bool = Field(description="whether the rig has a microscope and cameras")
    microscope: Annotated[MicroscopeConfig, Field(discriminator="kind")] | None = Field(
        default=None, description="which microscope; null for the simulated one of a simulated rig that images"
    )
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
        unknown = sorted(set(policies) - set(POLICY_DEVICES) - set(ALARM_DEVICES))
        if unknown:
            raise ValueError(f"no such device: {', '.join(unknown)}; one of {', '.join(POLICY_DEVICES)}")
        missing = [device for device in POLICY_DEVICES if device not in policies]
        if missing:
            raise ValueError(
                f"nothing is said of {', '.join(missing)}; say continue, pause, stop or stop_now for every device"
            )
        return policies

    @model_validator(mode="after")
    def _fits_card(self) -> Self:
        if self.microscope is not None and not self.imaging:
            raise Contradictions(
                [Wrong("microscope", "must be null on a rig that does not image; or set imaging: true")]
            )
        if not isinstance(self.card, NidaqCardConfig):
            if asked := self.faults.of_a_twin():
                raise Contradictions([Wrong(f"faults.{name}", "can be asked for on a twin only") for name in asked])
            return self
        problems: list[Wrong] = []
        if "software" not in self.valve.paths:
            what = "needs software: the card alone can't pay licks at the ends of the response window"
            problems.append(Wrong("valve.paths", what))
        if self.imaging and not isinstance(self.microscope, _LinkedMicroscopeConfig):
            what = "must be of kind zmq, or process on a twin, where a card of kind nidaq images"
            problems.append(Wrong("microscope", what))
        if self.card.twin is None and isinstance(self.microscope, ProcessMicroscopeConfig):
            what = "can't be a simulated process with a real card: its pulses reach no wire"
            problems.append(Wrong("microscope.kind", what))
        if self.card.twin is None and isinstance(self.screen, PsychopyScreenConfig) and self.screen.paced_by == "clock":
            what = "must be monitor on a rig with a real card: flips that wait for nothing tell no refreshes"
            problems.append(Wrong("screen.paced_by", what))
        for name, needed in FAULTY_LINES.items():
            missing = [line.label for line in needed if line.label not in self.card.lines]
            if missing and getattr(self.faults, name) is not None:
                problems.append(Wrong(f"faults.{name}", f"there is no line {' and no line '.join(missing)}"))
        if self.card.twin is None and self.faults != FaultsConfig():
            problems.append(Wrong("faults", "can be asked for on a simulated card or a twin, not on a real one"))
        if problems:
            raise Contradictions(problems)
        return self

    @property
    def has_photodiode(self) -> bool:
        """Whether a photodiode looks at the screen's patch; a simulated one does on a twin whatever the screen is."""
        if isinstance(self.card, SimulatedCardConfig):
            return True
        shows_patch = self.card.twin is not None or getattr(self.screen, "patch", None) is not None
        return Line.STIM_PHOTODIODE.label in self.card.lines and shows_patch

    @property
    def simulated(self) -> bool:
        """Whether no real device is touched."""
        return isinstance(self.card, SimulatedCardConfig) or self.card.twin is not None

    def doubts(self) -> list[Finding]:
        """Return what may stand in this file and will not do what it seems to: a microscope without wires."""
        if not self.simulated or not isinstance(self.microscope, ZmqMicroscopeConfig):
            return []
        return [
            Finding(
                name="microscope wires",
                verdict=Verdict.WARN,
                figure="its frame pulses reach a real card only; here vsync_2p stays silent, and it will be lost",
                remedy="name a card of kind nidaq, or take a microscope of kind process: its pulses are simulated",
            )
        ]


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
