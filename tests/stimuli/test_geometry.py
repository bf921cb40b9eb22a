"""Where the screen shows what of the unwarped plane: degrees, the warp, and the laboratory's own warped picture."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.arrays import GreyFrame
from stimuli.frames import CANVAS_SHAPE, GRAY, PICTURE_SHAPE
from stimuli.geometry import Geometry
from stimuli.pictures.importing import read_pictures
from stimuli.pictures.preparing import visible
from tests.builders import recorded

SMALL = Geometry(width_px=192, height_px=120)


def on_canvas(picture: GreyFrame) -> GreyFrame:
    canvas = np.full(CANVAS_SHAPE, GRAY, np.uint8)
    top, left = ((CANVAS_SHAPE[i] - PICTURE_SHAPE[i]) // 2 for i in (0, 1))
    canvas[top : top + PICTURE_SHAPE[0], left : left + PICTURE_SHAPE[1]] = picture
    return canvas


def test_the_real_picture_warps_to_the_laboratorys_own_warped_one() -> None:
    picture = read_pictures(recorded("allen/test_image_set.pkl"))["im065"]
    with recorded("allen/im065_warped.pkl").open("rb") as file:
        theirs = pickle.load(file, encoding="latin1")
    assert theirs.shape == CANVAS_SHAPE
    difference = np.abs(Geometry().warp(on_canvas(picture)).astype(float) - theirs)
    print(f"mean absolute difference {difference.mean():.3f} grey levels")
    assert difference.mean() <= 1.0


def test_the_real_pictures_margin_is_what_the_warp_leaves_out() -> None:
    picture = read_pictures(recorded("allen/test_image_set.pkl"))["im065"]
    assert (picture[~visible()] == GRAY).mean() > 0.97
    assert ((picture != GRAY) == visible()).mean() > 0.99


def test_a_degree_of_the_unwarped_plane_is_the_same_everywhere() -> None:
    geometry = Geometry()
    assert np.diff(geometry.x_deg) == pytest.approx(1 / geometry.px_per_deg[0])
    assert np.diff(geometry.y_deg) == pytest.approx(-1 / geometry.px_per_deg[1])
    assert geometry.x_deg[-1] - geometry.x_deg[0] == pytest.approx(math.degrees(52 / 15) * 1919 / 1920)
    assert geometry.y_deg[0] > 0 > geometry.y_deg[-1], "up is positive"


@given(row=st.integers(0, 119), column=st.integers(0, 191))
def test_a_pixel_shows_what_lies_its_angle_out_on_its_ray(row: int, column: int) -> None:
    warp = SMALL.warp
    x_cm = ((column + 0.5) / 192 - 0.5) * SMALL.width_cm
    y_cm = ((row + 0.5) / 120 - 0.5) * SMALL.height_cm
    shown_x_cm = ((warp.column[row, column] + 0.5) / 192 - 0.5) * SMALL.width_cm
    shown_y_cm = ((warp.row[row, column] + 0.5) / 120 - 0.5) * SMALL.height_cm
    angle = math.atan(math.hypot(x_cm, y_cm) / SMALL.distance_cm)
    assert math.hypot(shown_x_cm, shown_y_cm) == pytest.approx(angle * SMALL.distance_cm)
    assert math.atan2(shown_y_cm, shown_x_cm) == pytest.approx(math.atan2(y_cm, x_cm))


@given(grey=st.integers(0, 255))
def test_the_warp_leaves_a_uniform_screen_as_it_is(grey: int) -> None:
    assert (SMALL.warp(np.full(SMALL.shape, grey, np.uint8)) == grey).all()


def test_a_part_of_the_screen_is_warped_as_the_whole_is() -> None:
    frame = np.random.default_rng(0).integers(0, 256, SMALL.shape).astype(np.uint8)
    rows, columns = slice(10, 50), slice(100, 192)
    assert (SMALL.warp(frame, rows=rows, columns=columns) == SMALL.warp(frame)[rows, columns]).all()


def test_what_is_not_seen_has_no_part_in_what_is_shown() -> None:
    frame = np.random.default_rng(0).integers(0, 256, SMALL.shape).astype(np.uint8)
    changed = np.where(SMALL.warp.seen(), frame, 255 - frame).astype(np.uint8)
    assert (changed != frame).mean() > 0.2
    assert (SMALL.warp(changed) == SMALL.warp(frame)).all()


@pytest.mark.parametrize("field", ["width_px", "height_px", "width_cm", "height_cm", "distance_cm"])
def test_a_size_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Geometry(**{field: 0})
