"""The composition root: from a checked configuration to devices, task, log and loop.

With ``backends`` the only module that knows which device is real and which is simulated. Devices open in the
order listed and close in reverse.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from platformdirs import user_cache_path

import rig
from hardware.clock import Clock, HostClock, VirtualClock
from hardware.events import DeviceIdentified, Finding, Verdict
from hardware.protocols import CommandSource, DeviceError, Identity
from hardware.simulated.mice import (
    GRAY_IDENTITY,
    MOVIE_IDENTITY,
    TRAINED_SESSIONS,
    ModelMouse,
    MouseKind,
    SessionParameters,
    Setting,
    make_mouse,
)
from rig.config.load import ConfigError, Problem
from rig.config.pictures import StagePictures, pictures_of
from rig.config.rig import PsychopyScreenConfig, RigConfig, SimulatedCardConfig, SimulatedMicroscopeConfig
from rig.log.schema import SCHEMA_VERSION, to_plain
from rig.log.writer import Log
from rig.session.backends import Backend, MouseAtTwin, calibration_of, on_card, simulated
from rig.session.cameras import CameraSequence
from rig.session.control import NoCommands
from rig.session.devices import Devices
from rig.session.escape import WithEscape
from rig.session.imaging import ImagingLimits, ImagingSequence
from rig.session.lines import LineWatch
from rig.session.loop import Loop, Observer
from rig.session.microscopes import is_in_process, with_microscope
from rig.session.recorders import Recorders
from rig.session.streams import Streams
from stages.checks import screen_problems
from stages.events import SessionStarted
from stages.parameters import Stage, StageParameters
from stages.random import RandomStreams
from stages.task import Task, stimuli_of
from stimuli.frames import Frames, PictureSource
from stimuli.headless import Behaviour, PacedScreen, RefreshTrain, VirtualScreen
from stimuli.headless import Observer as Eyes
from stimuli.patch import PATCH_FLIPS, Patch
from stimuli.psychopy_screen import PsychopyScreen
from stimuli.screen import Screen
from stimuli.spec import Gabor, Gray, NaturalMovie, Stimulus, StimulusError, identity
from stimuli.window import WindowSettings

if TYPE_CHECKING:
    from hardware.simulated.microscope.process import SimulatedMicroscopeProcess
    from hardware.simulated.twin import Twin

CALIBRATION_GOOD_DAYS = 31
"""A valve that was calibrated longer ago is warned of; rigs elsewhere went five months (RIG_LESSONS)."""
SCREEN_GOOD_DAYS = 92
"""A monitor ages slower than a valve: its gamma and luminance are measured anew every quarter."""
LEAD_S = 0.25
"""The simulated monitor's first refresh comes this long after it was made, in real time."""
LINK_S = 0.5
"""A command over a link that is not answered in time is said by the link itself; the session waits a little longer."""
LINK_LEAD_S = 1.0
"""A simulated microscope's process is started, greeted and asked the time before the first flip."""
VERSIONS_OF = ("numpy", "msgspec", "pydantic", "pyzmq", "pyyaml", "psychopy", "nidaqmx", "pyserial")


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """Everything a session is made from; can be handed to another process."""

    mouse: str
    stage: Stage
    rig: RigConfig
    seed: int
    mouse_kind: MouseKind
    fast: bool
    session_id: UUID
    folder: Path
    who: str
    mouse_parameters: SessionParameters | None = None
    """Of a stochastic mouse; drawn from the seed where there are none, and always behind a twin."""
    library: Path | None = None
    """Where the laboratory's own pictures were imported to; stand-ins where there are none."""
    stand_ins: bool = False
    """Whether a rig with a real device may show stand-ins."""
    begins: datetime | None = None
    """When a session in simulated time is said to begin, with its zone; now where it is not said."""

    def __post_init__(self) -> None:
        """Refuse simulated time where something keeps the host's; errors as ``refuse_fast``."""
        if self.fast:
            refuse_fast(self.rig)

    @property
    def label(self) -> str:
        """The mouse and stage in a few words."""
        return f"{self.mouse} {self.stage.stage}"

    def pictures(self) -> StagePictures:
        """Return what the stage shows; raises ``ConfigError`` as ``pictures_of`` does."""
        return pictures_of(self.stage, simulated=self.rig.simulated, stand_ins=self.stand_ins, library=self.library)


