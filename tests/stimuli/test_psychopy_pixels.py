"""What a window shows, pixel for pixel: real windows of PsychoPy's on a virtual display, photographed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from rig.config.files import shipped
from stimuli.frames import GRAY, Moving, Still
from stimuli.geometry import Geometry
from stimuli.patch import Corner, Patch, bright, splash
from stimuli.spec import Gabor, Grating, Gray, NaturalImage, NaturalMovie, Stimulus, label
from stimuli.window import WindowSettings
from tests.display import VirtualDisplay
from tests.windows import FULL, SMALL, frames, opened, pictures, stimuli

GRATINGS = [
    Grating(group="vertical" if orientation in (0, 180) else "horizontal", orientation_deg=orientation)
    for orientation in (0.0, 90.0, 180.0, 270.0)
]
IMAGES = [stimulus for stimulus in stimuli("OPHYS_1_images_A") if isinstance(stimulus, NaturalImage)]
N_MOVIE_FRAMES = 12
LONG_S = 30.0
"""No test waits this long unless it fails."""
PATCH = Patch(corner=Corner.LOWER_RIGHT, size_px=24)


@pytest.fixture(scope="module")
def moving_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("moving")


def short(stage: str) -> list[Stimulus]:
    """A stage's stimuli; of its movie the first frames only, and of a sweep's patches every ninth."""
    shown = stimuli(stage)
    patches = [s for s in shown if isinstance(s, Gabor)]
    return [
        NaturalMovie(name=s.name, n_frames=N_MOVIE_FRAMES, n_repeats=1, refreshes_per_frame=s.refreshes_per_frame)
        if isinstance(s, NaturalMovie)
        else s
        for s in shown
        if not isinstance(s, Gabor)
    ] + patches[::9]


@pytest.mark.parametrize("name", list(shipped("stages")))
def test_every_stimulus_of_every_stage_is_on_the_screen_as_its_frame(
    name: str, display: VirtualDisplay, moving_dir: Path
) -> None:
    drawn, shown = frames(SMALL, name), short(name)
    with opened(display, drawn, shown, folder=moving_dir) as window:
        for index, stimulus in enumerate(shown):
            if isinstance(stimulus, Still):
                assert (window.show(index) == drawn.still(stimulus)[..., np.newaxis]).all(), label(stimulus)
                continue
            moving = drawn.moving(stimulus, refresh_hz=60.0, folder=moving_dir)
            onset = window.flip(index).refresh
            for _ in range(6):
                refresh = window.screen._tracker.refresh + 1
                photograph = window.show(index)
                wanted = moving.whole(refresh - onset, geometry=SMALL)
                assert (photograph == wanted[..., np.newaxis]).all(), label(stimulus)


def test_the_published_screen_is_shown_pixel_for_pixel(display: VirtualDisplay, tmp_path: Path) -> None:
    drawn = frames(FULL)
    shown: list[Still] = [Gray(), *GRATINGS, *IMAGES]
    with opened(display, drawn, shown, folder=tmp_path) as window:
        for index, stimulus in enumerate(shown):
            assert (window.show(index) == drawn.still(stimulus)[..., np.newaxis]).all(), label(stimulus)


def test_gray_is_127(display: VirtualDisplay, tmp_path: Path) -> None:
    with opened(display, frames(SMALL), [Gray()], folder=tmp_path) as window:
        assert (window.show(0) == GRAY).all()


def test_the_mouse_pointer_does_not_lie_upon_the_stimulus(display: VirtualDisplay, tmp_path: Path) -> None:
    """It rests in the display's middle, and shows as soon as any window has asked for one."""
    with opened(display, frames(SMALL), [Gray()], folder=tmp_path) as window:
        window.screen._window.winHandle.set_mouse_visible(True)
        window.flip(0)
        seen_by_s = time.monotonic() + LONG_S
        while not (window.show(0) != GRAY).any():  # the server draws it when it comes to it
            assert time.monotonic() < seen_by_s
    with opened(display, frames(SMALL), [Gray()], folder=tmp_path) as window:
        window.flip(0)
        assert (window.show(0) == GRAY).all()


