"""Sessions that PsychoPy draws: what the log says was shown is what was on the screen, flip by flip."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from hardware.arrays import AnyArray
from hardware.simulated.mice import MouseKind
from rig.config.rig import RigConfig
from rig.log.reader import SessionLog, read_session
from rig.log.replay import replay
from rig.log.writer import LogThread, LogWriter
from rig.session.assemble import SessionPlan, assembled
from rig.session.realtime import real_time
from stages.events import Change, EndReason, FlashOmitted, FlashShown
from stages.task import stimuli_of
from stimuli.frames import Frames, Moving, Still
from stimuli.geometry import Geometry
from stimuli.psychopy_screen import PsychopyScreen
from stimuli.screen import Flip
from stimuli.spec import NaturalMovie
from tests.builders import rig_config, stage
from tests.display import VirtualDisplay

TINY = Geometry(width_px=320, height_px=200)
PATCH_PX = 20
FLASH_REFRESHES = 15
PROBE_PX = 10
UPLOADS = ("glTexImage2D", "glTexSubImage2D", "glTexImage1D", "glTexImage3D", "glCopyTexImage2D", "glCopyTexSubImage2D")


def window_rig(name: str = "simulated", *, geometry: Geometry = TINY, **changes: Any) -> RigConfig:
    """A simulated rig with a small window in place of its screen."""
    fields = rig_config(name).model_dump()
    fields["screen"] = {
        "kind": "psychopy",
        "screen_number": 0,
        "full_screen": False,
        "geometry": {
            side: getattr(geometry, side) for side in ("width_px", "height_px", "width_cm", "height_cm", "distance_cm")
        },
        "upside_down": False,
        "mirrored": False,
        "refresh_hz": 60.0,
        "paced_by": "clock",
        "calibration": None,
        "patch": {"corner": "lower_right", "size_px": PATCH_PX},
        **changes,
    }
    return RigConfig.model_validate(fields)


def plan(folder: Path, rig: RigConfig, *, name: str = "OPHYS_1_images_A", seed: int = 1, **changes: Any) -> SessionPlan:
    """A session in real time."""
    return SessionPlan(
        mouse="M1",
        stage=stage(name, **changes),
        rig=rig,
        seed=seed,
        mouse_kind=MouseKind.PERFECT,
        fast=False,
        session_id=UUID(int=1),
        folder=folder,
        who="tests",
    )


class Camera:
    """Looks at the window after every flip and says which of the frames is there."""

    def __init__(self, display: VirtualDisplay, frames: list[AnyArray]) -> None:
        self._display = display
        self._frames = {number: frame[:-PATCH_PX] for number, frame in enumerate(frames)}
        self.seen: list[int] = []
        """The frame on the screen after each flip; -1 where it is none of them."""
        self.patch: list[int] = []

    def look(self, flip: Flip) -> None:
        """Compare the window's pixels, all of them but the patch's rows, with every frame."""
        assert flip.flip == len(self.seen)
        photograph = self._display.window(TINY.width_px, TINY.height_px)
        grey, level = photograph[:-PATCH_PX], photograph[-PATCH_PX:, -PATCH_PX:]
        probe = grey[
            ::PROBE_PX, ::PROBE_PX, 0
        ]  # most frames are told apart by few pixels, and 60 times a second is often
        like = [f for f in self._frames if (probe == self._frames[f][::PROBE_PX, ::PROBE_PX]).all()]
        same = [f for f in like if (grey == self._frames[f][..., np.newaxis]).all()]
        self.seen.append(same[0] if same else -1)
        self.patch.append(int(level[0, 0, 0]) if np.ptp(level) == 0 else -1)


def count_uploads(monkeypatch: pytest.MonkeyPatch, numbers: list[int], camera: Camera) -> None:
    """Note the flip after which anything, ours or PsychoPy's, sends texels to the graphics card."""
    from pyglet import gl

    for name in UPLOADS:
        function = getattr(gl, name)

        def counted(*arguments: object, function: Any = function) -> object:
            numbers.append(len(camera.seen))
            return function(*arguments)

        monkeypatch.setattr(gl, name, counted)


