"""``rig preview --window``: the timeline's trials in a window, at their real pace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from hardware.arrays import AnyArray
from rig.cli import app
from rig.config.pictures import pictures_of
from rig.playing import GRAY_S, on_desktop, play
from rig.records import preview
from rig.records.exemplars import exemplars
from rig.records.preview import scenes
from stages.task import stimuli_of
from stimuli.frames import Frames, Still
from stimuli.psychopy_screen import PsychopyScreen
from stimuli.screen import Flip
from stimuli.spec import label
from tests.builders import GRATINGS, IMAGES, SWEEP, rig_config, stage
from tests.display import VirtualDisplay
from tests.rig.test_preview import STAGES, small_rig

Watch = Callable[[Callable[[PsychopyScreen, Flip], object]], None]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Have somebody look after each flip."""

    def look(at: Callable[[PsychopyScreen, Flip], object]) -> None:
        advance = PsychopyScreen.advance

        def watched(screen: PsychopyScreen, **asked: Any) -> Flip:
            flip = advance(screen, **asked)
            at(screen, flip)
            return flip

        monkeypatch.setattr(PsychopyScreen, "advance", watched)

    return look


@pytest.mark.parametrize("name", STAGES)
def test_what_is_played_is_what_the_timeline_shows(name: str) -> None:
    parameters = stage(name, **STAGES[name])
    pictures = pictures_of(parameters, simulated=True)
    played = scenes(parameters, pictures=pictures, refresh_hz=60.0)
    shown = stimuli_of(parameters, image_names=pictures.image_names, refresh_hz=60.0, movie_name=pictures.movie_name)
    assert {on for scene in played for _, _, on in scene.shown} <= {label(stimulus) for stimulus in shown}
    if name == SWEEP:
        (sweep,) = played
        assert len(sweep.shown) == preview.PATCHES
        return
    trials = exemplars(parameters, names=pictures.image_names)[: preview.KINDS]
    assert [scene.name for scene in played] == [trial.kind for trial in trials]
    for scene, trial in zip(played, trials, strict=True):
        assert (scene.start_s, scene.end_s) == (trial.start_s, trial.end_s)
        for one in trial.shown:
            if scene.start_s < one.start_s < scene.end_s:
                assert scene.label_at(one.start_s) == (None if one.omitted else one.name)


@pytest.mark.parametrize("name", [IMAGES, SWEEP])
def test_each_refresh_shows_what_is_due_then(
    name: str, display: VirtualDisplay, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the refreshes that went by, so at the real pace; photographed after every flip."""
    monkeypatch.setattr(preview, "KINDS", 1)
    parameters = stage(name, **STAGES[name])
    pictures = pictures_of(parameters, simulated=True)
    width_px, height_px = 240, 150
    flips: list[Flip] = []
    photographs: list[AnyArray] = []

    def photograph(_screen: PsychopyScreen, flip: Flip) -> None:
        flips.append(flip)
        photographs.append(display.window(width_px, height_px)[..., 0])

    watch(photograph)
    (scene,) = play(parameters, config=small_rig(), pictures=pictures, warp=True)
    refreshes = np.array([flip.refresh for flip in flips])
    assert refreshes[-1] - refreshes[0] + 1 >= round((GRAY_S + scene.end_s - scene.start_s) * 60)
    assert flips[-1].host_s - flips[0].host_s > 0.98 * (refreshes[-1] - refreshes[0]) / 60
    frames = Frames(geometry=small_rig().screen.geometry.geometry(), pictures=pictures.source)
    shown = stimuli_of(parameters, image_names=pictures.image_names, refresh_hz=60.0, movie_name=pictures.movie_name)
    due = {label(stimulus): frames.at_onset(stimulus) for stimulus in shown}
    gray = due["gray"]
    is_still = {label(stimulus): isinstance(stimulus, Still) for stimulus in shown}
    seen: set[str] = set()
    # A flip that came late showed what was due at the refresh it had been meant for, the one after the flip before.
    meant = np.concatenate([[refreshes[0]], refreshes[:-1] + 1])
    for refresh, photographed in zip(meant, photographs, strict=True):
        time_s = scene.start_s - GRAY_S + (refresh - refreshes[0] + 0.5) / 60
        on = scene.label_at(time_s) if time_s > scene.start_s else None
        if on is None:
            assert (photographed == gray).all()
        elif is_still[on]:
            assert (photographed == due[on]).all()
        else:
            assert (photographed != gray).any()
        seen.add(on or "gray")
    assert seen > {"gray"}


def test_the_command_plays_until_escape_and_writes_nothing(
    display: VirtualDisplay, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(small_rig().model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    flips: list[int] = []

    def press(screen: PsychopyScreen, flip: Flip) -> None:
        from pyglet.window import key

        flips.append(flip.flip)
        if flip.flip == 60:
            screen._window.winHandle.dispatch_event("on_key_press", key.ESCAPE, 0)

    watch(press)
    result = CliRunner().invoke(app, ["preview", GRATINGS, "--rig", str(file), "--window"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("hit, ")
    assert len(result.output.splitlines()) == 1
    assert 60 < len(flips) < 65
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_window_and_a_folder_are_not_asked_for_together(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["preview", GRATINGS, "--window", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "with --window nothing is written" in result.stderr


def test_without_a_display_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(
        [sys.executable, "-m", "rig", "preview", GRATINGS, "--window"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("screen: there is no display to open a window on (DISPLAY is not set). ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("rig", ["simulated", "example_nidaq", "twin"])
@pytest.mark.parametrize("desktop_px", [(1366, 768), (1080, 1920), (3840, 2160)])
def test_the_window_fits_the_desktop_and_keeps_the_geometry(rig: str, desktop_px: tuple[int, int]) -> None:
    config = rig_config(rig)
    window = on_desktop(config, desktop_px)
    published, fitted = config.screen.geometry, window.geometry
    assert (fitted.width_cm, fitted.height_cm, fitted.distance_cm) == (52.0, 32.5, 15.0)
    assert fitted.width_px / fitted.height_px == pytest.approx(published.width_px / published.height_px, rel=0.01)
    assert fitted.width_px <= min(published.width_px, 0.8 * desktop_px[0])
    assert fitted.height_px <= min(published.height_px, 0.8 * desktop_px[1])
    assert (window.full_screen, window.paced_by, window.screen_number) == (False, "clock", 0)
    assert (window.upside_down, window.mirrored, window.calibration, window.patch) == (False, False, None, None)