def folder_name(*, now: datetime, mouse: str, stage: str, session_id: UUID) -> str:
    """Return the name of a session's folder: ``YYYY-MM-DDTHHMMSSZ_MOUSE_STAGE_uuid8``."""
    return f"{now.astimezone(UTC):%Y-%m-%dT%H%M%SZ}_{mouse}_{stage}_{session_id.hex[:8]}"


def refuse_fast(config: RigConfig) -> None:
    """Refuse simulated time on a rig with a card, a window or a microscope behind sockets.

    Raises
    ------
    ConfigError
        The rig's card, screen or microscope keeps the host's time.
    """
    if isinstance(config.screen, PsychopyScreenConfig):
        what = f"{config.rig} shows a window, which runs in real time only; leave it out, or take --screen headless"
        raise ConfigError([Problem("--fast", 0, "", what)])
    if config.microscope is not None and not is_in_process(config.microscope):
        what = f"{config.rig} has a microscope of kind {config.microscope.kind}, which runs in real time only; "
        raise ConfigError([Problem("--fast", 0, "", f"{what}leave it out, or take one of kind simulated")])
    if not isinstance(config.card, SimulatedCardConfig):
        what = f"{config.rig} has a card of kind {config.card.kind}, which runs in real time only; "
        raise ConfigError([Problem("--fast", 0, "", f"{what}leave it out, or take a simulated rig")])


def refuse_misfits(stage: Stage, config: RigConfig) -> None:
    """Refuse a stage that this rig can't run, with everything that is wrong at once.

    Raises
    ------
    ConfigError
        Durations that are no whole refreshes, drifts too fast to be seen, volumes outside the valve's calibration.
    """
    where = f"{stage.stage} on {config.rig}"
    problems = [
        Problem(where, 0, "", str(problem)) for problem in screen_problems(stage, refresh_hz=config.screen.refresh_hz)
    ]
    if isinstance(stage, StageParameters) and not stage.passive:
        calibration = calibration_of(config)
        for field, volume_ul in (
            ("reward_volume_ul", stage.reward_volume_ul),
            ("auto_reward_volume_ul", stage.auto_reward_volume_ul),
        ):
            try:
                if volume_ul > 0:
                    calibration.open_time_s(volume_ul)
            except DeviceError as error:
                problems.append(Problem(where, 0, field, f"{error.what}; {error.remedy}"))
    if stage.imaging and config.imaging and (config.microscope is not None and config.microscope.kind != "simulated"):
        start_s = imaging_limits(config).start_s
        if stage.gray_before_s < start_s:
            what = (
                f"{stage.gray_before_s:g} s of gray may be over before the microscope is known to give frames, "
                f"which may take {start_s:g} s; lengthen it, or shorten the microscope's reply_s and first_frames_s"
            )
            problems.append(Problem(where, 0, "gray_before_s", what))
    if problems:
        raise ConfigError(problems)