@pytest.mark.parametrize(
    "minutes",
    [
        pytest.param(2.0, marks=pytest.mark.timeout(400)),
        pytest.param(20.0, marks=[pytest.mark.long(group="screens")]),
    ],
)
def test_what_the_log_says_was_shown_was_on_the_screen(
    minutes: float, display: VirtualDisplay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flip's pixels, 60 times a second; omitted flashes stay gray; nothing is uploaded on the way."""
    session = plan(tmp_path / "session", window_rig(), task_duration_min=minutes, omission_probability=0.2)
    pictures = session.pictures()
    frames = Frames(geometry=TINY, pictures=pictures.source)
    shown = stimuli_of(session.stage, image_names=pictures.image_names, refresh_hz=60.0)
    camera: list[Camera] = []
    uploads: list[int] = []
    advance = PsychopyScreen.advance

    def watched(screen: PsychopyScreen, **asked: Any) -> Flip:
        flip = advance(screen, **asked)
        camera[0].look(flip)
        return flip

    monkeypatch.setattr(PsychopyScreen, "advance", watched)
    log = LogThread(LogWriter(session.folder))
    with real_time(), assembled(session, log=log) as loop:
        camera.append(Camera(display, [frames.still(s) for s in shown if isinstance(s, Still)]))
        count_uploads(monkeypatch, uploads, camera[0])
        n_before = loop._devices.screen.n_uploads  # type: ignore[attr-defined]
        ended = loop.run()
        assert loop._devices.screen.n_uploads == n_before  # type: ignore[attr-defined]
    log.close()
    assert ended.reason is EndReason.TIME
    assert uploads == []
    recorded = read_session(session.folder)
    check_flips(recorded, camera[0])
    check_flashes(recorded, camera[0])
    assert replay(recorded).difference is None


def check_flips(recorded: SessionLog, camera: Camera) -> None:
    """Each row of flips.bin names the frame that was on the screen; the patch alternates every 60 flips."""
    assert recorded.flips["stimulus"].tolist() == camera.seen
    assert camera.patch == [255 if flip // 60 % 2 == 0 else 0 for flip in range(len(camera.seen))]


def check_flashes(recorded: SessionLog, camera: Camera) -> None:
    """Each flash that is logged came on with its flip; an omitted one stayed gray; a change changed the picture."""
    entries = [entry for entry in recorded.entries if isinstance(entry.event, FlashShown | FlashOmitted)]
    assert len(entries) > 100
    assert sum(isinstance(entry.event, FlashOmitted) for entry in entries) >= 1
    refresh = recorded.flips["refresh"]
    for entry in entries:
        event: Any = entry.event
        if isinstance(event, FlashOmitted):
            flash = np.flatnonzero((refresh >= entry.refresh) & (refresh < entry.refresh + FLASH_REFRESHES))
            assert {camera.seen[flip] for flip in flash} == {0}
        else:
            assert camera.seen[entry.flip] == event.stimulus > 0
    changes = [entry for entry in recorded.entries if isinstance(entry.event, Change)]
    assert changes
    for change in changes:
        assert camera.seen[change.flip] == change.event.to_stimulus != change.event.from_stimulus


def test_escape_at_the_window_ends_the_session_now(
    display: VirtualDisplay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = plan(tmp_path / "session", window_rig(), name="TRAINING_2_gratings_flashed")
    advance = PsychopyScreen.advance

    def pressed(screen: PsychopyScreen, **asked: Any) -> Flip:
        from pyglet.window import key

        flip = advance(screen, **asked)
        if flip.flip == 60:
            screen._window.winHandle.dispatch_event("on_key_press", key.ESCAPE, 0)
        return flip

    monkeypatch.setattr(PsychopyScreen, "advance", pressed)
    log = LogThread(LogWriter(session.folder))
    with real_time(), assembled(session, log=log) as loop:
        ended = loop.run()
    log.close()
    assert (ended.reason, ended.who) == (EndReason.STOPPED_NOW, "tests")
    assert "Escape at the window" in ended.why
    assert len(read_session(session.folder).flips) < 200


class Album:
    """Every flip's photograph, for stimuli that move."""

    def __init__(self, display: VirtualDisplay, geometry: Geometry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages: list[AnyArray] = []
        advance = PsychopyScreen.advance

        def watched(screen: PsychopyScreen, **asked: Any) -> Flip:
            flip = advance(screen, **asked)
            self.pages.append(display.window(geometry.width_px, geometry.height_px)[:-PATCH_PX, :, 0])
            return flip

        monkeypatch.setattr(PsychopyScreen, "advance", watched)


@pytest.mark.parametrize("name", ["OPHYS_1_images_A", "OPHYS_7_receptive_field_mapping"])
def test_what_moves_is_on_the_screen_frame_by_frame(
    name: str, display: VirtualDisplay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A movie after the task, and a sweep of patches: on time the frame that is due, late another of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    geometry = Geometry(width_px=160, height_px=100)
    movie = {"name": "natural_movie_one", "n_frames": 20, "n_repeats": 2, "frame_rate_hz": 30.0}
    short: dict[str, Any] = {"task_duration_min": 0.1, "movie": movie} if name == "OPHYS_1_images_A" else {}
    session = plan(tmp_path / "session", window_rig(geometry=geometry), name=name, **short)
    pictures = session.pictures()
    frames = Frames(geometry=geometry, pictures=pictures.source)
    shown = stimuli_of(session.stage, image_names=pictures.image_names, refresh_hz=60.0, movie_name=pictures.movie_name)
    moving = {
        index: frames.moving(stimulus, refresh_hz=60.0, folder=tmp_path)
        for index, stimulus in enumerate(shown)
        if isinstance(stimulus, Moving)
    }
    album = Album(display, geometry, monkeypatch)
    log = LogThread(LogWriter(session.folder))
    with real_time(), assembled(session, log=log) as loop:
        loop.run()
    log.close()
    flips = read_session(session.folder).flips
    stimulus, refresh = flips["stimulus"], flips["refresh"]
    assert len(flips) == len(album.pages)
    moved = [flip for flip in range(len(flips)) if stimulus[flip] in moving]
    assert len(moved) > 50
    onset = 0
    for flip in moved:
        onset = flip if stimulus[flip] != stimulus[flip - 1] else onset
        of = moving[stimulus[flip]]
        since = int(refresh[flip] - refresh[onset]) - int(flips["n_missed"][flip] if flip > onset else 0)
        wanted = of.whole(since, geometry=geometry)[:-PATCH_PX]
        assert (album.pages[flip] == wanted).all(), f"flip {flip}"
        movie_frame = of.index(since) if isinstance(shown[stimulus[flip]], NaturalMovie) else -1
        assert flips["movie_frame"][flip] == movie_frame
