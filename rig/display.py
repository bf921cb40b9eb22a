"""How well a monitor shows what it is asked for: its rate, its late flips, the time that drawing takes.

``alternate`` shows the heaviest there is, another full-screen frame with every flip, through the very screen that runs
a session. ``judged`` says pass or what to change; ``rig bench`` takes the figures as they are.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

from hardware.arrays import FloatArray
from hardware.clock import HostClock
from hardware.events import DeviceIdentified, Finding, Verdict
from hardware.protocols import DeviceError
from hardware.simulated.mice import MouseKind
from rig.config.files import load_rig, load_stage
from rig.config.load import ConfigError, Problem
from rig.config.rig import PUBLISHED, PsychopyScreenConfig, RigConfig, desktop_window, with_screen
from rig.log.reader import read_session
from rig.log.writer import LogThread, LogWriter
from rig.session.assemble import SessionPlan, assembled, window_of
from rig.session.realtime import real_time
from stimuli.frames import Frames
from stimuli.pictures import Pictures
from stimuli.pictures.movies import StandInMovie
from stimuli.pictures.stand_ins import stand_in
from stimuli.psychopy_screen import RATE_TOLERANCE, PsychopyScreen
from stimuli.spec import Grating, Gray, NaturalImage, NaturalMovie, Stimulus, StimulusError

SECONDS = 10.0
MOST_LATE = 0.001
"""Share of flips that may be late, six in a hundred seconds. A recorded session had 6 in 75 minutes (TASK_FACTS 10)."""
MOVIE_FRAMES = 60
LEAD_S = 0.25
BENCH_WINDOW = PUBLISHED.model_copy(update={"width_px": 480, "height_px": 300})
"""Small enough for a software renderer to keep up."""


@dataclass(frozen=True)
class Shown:
    """What came of showing still frames, or a movie, for a while."""

    refresh_hz: float
    host_s: FloatArray
    """Time of each flip, shape (n,)."""
    n_late: int
    n_missed: int
    n_uploads: int

    @property
    def rate_hz(self) -> float:
        """Flips a second, from the median interval."""
        return float(1 / np.median(np.diff(self.host_s)))

    @property
    def jitter_ms(self) -> float:
        """How much the intervals of flips that were not late scatter: their standard deviation."""
        intervals_s = np.diff(self.host_s)
        return float(intervals_s[intervals_s < 1.5 / self.refresh_hz].std() * 1e3)

    @property
    def longest_ms(self) -> float:
        """The longest interval between two flips."""
        return float(np.diff(self.host_s).max() * 1e3)

    @property
    def late_share(self) -> float:
        """Share of flips before which refreshes went by."""
        return self.n_late / len(self.host_s)


def heaviest() -> tuple[list[Stimulus], Pictures]:
    """Return gray, gratings, the eight pictures and a movie of the set that ships, and where they come from."""
    images, film = stand_in("A"), StandInMovie()
    stimuli: list[Stimulus] = [Gray()]
    stimuli += [Grating(group="check", orientation_deg=orientation) for orientation in (0.0, 90.0)]
    stimuli += [NaturalImage(image_set="A", name=name) for name in images.names]
    stimuli.append(NaturalMovie(name=film.name, n_frames=MOVIE_FRAMES, n_repeats=1, refreshes_per_frame=2))
    return stimuli, Pictures(images=images, film=film)


def alternate(screen: PsychopyScreen, *, of: list[int], seconds: float, refresh_hz: float) -> Shown:
    """Show some of a screen's stimuli in turn, another one with each flip, or one that moves."""
    uploads = screen.n_uploads
    flips = [
        screen.advance(stimulus=of[i % len(of)], until_refresh=0, until_host_s=-math.inf, until_flip=0)
        for i in range(max(int(seconds * refresh_hz), 2))
    ]
    rows = screen.take()
    n_missed = rows.n_missed[1:]  # what went by before the first flip was not its fault
    return Shown(
        refresh_hz=refresh_hz,
        host_s=np.array([flip.host_s for flip in flips]),
        n_late=int((n_missed > 0).sum()),
        n_missed=int(n_missed.sum()),
        n_uploads=screen.n_uploads - uploads,
    )