@contextmanager
def assembled(
    plan: SessionPlan,
    *,
    log: Log,
    commands: CommandSource | Callable[[Clock], CommandSource] | None = None,
    observers: Sequence[Observer] = (),
    stepping: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    mouse: ModelMouse | None = None,
    train: RefreshTrain | None = None,
    on_step: Callable[[float], None] | None = None,
    twin: Twin | None = None,
    microscope: SimulatedMicroscopeProcess | None = None,
) -> Iterator[Loop]:
    """Open all devices and yield the loop of a session; close them in reverse.

    Parameters
    ----------
    commands
        Where operators' requests come from, or what makes that source given the session's clock.
    mouse, train
        Replace a simulated rig's model mouse and the monitor's behaviour: tests.
    twin, microscope
        One that runs already, in place of a new one: tests.

    Raises
    ------
    ConfigError
        The stage does not fit the rig, or a picture can't be shown.
    DeviceError
        A device can't be opened.
    """
    refuse_misfits(plan.stage, plan.rig)
    config = plan.rig
    refresh_hz = config.screen.refresh_hz
    shown_pictures = plan.pictures()
    stimuli = stimuli_of(
        plan.stage,
        image_names=shown_pictures.image_names,
        refresh_hz=refresh_hz,
        movie_name=shown_pictures.movie_name,
    )
    task = Task(
        plan.stage,
        stimuli=stimuli,
        refresh_hz=refresh_hz,
        seed=plan.seed,
        lick_latency_s=config.lick_latency_s,
        policies=config.policies,
        valve_range_ul=(config.valve.volume_min_ul, config.valve.volume_max_ul),
    )
    streams = RandomStreams(plan.seed)
    streams_of_lines = Streams(patch_flips=PATCH_FLIPS if config.has_photodiode else None)
    watch = LineWatch(log.edges, streams=streams_of_lines)
    clock: Clock = VirtualClock() if plan.fast else HostClock()
    card_seed = int(streams.stream("card").integers(2**32))
    setting = _setting(plan.stage)
    identities = [shown_pictures.published(_seen(stimulus)) for stimulus in stimuli]
    imaging = config.imaging and plan.stage.imaging
    if commands is None:
        source: CommandSource = NoCommands()
    else:
        source = commands(clock) if callable(commands) else commands
    screen_seed = int(streams.stream("screen").integers(2**32))

    def refreshes(lead_s: float) -> RefreshTrain:
        return train or RefreshTrain(
            behaviour=_behaviour(config),
            nominal_hz=refresh_hz,
            seed=screen_seed,
            start_host_s=0.0 if plan.fast else clock.now_s() + lead_s,
        )

    def started(host_zero_s: float) -> SessionStarted:
        return session_started(
            plan,
            stimuli=stimuli,
            pictures=shown_pictures,
            host_zero_s=host_zero_s,
            started_at=now(),
            lines_before=backend.lines_before(),
        )

    with ExitStack() as stack:
        shown: RefreshTrain | None = None
        backend: Backend
        preface: list[DeviceIdentified | Finding] = []

        def see(host_s: float, stimulus: int) -> bool:
            return backend.see(host_s, identities[stimulus])

        window: PsychopyScreen | None = None
        lead_s = LEAD_S
        if isinstance(config.screen, PsychopyScreenConfig):
            source = escape = WithEscape(source, who=plan.who)
            window = window_of(
                config.screen,
                frames=frames_of(config, pictures=shown_pictures.source),
                clock=clock,
                observer=see,
                on_escape=escape.press,
            )
            preface += _ready(window, stimuli, stack)  # takes seconds, so before anything runs
            _refuse_failed(preface)
            lead_s += window.lead_s
        if isinstance(config.card, SimulatedCardConfig):
            if imaging and not is_in_process(config.microscope):
                lead_s += LINK_LEAD_S
            shown = refreshes(lead_s)
            model = mouse or make_mouse(
                plan.mouse_kind,
                streams.stream("mouse"),
                start_host_s=shown.start_host_s,
                setting=setting,
                parameters=plan.mouse_parameters,
            )
            backend = simulated(
                config,
                config.card,
                clock=clock,
                mouse=model,
                start_host_s=shown.start_host_s,
                seed=card_seed,
                sink=watch,
                imaging=imaging,
                fast=plan.fast,
            )
        else:
            at_twin = MouseAtTwin(plan.mouse_kind, int(streams.stream("mouse").integers(2**32)), setting)
            backend = stack.enter_context(
                on_card(
                    config,
                    config.card,
                    clock=clock,
                    seed=card_seed,
                    sink=watch,
                    imaging=imaging,
                    mouse=at_twin,
                    twin=twin,
                )
            )
        if imaging:
            backend = stack.enter_context(with_microscope(backend, config, clock=clock, running=microscope))
        for device in backend.in_order:
            stack.callback(device.close)
            preface.append(_identified(device.open()))
        for device in backend.in_order:
            preface += device.check()
        shown = shown or refreshes(lead_s)  # opening a card takes longer than the monitor would wait for its first flip
        screen: Screen
        if window is not None:
            window.begin(shown.start_host_s)
            screen = window
        else:
            screen = _headless(shown, clock, see)
            preface += _ready(screen, stimuli, stack)
        preface.append(calibration_age(config, now().date()))
        preface += screen_calibration(config, now().date())
        preface += config.doubts() if imaging else []
        _refuse_failed(preface)
        backend.begin(shown.start_host_s)
        watch.begin(backend.lines_before())
        yield Loop(
            task=task,
            devices=Devices(
                screen=screen,
                edges=backend.edges,
                valve=backend.valve,
                encoder=backend.encoder,
                sync=backend.sync,
                spout=backend.spout,
                commands=source,
                microscope=backend.microscope,
                cameras=backend.cameras,
            ),
            recorders=recorders_of(plan, backend, watch),
            clock=clock,
            log=log,
            started=started,
            refresh_hz=refresh_hz,
            preface=preface,
            observers=observers,
            stepping=stepping,
            on_step=on_step,
        )


