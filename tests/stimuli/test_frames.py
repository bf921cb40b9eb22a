"""What the screen shows for a stimulus, measured in the frames themselves."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.arrays import GreyFrame, GreyFrames
from rig.config.files import load_stage, shipped
from stages.task import stimuli_of
from stimuli.frames import CANVAS_SHAPE, GRAY, PICTURE_SHAPE, Frames, resized
from stimuli.geometry import Geometry
from stimuli.spec import Gabor, Grating, Gray, NaturalImage, NaturalMovie, StimulusError
from tests.builders import SWEEP

SMALL = Geometry(width_px=480, height_px=300)
TINY = Geometry(width_px=96, height_px=60)
IMAGE = NaturalImage(image_set="A", name="ramp")
MOVIE = NaturalMovie(name="steps", n_frames=4, n_repeats=2, refreshes_per_frame=2)
PATCH = Gabor(
    azimuth_deg=20.0,
    altitude_deg=-10.0,
    orientation_deg=0.0,
    spatial_frequency_cpd=0.08,
    temporal_frequency_hz=4.0,
    diameter_deg=20.0,
    contrast=0.8,
)


class Drawn:
    """Pictures that are easy to tell: a ramp from left to right, a movie of uniform frames."""

    def __init__(self) -> None:
        self.n_asked = 0

    def picture(self, name: str) -> GreyFrame:
        shape = (10, 10) if name == "small" else PICTURE_SHAPE
        return np.broadcast_to(np.linspace(0, 255, shape[1]).astype(np.uint8), shape)

    def movie(self, name: str, *, n_frames: int) -> GreyFrames:
        self.n_asked += 1
        return np.stack([np.full((3, 4), 10 * (i + 1), np.uint8) for i in range(min(n_frames, 5))])

    def movie_hash(self, name: str) -> str:
        return name


def grating(orientation_deg: float, **changes: float) -> Grating:
    return Grating(group="any", orientation_deg=orientation_deg, **changes)


def gratings_of_all_stages() -> list[Grating]:
    stages = [load_stage(name) for name in shipped("stages")]
    stimuli = {s for stage in stages for s in stimuli_of(stage, image_names=[], refresh_hz=60)}
    return sorted((s for s in stimuli if isinstance(s, Grating)), key=lambda s: s.orientation_deg)


def test_gray_is_127_before_and_after_the_warp() -> None:
    for warp in (True, False):
        frame = Frames(geometry=SMALL, warp=warp).still(Gray())
        assert frame.dtype == np.uint8
        assert frame.shape == SMALL.shape
        assert (frame == 127).all()


@pytest.mark.parametrize("stimulus", gratings_of_all_stages(), ids=lambda s: f"{s.orientation_deg:g} deg")
def test_each_stages_grating_has_its_frequency_orientation_and_phase(stimulus: Grating) -> None:
    """Fourier transform at the published frequency, over whole cycles about the middle."""
    geometry = Geometry()
    frame = Frames(geometry=geometry).unwarped(stimulus).astype(float) - 127.5
    period_px = np.array(geometry.px_per_deg) / stimulus.spatial_frequency_cpd
    height, width = (int(n_cycles * period) for n_cycles, period in zip((4, 6), period_px[::-1], strict=True))
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    part = frame[top : top + height, left : left + width]
    x_deg, y_deg = geometry.x_deg[left : left + width], geometry.y_deg[top : top + height]

    def at(x_cpd: float, y_cpd: float) -> complex:
        wave = np.exp(-2j * np.pi * (x_cpd * x_deg[np.newaxis, :] + y_cpd * y_deg[:, np.newaxis]))
        return complex((part * wave).mean())

    angle = math.radians(stimulus.orientation_deg)
    x_cpd, y_cpd = 0.04 * math.cos(angle), -0.04 * math.sin(angle)  # clockwise, y up
    found = at(x_cpd, y_cpd)
    assert abs(found) == pytest.approx(127.5 * 2 / math.pi, rel=0.02), "the first harmonic of a square wave"
    assert -np.angle(found) / (2 * math.pi) == pytest.approx(0.25, abs=0.005), "phase in cycles"
    assert abs(at(3 * x_cpd, 3 * y_cpd)) == pytest.approx(127.5 * 2 / (3 * math.pi), rel=0.05)
    for other in ((-y_cpd, x_cpd), (0.5 * x_cpd, 0.5 * y_cpd), (1.5 * x_cpd, 1.5 * y_cpd), (2 * x_cpd, 2 * y_cpd)):
        assert abs(at(*other)) < 0.02 * abs(found)
    assert set(np.unique(frame + 127.5)) == {0, 255}
    assert abs(frame.mean()) < 10


@given(
    orientation_deg=st.floats(0, 360),
    frequency_cpd=st.floats(0.02, 0.1),
    phase=st.floats(0, 0.999),
)
def test_any_grating_peaks_at_its_frequency_orientation_and_phase(
    orientation_deg: float, frequency_cpd: float, phase: float
) -> None:
    stimulus = grating(orientation_deg, spatial_frequency_cpd=frequency_cpd, phase_cycles=phase)
    frame = Frames(geometry=SMALL).unwarped(stimulus).astype(float) - 127.5
    taper = np.hanning(SMALL.height_px)[:, np.newaxis] * np.hanning(SMALL.width_px)
    angle = math.radians(orientation_deg)
    along = SMALL.x_deg[np.newaxis, :] * math.cos(angle) - SMALL.y_deg[:, np.newaxis] * math.sin(angle)
    found = (frame * taper * np.exp(-2j * np.pi * frequency_cpd * along)).sum() / taper.sum()
    assert abs(found) == pytest.approx(127.5 * 2 / math.pi, rel=0.05)
    off = (-np.angle(found) / (2 * math.pi) - phase + 0.5) % 1 - 0.5
    assert abs(off) < 0.02


@pytest.mark.parametrize(
    ("orientation_deg", "white_side"),
    [(0, (0, 1)), (90, (1, 0)), (180, (0, -1)), (270, (-1, 0))],
    ids=["right", "below", "left", "above"],
)
@pytest.mark.parametrize("warp", [True, False], ids=["warped", "unwarped"])
def test_beside_the_middle_the_white_bar_lies(
    orientation_deg: int,
    white_side: tuple[int, int],
    warp: bool,
) -> None:
    frame = Frames(geometry=SMALL, warp=warp).still(grating(orientation_deg))
    down, right = white_side
    row, column = SMALL.height_px // 2, SMALL.width_px // 2
    assert frame[row + 5 * down, column + 5 * right] == 255
    assert frame[row - 5 * down, column - 5 * right] == 0


def test_gratings_fill_the_screen_and_turn_to_gray_beyond_their_size() -> None:
    assert set(np.unique(Frames(geometry=Geometry()).unwarped(grating(0)))) == {0, 255}
    wide = Geometry(width_px=300, height_px=200, width_cm=120, height_cm=80, distance_cm=15)
    frame = Frames(geometry=wide).unwarped(grating(0))
    is_gray = (np.abs(wide.x_deg) > 100)[np.newaxis, :] | (np.abs(wide.y_deg) > 75)[:, np.newaxis]
    assert ((frame == GRAY) == is_gray).all()


def test_contrast_scales_a_grating_about_gray() -> None:
    assert set(np.unique(Frames(geometry=SMALL).unwarped(grating(0, contrast=0.5)))) == {63, 191}


def test_a_picture_stands_pixel_by_pixel_in_the_middle_of_gray() -> None:
    frame = Frames(geometry=Geometry(), pictures=Drawn(), warp=False).still(IMAGE)
    top, left = 141, 373
    inside = frame[top : top + 918, left : left + 1174]
    assert (inside == Drawn().picture("ramp")).all()
    outside = frame.copy()
    outside[top : top + 918, left : left + 1174] = GRAY
    assert (outside == GRAY).all()


def test_a_picture_covers_the_whole_screen_once_warped() -> None:
    class Black(Drawn):
        def picture(self, name: str) -> GreyFrame:
            return np.zeros(PICTURE_SHAPE, np.uint8)

    frame = Frames(geometry=Geometry(), pictures=Black()).still(IMAGE)
    assert (frame == 0).mean() > 0.999  # a rim of half a pixel blends with the gray beside the picture
    assert (frame[1:-1, 2:-2] == 0).all()


def test_a_small_window_shows_the_same_in_fewer_pixels() -> None:
    large = Frames(geometry=Geometry(), pictures=Drawn(), warp=False)
    small = Frames(geometry=SMALL, pictures=Drawn(), warp=False)
    assert np.abs(resized(large.still(IMAGE), SMALL.shape).astype(int) - small.still(IMAGE)).max() <= 1
    large_bars, small_bars = (frames.still(grating(0)) > GRAY for frames in (large, small))
    assert (large_bars[2::4, 2::4] == small_bars).mean() > 0.98


def test_a_moving_patch_is_kept_as_its_bounding_box_and_shown_in_its_place(tmp_path: Path) -> None:
    for warp in (True, False):
        frames = Frames(geometry=SMALL, warp=warp)
        moving = frames.moving(PATCH, refresh_hz=60, folder=tmp_path)
        assert len(moving.frames) == 15, "4 Hz at 60 Hz: a cycle is 15 refreshes"
        assert moving.frames.size < 15 * 300 * 480 / 20
        assert (moving.whole(0, geometry=SMALL) == frames.at_onset(PATCH)).all()
        assert (moving.whole(15, geometry=SMALL) == moving.whole(0, geometry=SMALL)).all()
        assert (moving.whole(7, geometry=SMALL) != moving.whole(0, geometry=SMALL)).any()


def test_a_patch_has_its_place_size_and_contrast() -> None:
    frame = Frames(geometry=Geometry(), warp=False).at_onset(PATCH)
    rows, columns = np.nonzero(frame != GRAY)
    x_deg, y_deg = Geometry().x_deg[columns], Geometry().y_deg[rows]
    assert (x_deg.min() + x_deg.max()) / 2 == pytest.approx(20, abs=0.2)
    assert (y_deg.min() + y_deg.max()) / 2 == pytest.approx(-10, abs=0.2)
    assert np.hypot(x_deg - 20, y_deg + 10).max() == pytest.approx(10, abs=0.2)
    assert frame.max() == pytest.approx(127.5 * 1.8, abs=1.5)
    assert frame.min() == pytest.approx(127.5 * 0.2, abs=1.5)


@pytest.mark.parametrize(
    ("orientation_deg", "drifts"), [(0, (0, 1)), (90, (1, 0))], ids=["right at 0 degrees", "down at 90"]
)
def test_a_drift_goes(orientation_deg: float, drifts: tuple[int, int], tmp_path: Path) -> None:
    patch = msgspec.structs.replace(PATCH, azimuth_deg=0.0, altitude_deg=0.0, orientation_deg=orientation_deg)
    geometry = Geometry()
    frames = Frames(geometry=geometry, warp=False).moving(patch, refresh_hz=60, folder=tmp_path)
    first, later = (frames.whole(i, geometry=geometry)[600 - 40 : 600 + 40, 960 - 40 : 960 + 40] for i in (0, 1))
    step_px = round(geometry.px_per_deg[0] / 0.08 / 15)
    shift = {(down, right): int(np.abs(np.roll(first, (down, right), (0, 1))[10:-10, 10:-10].astype(int)
             - later[10:-10, 10:-10]).sum()) for down, right in
             ((0, step_px), (0, -step_px), (step_px, 0), (-step_px, 0))}  # fmt: skip
    assert min(shift, key=lambda way: shift[way]) == (drifts[0] * step_px, drifts[1] * step_px)


def test_every_patch_of_the_sweep_is_seen_on_the_published_screen() -> None:
    frames = Frames(geometry=Geometry(width_px=240, height_px=150))
    for stimulus in stimuli_of(load_stage(SWEEP), image_names=[], refresh_hz=60):
        if isinstance(stimulus, Gabor):
            assert (frames.at_onset(stimulus) != GRAY).any(), stimulus


def test_a_movie_is_rendered_once_into_a_file(tmp_path: Path) -> None:
    drawn = Drawn()
    frames = Frames(geometry=TINY, pictures=drawn)
    moving = frames.moving(MOVIE, refresh_hz=60, folder=tmp_path)
    assert isinstance(moving.frames, np.memmap)
    assert moving.frames.shape == (4, *TINY.shape)
    assert [int(moving.frames[i, 30, 48]) for i in range(4)] == [10, 20, 30, 40]
    assert [moving.index(i) for i in range(10)] == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]
    assert not moving.frames.flags.writeable
    again = frames.moving(MOVIE, refresh_hz=60, folder=tmp_path)
    assert again.path == moving.path
    assert drawn.n_asked == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_another_screen_or_warp_has_another_file(tmp_path: Path) -> None:
    ways = [
        Frames(geometry=TINY, pictures=Drawn()),
        Frames(geometry=TINY, pictures=Drawn(), warp=False),
        Frames(geometry=Geometry(width_px=96, height_px=60, distance_cm=20), pictures=Drawn()),
    ]
    assert len({frames.moving(MOVIE, refresh_hz=60, folder=tmp_path).path for frames in ways}) == 3


def test_rendering_that_fails_leaves_no_file(tmp_path: Path) -> None:
    long = msgspec.structs.replace(MOVIE, n_frames=9)
    with pytest.raises(StimulusError, match="movie steps has 5 frames where the stage asks for 9"):
        Frames(geometry=TINY, pictures=Drawn()).moving(long, refresh_hz=60, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_no_file(tmp_path: Path) -> None:
    """As a full one does, a limit of the system's lets a file begin and refuses its rest."""
    resource = pytest.importorskip("resource", reason="Windows has no limit on a file's size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StimulusError, match=r"GB of frames can't be kept there \(File too large\); make room"):
            Frames(geometry=TINY, pictures=Drawn()).moving(MOVIE, refresh_hz=60, folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


REFUSED = [
    (NaturalImage(image_set="A", name="small"), "picture small is 10 x 10 px and must be 1174 x 918"),
    (msgspec.structs.replace(PATCH, azimuth_deg=170.0), "lies beside the screen"),
    (msgspec.structs.replace(PATCH, temporal_frequency_hz=math.pi), "repeats only after"),
]


@pytest.mark.parametrize(("stimulus", "sentence"), REFUSED, ids=["wrong size", "off the screen", "endless"])
def test_what_cannot_be_shown_is_refused(stimulus: NaturalImage | Gabor, sentence: str, tmp_path: Path) -> None:
    frames = Frames(geometry=TINY, pictures=Drawn())
    show = (
        frames.still if isinstance(stimulus, NaturalImage) else partial(frames.moving, refresh_hz=60, folder=tmp_path)
    )
    with pytest.raises(StimulusError, match=sentence):
        show(stimulus)


def test_a_picture_without_a_source_is_refused() -> None:
    with pytest.raises(StimulusError, match="no image set was given"):
        Frames(geometry=TINY).still(IMAGE)


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), grey=st.integers(0, 255))
def test_resizing_keeps_a_uniform_image(rows: int, columns: int, grey: int) -> None:
    assert (resized(np.full((12, 17), grey, np.uint8), (rows, columns)) == grey).all()


def test_shrinking_keeps_the_mean() -> None:
    image = np.random.default_rng(0).integers(0, 256, CANVAS_SHAPE).astype(np.uint8)
    assert resized(image, (300, 480)).mean() == pytest.approx(image.mean(), abs=0.05)
