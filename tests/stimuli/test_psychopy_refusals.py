"""What a window refuses before a session starts, each in a sentence with its remedy; and what PsychoPy does besides."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from hardware.arrays import GreyFrame
from hardware.events import Verdict
from hardware.protocols import DeviceError
from stimuli.frames import Frames, Still
from stimuli.geometry import Geometry
from stimuli.spec import Gray, NaturalImage, StimulusError
from stimuli.window import WindowSettings
from tests.display import HEIGHT_PX, WIDTH_PX, VirtualDisplay
from tests.windows import SMALL, frames, opened

ROOT = Path(__file__).resolve().parents[2]

OPEN_ONE = """
import json, sys, threading, warnings, logging, os
if sys.argv[1] == "without psychopy":
    sys.modules["psychopy"] = None
from pathlib import Path
from hardware.clock import HostClock
from hardware.protocols import DeviceError
from stimuli.frames import Frames
from stimuli.geometry import Geometry
from stimuli.psychopy_screen import PsychopyScreen
from stimuli.spec import Gray
from stimuli.window import WindowSettings

def state():
    filters = [repr(f) for f in warnings.filters]
    return {
        "threads": threading.active_count(), "handlers": len(logging.root.handlers), "filters": filters,
        "level": logging.root.level, "home": os.environ["HOME"], "cwd": os.getcwd(),
    }

before = state()
screen = PsychopyScreen(
    frames=Frames(geometry=Geometry(width_px=64, height_px=40)), settings=WindowSettings(), refresh_hz=60.0,
    clock=HostClock(), observer=lambda host_s, stimulus: False, moving_dir=Path("moving"),
)
try:
    screen.open()
except DeviceError as error:
    print(json.dumps({"error": str(error)}))
else:
    screen.prepare([Gray()])
    screen.check()
    screen.advance(stimulus=0, until_refresh=0, until_host_s=0.0, until_flip=0)
    screen.close()
    print(json.dumps({"before": before, "after": state()}))
