"""A real window: PsychoPy opens it, sets it up and flips it; what it shows are the frames of ``stimuli.frames``.

The only module that imports PsychoPy and pyglet, and only when a window is opened: both take seconds, reach for a
display and have habits (``_contained``).

Rules
    * Every still frame is one 8-bit texture, uploaded in ``prepare``. Showing it draws one quad; nothing that rebuilds
      a texture is called between two flips. ``n_uploads`` counts.
    * Movies and patches that drift are too many frames for the graphics card: they are read from their memory-mapped
      file into one texture made for that. They are shown outside the task.
    * What is drawn is the frame, pixel for pixel: no scaling, no blending, nearest texel. ``prepare`` draws each
      one and reads it back, ``check`` says how far it was off.

Decisions
    * No PsychoPy stimulus, but textures of our own. ``ImageStim`` holds grey as 32-bit floats, four times the memory,
      and takes tens of milliseconds for a new full-screen picture, too long for a movie.
    * No frame buffer of PsychoPy (``useFBO``) and none of its warps: under a software renderer they show plain gray.
    * Gamma is undone by a table of 256 levels a colour, looked up as the frame is drawn. A ramp of the graphics card
      would have finer steps, but it is the whole desktop's, needs a driver that has one, and stays behind after a
      crash. The card's ramp is left as it is: calibrate with it as it is.
    * No thread that reads a movie ahead. A frame of 1920 x 1200 has 2.3 MB: 5 ms at a solid-state disk's 500 MB/s, 0.2
      ms once the system keeps it, as from the second showing on. What a slower disk delays is counted as late.
    * No mirror for the operator: a second window waits for a second flip.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hardware.arrays import GreyFrame
from hardware.clock import Clock
from hardware.events import Finding, Verdict
from hardware.protocols import DeviceError, Identity
from stimuli.canvas import Canvas
from stimuli.frames import Frames, MovingFrames
from stimuli.headless import Observer, Pace, RefreshTrain
from stimuli.patch import bright, splash
from stimuli.refresh import RefreshTracker
from stimuli.screen import Flip, FlipRows
from stimuli.spec import Gabor, Gray, NaturalMovie, Stimulus
from stimuli.window import WindowSettings

RATE_TOLERANCE = 0.01
"""How far the monitor may be from its configured rate; the recorded rig ran at 59.95 Hz for 60 (TASK_FACTS 1.3)."""
WARM_UP_FLIPS, RATE_FLIPS = 30, 90
DRAWS = 5
LONGEST_DRAW = 0.5
"""Share of a refresh that drawing may take before it is warned of."""

BACKGROUND = -1
"""Index of the gray frame that is there whatever the stimuli are: before flip 0, and around a patch that drifts."""


class PsychopyScreen:
    """Shows prepared frames in a window of PsychoPy's.

    Parameters
    ----------
    frames
        What each stimulus looks like; their geometry is the window's size.
    refresh_hz
        The monitor's configured rate.
    clock
        The host's, but for tests.
    observer
        Told of each flip that shows something new.
    moving_dir
        Where frames of movies and patches are kept.
    train
        Refreshes to wait for where flips don't wait for a monitor's: a virtual display, a window among others. None
        where the graphics card holds each flip back until the monitor's next refresh.
    on_escape
        Called when somebody presses Escape at the window, or closes it: the window stays open.
    """

    name = "screen"
    rows_per_take = 2

    def __init__(
        self,
        *,
        frames: Frames,
        settings: WindowSettings,
        refresh_hz: float,
        clock: Clock,
        observer: Observer,
        moving_dir: Path,
        train: RefreshTrain | None = None,
        on_escape: Callable[[], None] = lambda: None,
    ) -> None:
        self._frames = frames
        self._settings = settings
        self._refresh_hz = refresh_hz
        self._clock = clock
        self._observer = observer
        self._moving_dir = moving_dir
        self._train = train
        self._pace = None if train is None else Pace(train=train, clock=clock)
        self._begins_s = -math.inf
        self._on_escape = on_escape
        self._tracker = RefreshTracker(nominal_hz=refresh_hz)
        self._window: Any = None
        self._canvas: Canvas
        self._stills: dict[int, int] = {}
        self._movings: dict[int, MovingFrames] = {}
        self._is_movie: frozenset[int] = frozenset()
        self._patch_levels: tuple[int, int] = (0, 0)
        self._stimulus = -1
        self._onset_refresh = 0
        self._streamed: tuple[int, int] = (-1, -1)
        self._flip = -1
        self._taken_refresh = -1
        self._untaken: deque[tuple[Flip, int, int]] = deque()  # filled by the loop, taken by the thread that gathers
        self._longest_draw_s = 0.0
        self._largest_difference = 0

    @property
    def n_uploads(self) -> int:
        """How often anything was sent to the graphics card's textures since the window was opened."""
        return self._canvas.n_uploads

    @property
    def lead_s(self) -> float:
        """How long the first ``advance`` takes until flip 0: that of the splash."""
        return len(splash()) / self._refresh_hz if self._settings.patch is not None else 0.0

    def open(self) -> Identity:
        """Open the window on its monitor.

        Raises
        ------
        DeviceError
            PsychoPy is not installed, there is no display, no such monitor, one of another size, or no driver for it.
        """
        geometry, settings = self._frames.geometry, self._settings
        visual = _visual()
        monitors = _monitors()
        if settings.screen_number >= len(monitors):
            seen = "only one monitor" if len(monitors) == 1 else f"only {len(monitors)} monitors"
            raise DeviceError(
                device=self.name,
                what=f"there is no monitor {settings.screen_number}: the system shows {seen}, counted from 0",
                remedy="plug it in and switch it on, or mend screen_number in the rig's file",
            )
        self._fits(monitors[settings.screen_number])
        self._window = self._opened(visual)
        handle = self._window.winHandle
        handle.set_vsync(self._pace is None)
        handle.set_mouse_visible(False)  # full screen or not: the pointer would lie upon the stimulus
        handle.on_key_press = self._key
        handle.on_close = self._closed_by_hand
        self._canvas = Canvas(
            _gl(),
            width_px=geometry.width_px,
            height_px=geometry.height_px,
            table=settings.table,
            upside_down=settings.upside_down,
            mirrored=settings.mirrored,
        )
        self._refuse_other_size(tuple(int(n) for n in self._window.frameBufferSize))
        gamma = "none undone"
        if settings.gamma is not None:
            gamma = f"{', '.join(f'{g:g}' for g in settings.gamma)} undone by a table of 256 levels a colour"
        return Identity(
            device=self.name,
            model=f"PsychoPy {version('psychopy')}, {self._canvas.renderer}",
            details={
                "size": f"{geometry.width_px}x{geometry.height_px} px",
                "monitor": f"{settings.screen_number}, {'full screen' if settings.full_screen else 'window'}",
                "gamma": gamma,
                "flips wait for": "the monitor" if self._pace is None else "the program's clock",
            },
        )

    def _opened(self, visual: ModuleType) -> object:
        """Return PsychoPy's window; frames come finished, so it does no more than show them."""
        geometry, settings = self._frames.geometry, self._settings
        try:
            with _contained():
                return visual.Window(
                    size=(geometry.width_px, geometry.height_px),
                    screen=settings.screen_number,
                    fullscr=settings.full_screen,
                    allowGUI=not settings.full_screen,
                    monitor=_no_monitor(geometry.width_cm, geometry.distance_cm),
                    units="pix",
                    color=(0, 0, 0),
                    winType="pyglet",
                    useFBO=False,
                    waitBlanking=True,
                    checkTiming=False,
                    autoLog=False,
                    title="rig",
                )
        except Exception as error:
            said = str(error) or type(error).__name__
            raise DeviceError(
                device=self.name,
                what=f"no window can be opened on monitor {settings.screen_number}: {said}",
                remedy="install the graphics card's own driver; OpenGL 2.1 is enough",
            ) from error

    def _fits(self, size: tuple[int, int]) -> None:
        """Refuse a monitor that runs in another mode than its frames are made for."""
        geometry = self._frames.geometry
        wanted = geometry.width_px, geometry.height_px
        too_small = size[0] < wanted[0] or size[1] < wanted[1]
        if (self._settings.full_screen and size != wanted) or too_small:
            raise DeviceError(
                device=self.name,
                what=f"monitor {self._settings.screen_number} shows {size[0]}x{size[1]} px, and the rig's file says "
                f"{wanted[0]}x{wanted[1]}",
                remedy="set the monitor to that mode, or mend width_px and height_px in the rig's file",
            )

    def _refuse_other_size(self, size: tuple[int, ...]) -> None:
        geometry = self._frames.geometry
        if size != (geometry.width_px, geometry.height_px):
            self.close()
            raise DeviceError(
                device=self.name,
                what=f"the window came out {size[0]}x{size[1]} px instead of {geometry.width_px}x{geometry.height_px}",
                remedy="switch the system's scaling of this monitor off, or mend width_px and height_px",
            )

    def prepare(self, stimuli: Sequence[Stimulus]) -> None:
        """Render every stimulus and upload what stands still.

        Raises
        ------
        StimulusError
            A picture is missing, damaged or of a wrong size.
        """
        canvas, shape = self._canvas, self._frames.geometry.shape
        self._patch_levels = canvas.upload(np.zeros((1, 1), np.uint8)), canvas.upload(np.full((1, 1), 255, np.uint8))
        self._add_still(BACKGROUND, self._frames.still(Gray()))
        for index, stimulus in enumerate(stimuli):
            if isinstance(stimulus, NaturalMovie | Gabor):
                self._movings[index] = self._frames.moving(
                    stimulus, refresh_hz=self._refresh_hz, folder=self._moving_dir
                )
            elif isinstance(stimulus, Gray):
                self._stills[index] = self._stills[BACKGROUND]
            else:
                self._add_still(index, self._frames.still(stimulus))
        self._is_movie = frozenset(i for i, stimulus in enumerate(stimuli) if isinstance(stimulus, NaturalMovie))
        if self._movings:
            canvas.make_stream(shape)
        self._longest_draw_s = max(map(self._draw_s, (*self._stills, *self._movings)))

    def _add_still(self, index: int, frame: GreyFrame) -> None:
        """Upload a frame, draw it and compare what was drawn."""
        if frame.shape != self._frames.geometry.shape:
            rows, columns = self._frames.geometry.shape
            raise DeviceError(
                device=self.name,
                what=f"a frame has {frame.shape[1]}x{frame.shape[0]} px and the window {columns}x{rows}",
                remedy="render it with the geometry of the rig's file",
            )
        self._stills[index] = self._canvas.upload(frame)
        self._draw(index, 0)
        self._canvas.finish()
        step = -1 if self._settings.upside_down else 1
        across = -1 if self._settings.upside_down != self._settings.mirrored else 1
        wanted = self._settings.table[frame[::step, ::across]]
        difference = np.abs(self._canvas.read_back().astype(np.int16) - wanted).max()
        self._largest_difference = max(self._largest_difference, int(difference))

    def _draw_s(self, index: int) -> float:
        """Return how long it takes to draw a stimulus, its next frame if it moves."""
        took_s = []
        for frame in range(DRAWS):
            begun_s = self._clock.now_s()
            self._draw(index, frame)
            self._canvas.finish()
            took_s.append(self._clock.now_s() - begun_s)
        return float(np.median(took_s))

    def check(self) -> list[Finding]:
        """Say how close what was drawn is to its frames, how long drawing takes, and what a monitor's rate is.

        Takes two seconds.
        """
        period_s = 1 / self._refresh_hz
        drawn_in_time = self._longest_draw_s < LONGEST_DRAW * period_s
        alike = self._largest_difference <= 1
        findings = [
            Finding(
                name="screen pixels",
                verdict=Verdict.PASS if alike else Verdict.FAIL,
                figure=f"{self._largest_difference} levels off at most, {len(self._stills)} frames read back",
                remedy="" if alike else "switch off what the driver does to pictures: scaling, sharpening, dithering",
            ),
            Finding(
                name="screen drawing",
                verdict=Verdict.PASS if drawn_in_time else Verdict.WARN,
                figure=f"{self._longest_draw_s * 1e3:.2f} ms at the longest, of {period_s * 1e3:.2f} ms a refresh",
                remedy="" if drawn_in_time else "use a graphics card with its own driver, or a smaller window",
            ),
        ]
        if self._pace is not None:
            figure = f"{self._refresh_hz:g} Hz by the program's clock: no mouse may be before it"
            return [*findings, Finding(name="screen rate", verdict=Verdict.PASS, figure=figure)]
        measured_hz = self.rate_hz()
        good = abs(measured_hz / self._refresh_hz - 1) < RATE_TOLERANCE
        remedy = (
            f"set the monitor to {self._refresh_hz:g} Hz and flips to wait for it (vertical sync) in the driver's "
            "settings, or mend refresh_hz in the rig's file"
        )
        rate = Finding(
            name="screen rate",
            verdict=Verdict.PASS if good else Verdict.FAIL,
            figure=f"{measured_hz:.2f} Hz over {RATE_FLIPS} flips, {self._refresh_hz:g} Hz configured",
            remedy="" if good else remedy,
        )
        return [*findings, rate]

    def rate_hz(self) -> float:
        """Return how many flips a second the monitor lets by, from the median of some."""
        times_s = np.array([self._show(BACKGROUND, 0, patch=None) for _ in range(WARM_UP_FLIPS + RATE_FLIPS)])
        return float(1 / np.median(np.diff(times_s[WARM_UP_FLIPS:])))

    def begin(self, start_host_s: float) -> None:
        """Have flip 0 come at this host time, or with the first refresh after it; the splash goes before."""
        self._begins_s = start_host_s - self.lead_s
        if self._train is not None:
            train = dataclasses.replace(self._train, start_host_s=self._begins_s)
            self._pace = Pace(train=train, clock=self._clock)

    def advance(self, *, stimulus: int, until_refresh: int, until_host_s: float, until_flip: int) -> Flip:
        """See ``Screen.advance``; the limits are of no concern here."""
        number = self._flip + 1
        if number == 0:
            self._clock.sleep_until(self._begins_s)
            self._splash()
        is_new = stimulus != self._stimulus
        next_refresh = self._tracker.refresh + 1
        since_onset = 0 if is_new else next_refresh - self._onset_refresh
        moving = self._movings.get(stimulus)
        frame = -1 if moving is None else moving.index(since_onset)
        host_s = self._show(stimulus, frame, patch=bright(number))
        flip = Flip(number, self._tracker.flip(host_s), host_s)
        self._flip = number
        if is_new:
            self._stimulus = stimulus
            self._onset_refresh = flip.refresh
            self._observer(host_s, stimulus)
        self._untaken.append((flip, stimulus, frame if stimulus in self._is_movie else -1))
        return flip

    def take(self) -> FlipRows:
        """See ``Screen.take``."""
        taken = [self._untaken.popleft() for _ in range(len(self._untaken))]
        refresh = np.array([flip.refresh for flip, _, _ in taken], np.int64)
        n_missed = np.diff(refresh, prepend=self._taken_refresh) - 1
        if taken:
            self._taken_refresh = int(refresh[-1])
        return FlipRows(
            first_flip=taken[0][0].flip if taken else self._flip + 1,
            refresh=refresh,
            host_s=np.array([flip.host_s for flip, _, _ in taken]),
            stimulus=np.array([stimulus for _, stimulus, _ in taken], np.int64),
            movie_frame=np.array([frame for _, _, frame in taken], np.int64),
            n_missed=n_missed,
        )

    def close(self) -> None:
        """Splash if a session was shown, and close the window."""
        window, self._window = self._window, None
        if window is None:
            return
        with contextlib.suppress(Exception):
            if self._flip >= 0:
                self._window = window
                self._splash()
        self._window = None
        with contextlib.suppress(Exception), _contained():
            window.close()

    def _show(self, index: int, frame: int, *, patch: bool | None) -> float:
        """Draw, flip, return the flip's host time."""
        self._draw(index, frame)
        if patch is not None and self._settings.patch is not None:
            geometry = self._frames.geometry
            box = self._settings.patch.box(width_px=geometry.width_px, height_px=geometry.height_px)
            self._canvas.draw(self._patch_levels[patch], box, turned=False)
        if self._pace is not None:
            self._canvas.finish()
            self._pace.wait()
        self._window.flip(clearBuffer=False)
        return self._clock.now_s()

    def _draw(self, index: int, frame: int) -> None:
        moving = self._movings.get(index)
        if moving is None:
            self._canvas.draw(self._stills[index])
            return
        picture = moving.frames[frame % len(moving.frames)]
        rows, columns = picture.shape
        box = moving.left_px, moving.top_px, moving.left_px + columns, moving.top_px + rows
        if self._streamed != (index, frame):
            self._streamed = index, frame
            self._canvas.stream(picture)
        if (rows, columns) != self._frames.geometry.shape:
            self._canvas.draw(self._stills[BACKGROUND])
        self._canvas.draw_stream(box)

    def _splash(self) -> None:
        if self._settings.patch is not None:
            for level in splash():
                self._show(BACKGROUND, 0, patch=level)

    def _key(self, symbol: int, _modifiers: int) -> None:
        from pyglet.window import key  # noqa: PLC0415 - the window is open: it has been imported

        if symbol == key.ESCAPE:
            self._on_escape()

    def _closed_by_hand(self) -> None:
        self._on_escape()


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """Keep to itself what PsychoPy does besides: words on the terminal, warnings, files in the home folder."""
    home = "APPDATA" if sys.platform == "win32" else "HOME"
    before = os.environ.get(home)
    with (
        tempfile.TemporaryDirectory(prefix="rig-psychopy-", ignore_cleanup_errors=True) as folder,
        warnings.catch_warnings(),
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123 - os.devnull is no path of ours
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        warnings.simplefilter("ignore")
        os.environ[home] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[home]
            else:
                os.environ[home] = before


def _visual() -> ModuleType:
    """Return ``psychopy.visual``.

    Raises
    ------
    DeviceError
        It is not installed, or there is no display.
    """
    try:
        with _contained():
            from psychopy import logging  # noqa: PLC0415 - only where a window is opened

            logging.console.setLevel(logging.CRITICAL)
            from psychopy import visual  # noqa: PLC0415 - takes seconds and needs a display
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == "psychopy":
            raise DeviceError(
                device="screen",
                what="PsychoPy is not installed",
                remedy="install it with: pip install 'open-vision-rig[rig]'; a headless screen needs none",
            ) from error
        raise DeviceError(
            device="screen",
            what=f"PsychoPy can't be loaded: {error}",
            remedy="install the OpenGL libraries (Debian: libgl1, libglu1-mesa); a headless screen needs none",
        ) from error
    except Exception as error:
        if type(error).__name__ != "NoSuchDisplayException":
            raise
        raise DeviceError(
            device="screen",
            what=f"there is no display to open a window on (DISPLAY is {os.environ.get('DISPLAY') or 'not set'})",
            remedy="run it from the rig's own desktop; a headless screen needs none",
        ) from error
    return visual  # type: ignore[no-any-return]  # PsychoPy has no types


def monitor_sizes() -> list[tuple[int, int]]:
    """Return width and height in pixels of each monitor of this computer; raises ``DeviceError`` as ``open`` does."""
    _visual()
    return _monitors()


def _gl() -> ModuleType:
    """Return the functions of OpenGL."""
    from pyglet import gl  # noqa: PLC0415 - needs a display

    return gl  # type: ignore[no-any-return]  # pyglet has no types


def _monitors() -> list[tuple[int, int]]:
    """Return width and height of each monitor in pixels, in the system's order."""
    import pyglet  # noqa: PLC0415 - with PsychoPy

    return [(int(one.width), int(one.height)) for one in pyglet.canvas.get_display().get_screens()]


def _no_monitor(width_cm: float, distance_cm: float) -> object:
    """Return what PsychoPy wants to know of a monitor; frames come finished, so it changes nothing."""
    from psychopy import monitors  # noqa: PLC0415 - with PsychoPy

    return monitors.Monitor("rig", width=width_cm, distance=distance_cm, autoLog=False)