def check_display(config: RigConfig, *, seconds: float = SECONDS) -> Iterator[Finding]:
    """Yield what a rig's monitor is found to do; raises ``DeviceError`` where no window can be opened.

    Parameters
    ----------
    seconds
        How long still frames alternate, and how long the movie runs.
    """
    monitor = config.screen if isinstance(config.screen, PsychopyScreenConfig) else desktop_window(config.screen)
    clock = HostClock()
    stimuli, pictures = heaviest()
    frames = Frames(geometry=monitor.geometry.geometry(), pictures=pictures)
    with tempfile.TemporaryDirectory(prefix="rig-display-", ignore_cleanup_errors=True) as folder:
        screen = window_of(
            monitor,
            frames=frames,
            clock=clock,
            observer=lambda _host_s, _stimulus: False,
            moving_dir=Path(folder),
        )
        with closing(screen), real_time():
            identity = screen.open()
            yield Finding(name="screen", verdict=Verdict.PASS, figure=f"{identity.model}, {identity.details['size']}")
            try:
                screen.prepare(stimuli)
            except StimulusError as error:
                raise ConfigError([Problem("stimuli", 0, "", str(error))]) from error
            yield from screen.check()
            screen.begin(clock.now_s() + LEAD_S + screen.lead_s)
            movie = len(stimuli) - 1
            still = alternate(screen, of=list(range(1, movie)), seconds=seconds, refresh_hz=monitor.refresh_hz)
            yield from judged(still, "still frames")
            moving = alternate(screen, of=[movie], seconds=seconds, refresh_hz=monitor.refresh_hz)
            yield from judged(moving, "movie")
            yield _uploads(still)


def bench(folder: Path, seconds: float) -> list[dict[str, float | str]]:
    """Return what a session in a small window costs in real time, as ``rig.bench`` lists its figures."""
    name = f"window {BENCH_WINDOW.width_px}x{BENCH_WINDOW.height_px} px"
    config = with_screen(load_rig("simulated"), "psychopy")
    screen = config.screen.model_copy(update={"geometry": BENCH_WINDOW})
    short = {"task_duration_min": seconds / 60, "gray_before_s": 1.0, "gray_after_s": 1.0, "movie": None}
    plan = SessionPlan(
        mouse="bench",
        stage=load_stage("OPHYS_1_images_A").model_copy(update=short),
        rig=config.model_copy(update={"screen": screen}),
        seed=1,
        mouse_kind=MouseKind.PERFECT,
        fast=False,
        session_id=UUID(int=1),
        folder=folder,
        who="bench",
    )
    steps_s: list[float] = []
    log = LogThread(LogWriter(folder))
    try:
        with closing(log), real_time(), assembled(plan, log=log, on_step=steps_s.append) as loop:
            loop.run()
    except DeviceError as error:
        return [{"name": name, "value": f"not measured: {error}", "unit": ""}]
    recorded = read_session(folder)
    identity = next(
        e.event for e in recorded.entries if isinstance(e.event, DeviceIdentified) and e.event.device == "screen"
    )
    late = recorded.flips["n_missed"] > 0
    steps_us = np.array(steps_s) * 1e6
    return [
        {"name": name, "value": identity.model, "unit": ""},
        {"name": "window: late flips", "value": 100 * float(late.mean()), "unit": f"% of {len(late)}"},
        {"name": "window: step without drawing, median", "value": float(np.median(steps_us)), "unit": "us"},
        {"name": "window: step without drawing, 99 %", "value": float(np.quantile(steps_us, 0.99)), "unit": "us"},
        {"name": "window: step without drawing, longest", "value": float(steps_us.max()), "unit": "us"},
    ]


def judged(shown: Shown, what: str) -> list[Finding]:
    """Say whether the flips came as they should, and what to change where not."""
    in_time = shown.late_share <= MOST_LATE
    at_rate = abs(shown.rate_hz / shown.refresh_hz - 1) < RATE_TOLERANCE
    late = "close other programs, take the rig's monitor out of the desktop's compositor, update the graphics driver"
    return [
        Finding(
            name=f"{what}: late flips",
            verdict=Verdict.PASS if in_time else Verdict.FAIL,
            figure=f"{shown.n_late} of {len(shown.host_s)} ({shown.n_missed} refreshes missed), longest interval "
            f"{shown.longest_ms:.1f} ms",
            remedy="" if in_time else late,
        ),
        Finding(
            name=f"{what}: flip intervals",
            verdict=Verdict.PASS if at_rate else Verdict.FAIL,
            figure=f"{shown.rate_hz:.3f} Hz, {shown.refresh_hz:g} Hz configured, jitter {shown.jitter_ms:.2f} ms",
            remedy="" if at_rate else "set the monitor to its configured rate, or mend refresh_hz in the rig's file",
        ),
    ]


def _uploads(still: Shown) -> Finding:
    return Finding(
        name="still frames: uploads",
        verdict=Verdict.PASS if not still.n_uploads else Verdict.FAIL,
        figure=f"{still.n_uploads} textures sent while they were shown",
        remedy="" if not still.n_uploads else "report this: nothing may be uploaded while a task runs",
    )