"""


def open_one(how: str, home: Path, **environment: str | None) -> tuple[dict, str]:
    """Open a window in a process of its own; return what it says on its last line, and all that was said besides."""
    set_to = {**os.environ, "HOME": str(home), **environment}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OPEN_ONE, how],
        cwd=ROOT,
        env={name: value for name, value in set_to.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    *besides, last = done.stdout.splitlines()
    return json.loads(last), "\n".join(besides) + done.stderr


def test_without_psychopy_a_sentence_says_how_to_install_it(tmp_path: Path) -> None:
    said, _ = open_one("without psychopy", tmp_path)
    assert said["error"] == (
        "screen: PsychoPy is not installed. "
        "Install it with: pip install 'open-vision-rig[rig]'; a headless screen needs none."
    )


def test_nothing_but_an_open_window_loads_psychopy() -> None:
    """The command line, sessions and checks import without it; headless simulation needs none."""
    loaded = "import sys, rig.cli, rig.display, rig.session.process; print({'psychopy', 'pyglet'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


@pytest.mark.parametrize("name", [None, ":4711"])
def test_without_a_display_a_sentence_says_where_to_run_it(name: str | None, tmp_path: Path) -> None:
    said, _ = open_one("with psychopy", tmp_path, DISPLAY=name)
    told = f"DISPLAY is {name or 'not set'}"
    assert said["error"] == (
        f"screen: there is no display to open a window on ({told}). "
        "Run it from the rig's own desktop; a headless screen needs none."
    )


def test_psychopy_leaves_no_trace_besides_its_window(display: VirtualDisplay, tmp_path: Path) -> None:
    said, besides = open_one("with psychopy", tmp_path)
    assert besides == ""
    assert said["before"] == said["after"]
    assert list(tmp_path.iterdir()) == []


def test_a_monitor_that_is_not_there_is_refused(display: VirtualDisplay, tmp_path: Path) -> None:
    with (
        pytest.raises(
            DeviceError, match=r"there is no monitor 3: the system shows only one monitor.*mend screen_number"
        ),
        opened(display, frames(SMALL), [Gray()], folder=tmp_path, settings=WindowSettings(screen_number=3)),
    ):
        pass


@pytest.mark.parametrize(
    ("geometry", "full_screen"),
    [(Geometry(width_px=1920, height_px=1080), True), (Geometry(width_px=2560, height_px=1440), False)],
)
def test_a_monitor_in_another_mode_is_refused(
    geometry: Geometry, full_screen: bool, display: VirtualDisplay, tmp_path: Path
) -> None:
    said = rf"monitor 0 shows {WIDTH_PX}x{HEIGHT_PX} px, and the rig's file says {geometry.width_px}x"
    with (
        pytest.raises(DeviceError, match=said),
        opened(
            display, Frames(geometry=geometry), [], folder=tmp_path, settings=WindowSettings(full_screen=full_screen)
        ),
    ):
        pass


def test_a_driver_that_shows_no_window_is_one_sentence(
    display: VirtualDisplay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(display, frames(SMALL), [Gray()], folder=tmp_path):
        from psychopy import visual

    def refused(**_: object) -> None:
        raise RuntimeError("Specified window configuration is not supported by this display.")

    monkeypatch.setattr(visual, "Window", refused)
    with (
        pytest.raises(
            DeviceError, match=r"^screen: no window can be opened on monitor 0: Specified window.*own driver"
        ),
        opened(display, frames(SMALL), [Gray()], folder=tmp_path),
    ):
        pass


def test_full_screen_is_the_whole_monitor(display: VirtualDisplay, tmp_path: Path) -> None:
    settings = WindowSettings(full_screen=True)
    with opened(display, Frames(geometry=Geometry()), [Gray()], folder=tmp_path, settings=settings) as window:
        window.flip(0)
        assert (display.photograph() == 127).all()


def test_a_monitor_at_another_rate_fails_its_check(display: VirtualDisplay, tmp_path: Path) -> None:
    """A virtual display holds no flip back: flips come as fast as they can be drawn."""
    with opened(display, Frames(geometry=Geometry(width_px=64, height_px=40)), [Gray()], folder=tmp_path) as window:
        rate = next(finding for finding in window.screen.check() if finding.name == "screen rate")
    assert rate.verdict is Verdict.FAIL
    assert rate.figure.endswith("Hz over 90 flips, 60 Hz configured")
    assert rate.remedy.startswith("set the monitor to 60 Hz and flips to wait for it (vertical sync)")


class DamagedPictures:
    """A source whose picture has the wrong size."""

    def picture(self, name: str) -> GreyFrame:
        return np.zeros((918, 1000), np.uint8)

    def movie(self, name: str, *, n_frames: int) -> GreyFrame:
        raise NotImplementedError

    def movie_hash(self, name: str) -> str:
        raise NotImplementedError


def test_a_picture_of_a_wrong_size_is_refused_before_the_session(display: VirtualDisplay, tmp_path: Path) -> None:
    drawn = Frames(geometry=SMALL, pictures=DamagedPictures())
    image = NaturalImage(image_set="A", name="im065")
    with pytest.raises(StimulusError, match="im065"), opened(display, drawn, [Gray(), image], folder=tmp_path):
        pass


class AlteredFrames(Frames):
    """Frames for another window than they say."""

    def still(self, stimulus: Still) -> GreyFrame:
        return super().still(stimulus)[1:]


def test_a_frame_that_does_not_fit_the_window_is_refused(display: VirtualDisplay, tmp_path: Path) -> None:
    drawn = AlteredFrames(geometry=SMALL)
    with (
        pytest.raises(DeviceError, match="a frame has 480x299 px and the window 480x300"),
        opened(display, drawn, [Gray()], folder=tmp_path),
    ):
        pass


def test_pixels_that_a_driver_changes_fail_their_check(display: VirtualDisplay, tmp_path: Path) -> None:
    with opened(display, frames(SMALL), [Gray()], folder=tmp_path) as window:
        pixels = next(finding for finding in window.screen.check() if finding.name == "screen pixels")
        assert (pixels.verdict, pixels.figure) == (Verdict.PASS, "0 levels off at most, 2 frames read back")
        read_back = window.screen._canvas.read_back
        window.screen._canvas.read_back = lambda: read_back() + 3  # type: ignore[method-assign,return-value]
        window.screen.prepare([Gray()])
        pixels = next(finding for finding in window.screen.check() if finding.name == "screen pixels")
    assert pixels.verdict is Verdict.FAIL
    assert pixels.remedy.startswith("switch off what the driver does to pictures")


def test_escape_and_the_windows_cross_ask_for_the_end_and_leave_the_window_open(
    display: VirtualDisplay, tmp_path: Path
) -> None:
    from pyglet.window import key

    with opened(display, frames(SMALL), [Gray()], folder=tmp_path) as window:
        window.flip(0)
        handle = window.screen._window.winHandle
        handle.dispatch_event("on_key_press", key.SPACE, 0)  # heard with the next flip
        window.flip(0)
        assert window.escaped == []
        handle.dispatch_event("on_key_press", key.ESCAPE, 0)
        handle.dispatch_event("on_close")
        window.flip(0)
        assert window.escaped == ["escape", "escape"]
        assert (window.show(0) == 127).all()


def test_warnings_and_logging_are_as_they_were(display: VirtualDisplay, tmp_path: Path) -> None:
    before = [*warnings.filters], [*logging.root.handlers], threading.active_count(), os.environ["HOME"]
    with opened(display, frames(SMALL), [Gray()], folder=tmp_path) as window:
        window.flip(0)
    assert before == ([*warnings.filters], [*logging.root.handlers], threading.active_count(), os.environ["HOME"])