def recorders_of(plan: SessionPlan, backend: Backend, watch: LineWatch) -> Recorders:
    """Return what records beside a session, and what its lines are to show."""
    config = plan.rig
    limits = imaging_limits(config)
    microscope, cameras = backend.microscope, backend.cameras
    optics = config.microscope or SimulatedMicroscopeConfig(kind="simulated")
    session_id = str(plan.session_id)
    return Recorders(
        watch=watch,
        microscope=None
        if microscope is None
        else ImagingSequence(
            microscope=microscope,
            sync=backend.sync,
            session_id=session_id,
            mouse=plan.mouse,
            stage=plan.stage.stage,
            limits=limits,
        ),
        cameras=None if cameras is None else CameraSequence(cameras=cameras, session_id=session_id, limits=limits),
        frames_hz=optics.frame_rate_hz * optics.plane_groups,
        photodiode=config.has_photodiode,
        patch_s=PATCH_FLIPS / config.screen.refresh_hz,
    )


def imaging_limits(config: RigConfig) -> ImagingLimits:
    """Return how long a rig's microscope and cameras may take for what."""
    microscope = config.microscope
    if microscope is None:
        return ImagingLimits()
    if isinstance(microscope, SimulatedMicroscopeConfig):
        return ImagingLimits(first_frames_s=microscope.first_frames_s)
    reply_s = microscope.reply_s + LINK_S  # the link itself says first what was not answered
    return ImagingLimits(
        reply_s=reply_s, first_frames_s=microscope.first_frames_s, stop_s=max(reply_s, microscope.stop_s + LINK_S)
    )


def session_started(
    plan: SessionPlan,
    *,
    stimuli: list[Stimulus],
    pictures: StagePictures,
    host_zero_s: float,
    started_at: datetime,
    lines_before: int | None = None,
) -> SessionStarted:
    """Return the first event of the log: all that the session is a function of."""
    return SessionStarted(
        schema_version=SCHEMA_VERSION,
        code_version=code_version(),
        session_id=str(plan.session_id),
        mouse=plan.mouse,
        stage=plan.stage.stage,
        rig=plan.rig.rig,
        simulated=plan.rig.simulated,
        started_at=started_at.isoformat(),
        host_zero_s=host_zero_s,
        seed=plan.seed,
        refresh_hz=plan.rig.screen.refresh_hz,
        lick_latency_s=plan.rig.lick_latency_s,
        policies=dict(plan.rig.policies),
        stimuli=stimuli,
        stage_parameters=to_plain(plan.stage.model_dump(mode="json")),
        rig_parameters=to_plain({**plan.rig.model_dump(mode="json"), "simulated_mouse": plan.mouse_kind.value}),
        versions=_versions(),
        images=pictures.images_from(),
        movie=pictures.movie_from(),
        lines_before=lines_before,
    )


@cache
def code_version() -> str:
    """Return the program's version, with the commit when it runs from a checkout."""
    here = Path(rig.__file__).parent.parent
    if not (here / ".git").exists():
        return rig.__version__
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return rig.__version__
    return f"{rig.__version__}+{commit}"


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS_OF:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


SESSIONS_BEFORE = {
    "TRAINING_0": 0,
    "TRAINING_1": 2,
    "TRAINING_2": 6,
    "TRAINING_3": 8,
    "TRAINING_4": 10,
    "TRAINING_5": 16,
    "OPHYS_0": 22,
    "OPHYS": TRAINED_SESSIONS,
}
"""Sessions with water to earn before the middle session of a stage, from the medians of MOUSE_FACTS A and B."""


def _setting(stage: Stage) -> Setting:
    """Return what a model mouse is put before."""
    if not isinstance(stage, StageParameters):
        return Setting(passive=True)
    before = [n for name, n in SESSIONS_BEFORE.items() if stage.stage.startswith(name)]
    return Setting(
        gratings=stage.stimulus.kind == "gratings",
        static=stage.presentation.kind == "static",
        passive=stage.passive,
        window_closes_s=stage.response_window_s[1],
        training_sessions=before[0] if before else TRAINED_SESSIONS,
    )


def _seen(stimulus: Stimulus) -> str:
    """Return what the model mouse is told it sees."""
    match stimulus:
        case Gray() | Gabor():
            return GRAY_IDENTITY
        case NaturalMovie():
            return MOVIE_IDENTITY
    return identity(stimulus)