@pytest.mark.parametrize("grating", GRATINGS, ids=label)
def test_a_grating_has_its_frequency_orientation_and_phase_before_the_warp(
    grating: Grating, display: VirtualDisplay, tmp_path: Path
) -> None:
    """By the Fourier transform of what is on the screen: 0.04 cycles a degree, phase 0.25, 200 x 150 degrees."""
    with opened(display, frames(SMALL, warp=False), [Gray(), grating], folder=tmp_path) as window:
        photograph = window.show(1)[..., 0].astype(float) - GRAY
    varies_along_x = grating.orientation_deg in (0, 180)
    lines = photograph if varies_along_x else photograph.T
    assert np.ptp(lines, axis=0).max() == 0  # the same in every row, or in every column
    line = lines[0]
    place_deg = SMALL.x_deg if varies_along_x else SMALL.y_deg
    inside = np.abs(place_deg) < (100 if varies_along_x else 75)
    assert (line[~inside] == 0).all()
    spacing_deg = abs(place_deg[1] - place_deg[0])
    n_cycles_deg = 25.0 * int(np.ptp(place_deg[inside]) // 25)  # whole cycles, so that nothing leaks
    whole = np.abs(place_deg) <= n_cycles_deg / 2
    cpd = np.arange(0.02, 0.2, 0.0005)
    power = [abs(np.exp(-2j * np.pi * f * place_deg[whole]) @ line[whole]) for f in cpd]
    assert cpd[int(np.argmax(power))] == pytest.approx(0.04, abs=0.002)
    along_deg = place_deg * (-1 if grating.orientation_deg in (90, 180) else 1)  # turned clockwise, up is positive
    wave = np.exp(-2j * np.pi * 0.04 * along_deg[whole]) @ line[whole]
    phase_cycles = np.angle(wave) / (2 * np.pi)
    # PsychoPy's grating is darkest in the middle at phase 0, so at 0.25 the middle is an edge, from black to white.
    assert phase_cycles == pytest.approx(-0.25, abs=0.01 + 0.04 * spacing_deg)


@pytest.mark.parametrize("grating", GRATINGS, ids=label)
def test_a_grating_is_the_one_that_psychopy_draws(grating: Grating, display: VirtualDisplay, tmp_path: Path) -> None:
    """PsychoPy's own GratingStim as the oracle; pixels that an edge goes through may differ."""
    from psychopy import visual

    drawn = frames(SMALL, warp=False)
    x_px_per_deg, y_px_per_deg = SMALL.px_per_deg
    assert x_px_per_deg == pytest.approx(y_px_per_deg)
    with opened(display, drawn, [Gray()], folder=tmp_path) as window:
        stim = visual.GratingStim(
            window.screen._window,
            tex="sqr",
            units="pix",
            size=(200 * x_px_per_deg, 150 * y_px_per_deg)
            if grating.orientation_deg in (0, 180)
            else (150 * x_px_per_deg, 200 * y_px_per_deg),
            sf=grating.spatial_frequency_cpd / x_px_per_deg,
            phase=grating.phase_cycles,
            ori=grating.orientation_deg,
            autoLog=False,
        )
        stim.draw()
        window.screen._window.flip()
        photograph = window.photograph()[..., 0].astype(int)
    difference = np.abs(photograph - drawn.still(grating))
    assert (difference > 1).mean() < 0.02


def test_the_warp_is_on_the_screen(display: VirtualDisplay, tmp_path: Path) -> None:
    """Straight stripes bend outwards from the middle row to the edges, and the middle row's narrow towards its ends."""
    vertical = GRATINGS[0]
    with opened(display, frames(SMALL), [Gray(), vertical], folder=tmp_path) as window:
        warped = window.show(1)[..., 0]
    with opened(display, frames(SMALL, warp=False), [Gray(), vertical], folder=tmp_path) as window:
        flat = window.show(1)[..., 0]
    assert (warped != flat).any()
    assert np.ptp(warped.astype(int), axis=0).max() > 100
    assert (warped == SMALL.warp(flat)).all()


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_monitor_that_hangs_otherwise_is_made_up_for_but_the_patch_stays_in_its_corner(
    upside_down: bool, mirrored: bool, display: VirtualDisplay, tmp_path: Path
) -> None:
    settings = WindowSettings(upside_down=upside_down, mirrored=mirrored, patch=PATCH)
    drawn = frames(SMALL)
    wanted = drawn.still(IMAGES[0])[:: -1 if upside_down else 1, :: -1 if upside_down != mirrored else 1].copy()
    patch = Gabor(
        azimuth_deg=20.0,
        altitude_deg=20.0,
        orientation_deg=45.0,
        spatial_frequency_cpd=0.08,
        temporal_frequency_hz=4.0,
        diameter_deg=20.0,
        contrast=0.8,
    )
    moving = drawn.moving(patch, refresh_hz=60.0, folder=tmp_path).whole(0, geometry=SMALL)
    moving = moving[:: -1 if upside_down else 1, :: -1 if upside_down != mirrored else 1].copy()
    wanted[-24:, -24:] = moving[-24:, -24:] = 255
    with opened(display, drawn, [Gray(), IMAGES[0], patch], folder=tmp_path, settings=settings) as window:
        assert (window.show(1) == wanted[..., np.newaxis]).all()
        assert (window.show(2) == moving[..., np.newaxis]).all()


def test_gamma_is_undone_by_a_table_for_each_colour(display: VirtualDisplay, tmp_path: Path) -> None:
    gamma = (2.244, 2.205, 2.093)  # the published rig's (TASK_FACTS 9)
    settings = WindowSettings(gamma=gamma, patch=PATCH)
    drawn = frames(SMALL)
    frame = drawn.still(IMAGES[0])
    with opened(display, drawn, [Gray(), IMAGES[0]], folder=tmp_path, settings=settings) as window:
        photograph = window.show(1)
    assert (photograph[-24:, -24:] == 255).all()
    for colour, exponent in enumerate(gamma):
        linear = 255 * (photograph[:-24, :, colour] / 255) ** exponent
        assert np.abs(linear - frame[:-24]).max() < 1.2  # what 256 levels leave


def test_the_patch_alternates_every_60_flips_after_a_splash(display: VirtualDisplay, tmp_path: Path) -> None:
    settings = WindowSettings(patch=PATCH)
    photographs: list[int] = []

    def level() -> int:
        corner = window.photograph()[-24:, -24:]
        assert np.ptp(corner) == 0
        return int(corner[0, 0, 0])

    with opened(display, frames(SMALL), [Gray(), IMAGES[0]], folder=tmp_path, settings=settings) as window:
        screen = window.screen
        show, splashed = screen._show, []

        def watched(index: int, frame: int, *, patch: bool | None) -> float:
            host_s = show(index, frame, patch=patch)
            splashed.append(level())
            return host_s

        screen._show = watched  # type: ignore[method-assign]
        for _ in range(182):
            window.flip(1)
            photographs.append(level())
        assert photographs == [255 if flip // 60 % 2 == 0 else 0 for flip in range(182)]
        assert splashed[:30] == ([255] * 5 + [0] * 5) * 3
        splashed.clear()
        screen.close()
        assert len(splashed) == 30


def test_the_patch_follows_its_rule() -> None:
    assert [flip for flip in range(1, 400) if bright(flip) != bright(flip - 1)] == [60, 120, 180, 240, 300, 360]
    assert bright(0)
    assert not splash()[-1]  # so that flip 0 is an edge


@pytest.mark.parametrize(
    ("corner", "box"),
    [
        (Corner.UPPER_LEFT, (0, 0, 100, 100)),
        (Corner.UPPER_RIGHT, (1820, 0, 1920, 100)),
        (Corner.LOWER_LEFT, (0, 1100, 100, 1200)),
        (Corner.LOWER_RIGHT, (1820, 1100, 1920, 1200)),
    ],
)
def test_the_patch_is_a_square_in_its_corner(corner: Corner, box: tuple[int, int, int, int]) -> None:
    assert Patch(corner=corner, size_px=100).box(width_px=1920, height_px=1200) == box


def test_a_movie_that_misses_refreshes_goes_on_where_it_should_be(display: VirtualDisplay, tmp_path: Path) -> None:
    """What is logged of a movie is the frame that was drawn, also on a late flip."""
    geometry = Geometry(width_px=96, height_px=60)
    drawn = frames(geometry)
    movie = NaturalMovie(
        name=str(pictures("OPHYS_1_images_A").movie_name), n_frames=N_MOVIE_FRAMES, n_repeats=9, refreshes_per_frame=2
    )
    moving = drawn.moving(movie, refresh_hz=60.0, folder=tmp_path)
    n_late = 0
    with opened(display, drawn, [Gray(), movie], folder=tmp_path) as window:
        window.flip(0)
        for i in range(60):
            if i % 20 == 10:
                window.screen._tracker.refresh += 3  # as after three refreshes without a flip
            photograph = window.show(1)
            (_, _, frame), n = window.screen._untaken[-1], len(window.screen._untaken)
            assert n == i + 2
            assert (photograph == moving.frames[frame][..., np.newaxis]).all()
        rows = window.screen.take()
        n_late = int((rows.n_missed > 0).sum())
    assert rows.movie_frame[0] == -1
    assert rows.movie_frame[1] == 0
    assert n_late >= 3
    assert set(rows.movie_frame[1:].tolist()) <= set(range(N_MOVIE_FRAMES))


def test_a_stimulus_type_is_either_still_or_moving() -> None:
    assert not isinstance(Gray(), Moving)
    assert isinstance(IMAGES[0], Still)