def frames_of(config: RigConfig, *, pictures: PictureSource | None = None) -> Frames:
    """Return the frames of a rig's screen."""
    return Frames(geometry=config.screen.geometry.geometry(), pictures=pictures)


def window_of(
    screen: PsychopyScreenConfig,
    *,
    frames: Frames,
    clock: Clock,
    observer: Eyes,
    on_escape: Callable[[], None] = lambda: None,
    moving_dir: Path | None = None,
) -> PsychopyScreen:
    """Return the window that a rig's file asks for, not open yet.

    ``moving_dir`` is where frames of movies and patches are kept, this user's cache unless said otherwise.
    """
    patch = None if screen.patch is None else Patch(corner=screen.patch.corner, size_px=screen.patch.size_px)
    perfect = RefreshTrain(behaviour=Behaviour.PERFECT, nominal_hz=screen.refresh_hz, seed=0, start_host_s=0.0)
    return PsychopyScreen(
        frames=frames,
        settings=WindowSettings(
            screen_number=screen.screen_number,
            full_screen=screen.full_screen,
            upside_down=screen.upside_down,
            mirrored=screen.mirrored,
            gamma=None if screen.calibration is None else screen.calibration.gamma,
            patch=patch,
        ),
        refresh_hz=screen.refresh_hz,
        clock=clock,
        observer=observer,
        moving_dir=moving_dir or user_cache_path("open-vision-rig") / "moving",
        train=perfect if screen.paced_by == "clock" else None,
        on_escape=on_escape,
    )


def _behaviour(config: RigConfig) -> Behaviour:
    return Behaviour.PERFECT if isinstance(config.screen, PsychopyScreenConfig) else config.screen.behaviour


def _headless(train: RefreshTrain, clock: Clock, observer: Eyes) -> VirtualScreen | PacedScreen:
    if isinstance(clock, VirtualClock):
        return VirtualScreen(train=train, clock=clock, observer=observer)
    return PacedScreen(train=train, clock=clock, observer=observer)


def _ready(screen: Screen, stimuli: Sequence[Stimulus], stack: ExitStack) -> list[DeviceIdentified | Finding]:
    """Open a screen and have it ready to show the stimuli; return what it is and what it found."""
    stack.callback(screen.close)
    identity = _identified(screen.open())
    try:
        screen.prepare(stimuli)
    except StimulusError as error:
        raise ConfigError([Problem("stimuli", 0, "", str(error))]) from error
    return [identity, *screen.check()]


def _identified(identity: Identity) -> DeviceIdentified:
    return DeviceIdentified(
        device=identity.device, model=identity.model, serial=identity.serial, details=identity.details
    )


def calibration_age(config: RigConfig, today: date) -> Finding:
    """Judge how long ago the rig's valve was calibrated."""
    age_days = calibration_of(config).age_days(today)
    name = "valve calibration age"
    if age_days < 0:
        figure, remedy = (
            f"dated {-age_days} days ahead of today",
            "correct the day in the rig's file, or the computer's",
        )
        return Finding(name=name, verdict=Verdict.WARN, figure=figure, remedy=remedy)
    good = age_days <= CALIBRATION_GOOD_DAYS
    return Finding(
        name=name,
        verdict=Verdict.PASS if good else Verdict.WARN,
        figure=f"{age_days} days",
        remedy="" if good else "weigh the water again and date the calibration",
    )


def screen_calibration(config: RigConfig, today: date) -> list[Finding]:
    """Judge how long ago the rig's monitor was measured; nothing is said of a simulated one."""
    if not isinstance(config.screen, PsychopyScreenConfig):
        return []
    measured = config.screen.calibration
    age_days = None if measured is None else (today - measured.measured_on).days
    good = age_days is not None and 0 <= age_days <= SCREEN_GOOD_DAYS
    return [
        Finding(
            name="screen calibration age",
            verdict=Verdict.PASS if good else Verdict.WARN,
            figure="not measured" if age_days is None else f"{age_days} days",
            remedy="" if good else "measure gamma and mean luminance with a photometer and date them in the rig's file",
        )
    ]


def _refuse_failed(preface: Sequence[DeviceIdentified | Finding]) -> None:
    for finding in preface:
        if isinstance(finding, Finding) and finding.verdict is Verdict.FAIL:
            raise DeviceError(device=finding.name, what=finding.figure, remedy=finding.remedy)
