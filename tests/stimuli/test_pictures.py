"""Image sets: what ships, what is refused, how photographs are prepared."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hardware.arrays import GreyFrame
from rig.config.files import load_image_set, shipped
from stimuli.frames import CANVAS_SHAPE, GRAY, PICTURE_SHAPE
from stimuli.geometry import Geometry
from stimuli.pictures import Pictures
from stimuli.pictures.movies import ImportedMovie, StandInMovie, write_movie
from stimuli.pictures.preparing import MEAN, SPREAD, cropped, figures, luminance_matched, visible, with_margin
from stimuli.pictures.sets import ImageSet, Prepared, as_drawn, sha256_of, write_set
from stimuli.pictures.stand_ins import CROPS, PHOTOGRAPHS, Crop, stand_in
from stimuli.spec import SourceKind, StimulusError

LETTERS = list(CROPS)
OPEN_LICENCES = {"public domain", "CC0-1.0", "CC-BY-2.0", "no known copyright restrictions"}


def noise(seed: int, shape: tuple[int, int] = PICTURE_SHAPE) -> GreyFrame:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_every_published_set_has_stand_ins() -> None:
    assert sorted(LETTERS) == sorted(shipped("image_sets"))


@pytest.mark.parametrize("letter", LETTERS)
def test_a_set_of_stand_ins_is_complete_and_named_as_what_it_is(letter: str) -> None:
    images = stand_in(letter)
    images.check_files()
    assert images.manifest.kind is SourceKind.STAND_IN
    assert images.names == [f"standin_{letter}{i}" for i in range(8)]
    assert [picture.stands_for for picture in images.manifest.pictures] == load_image_set(letter).names


@pytest.mark.parametrize("letter", LETTERS)
def test_stand_ins_are_matched_in_luminance_and_contrast_where_they_are_seen(letter: str) -> None:
    images = stand_in(letter)
    for entry in images.manifest.pictures:
        picture = images.picture(entry.name)
        assert picture.shape == PICTURE_SHAPE
        mean, rms_contrast = figures(picture)
        assert mean == pytest.approx(MEAN, abs=0.25)
        assert rms_contrast == pytest.approx(SPREAD / MEAN, rel=0.01)
        assert (mean, rms_contrast) == pytest.approx((entry.mean, entry.rms_contrast), abs=0.006)
        assert (picture[~visible()] == GRAY).all()


def test_no_two_stand_ins_are_alike() -> None:
    hashes = [picture.sha256 for letter in LETTERS for picture in stand_in(letter).manifest.pictures]
    assert len(set(hashes)) == 32


def test_stand_ins_come_from_ten_photographs_with_open_licences_that_are_named() -> None:
    used = {crop.photograph for crops in CROPS.values() for crop in crops}
    assert len(used) >= 10
    assert used <= set(PHOTOGRAPHS)
    for letter in LETTERS:
        for crop, picture in zip(CROPS[letter], stand_in(letter).manifest.pictures, strict=True):
            photograph = PHOTOGRAPHS[crop.photograph]
            assert picture.licence == photograph.licence
            assert picture.licence in OPEN_LICENCES
            assert photograph.by in picture.source
            assert photograph.package in picture.source


def overlap(one: Crop, other: Crop) -> float:
    """Share of the smaller that both have."""
    if one.photograph != other.photograph:
        return 0.0
    columns = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    rows = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    return max(columns, 0) * max(rows, 0) / min(one.width * one.height, other.width * other.height)


def test_crops_overlap_by_less_than_a_tenth_and_none_comes_twice_from_a_photograph_in_a_set() -> None:
    everything = [crop for crops in CROPS.values() for crop in crops]
    assert max(overlap(*pair) for pair in itertools.combinations(everything, 2)) < 0.1
    for crops in CROPS.values():
        assert len({crop.photograph for crop in crops}) == 8


def test_the_stand_in_movie_is_the_same_every_time_and_falls_off_as_one_over_f() -> None:
    movie = StandInMovie()
    frames = movie.frames(60)
    assert (frames[:5] == movie.frames(5)).all()
    assert frames.mean() == pytest.approx(127, abs=12)
    power = (np.abs(np.fft.fft2(frames[::15] - 127.0)) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(135)[:, np.newaxis], np.fft.fftfreq(240))
    between = (frequency > 0.02) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[between]), np.log(power[between]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.3), "power falls as 1/f², amplitude as 1/f"
    alike = [np.corrcoef(frames[0].ravel(), frames[i].ravel())[0, 1] for i in (1, 15, 59)]
    assert alike[0] > 0.85 > alike[1] > alike[2]


def test_the_warp_leaves_exactly_the_picture_and_fills_the_screen() -> None:
    top, left = ((CANVAS_SHAPE[i] - PICTURE_SHAPE[i]) // 2 for i in (0, 1))
    canvases = []
    for picture in (noise(1), with_margin(noise(1))):
        canvas = np.full(CANVAS_SHAPE, GRAY, np.uint8)
        canvas[top : top + PICTURE_SHAPE[0], left : left + PICTURE_SHAPE[1]] = picture
        canvases.append(Geometry().warp(canvas))
    assert (canvases[0] == canvases[1]).all()


@given(
    seed=st.integers(0, 1000),
    low=st.integers(0, 100),
    span=st.integers(10, 150),
    skew=st.floats(0.3, 3),
)
def test_any_photograph_with_contrast_is_matched(seed: int, low: int, span: int, skew: float) -> None:
    levels = np.random.default_rng(seed).random((60, 80)) ** skew
    picture = (low + span * levels).astype(np.uint8)
    where = np.random.default_rng(seed + 1).random((60, 80)) > 0.3
    matched = luminance_matched(picture, where=where, name="any")
    assert matched[where].mean() == pytest.approx(MEAN, abs=0.8)
    assert matched[where].std() == pytest.approx(SPREAD, abs=1.0)
    order = np.argsort(picture.ravel(), kind="stable")
    assert (np.diff(matched.ravel()[order].astype(int)) >= 0).all(), "brighter stays brighter"


@pytest.mark.parametrize("black_share", [1.0, 0.999])
def test_a_photograph_of_one_grey_level_is_refused(black_share: float) -> None:
    picture = np.zeros((100, 100), np.uint8)
    picture.flat[: round((1 - black_share) * picture.size)] = 255
    with pytest.raises(StimulusError, match="take another"):
        luminance_matched(picture, where=np.ones((100, 100), bool), name="black")


@pytest.mark.parametrize("shape", [(512, 512), (300, 900), (900, 300), (459, 587)])
def test_a_photograph_of_any_shape_is_cropped_to_a_pictures(shape: tuple[int, int]) -> None:
    assert cropped(noise(2, shape)).shape == PICTURE_SHAPE


@pytest.fixture(scope="module")
def own_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [Prepared(name=f"p{i}", stored=with_margin(noise(i)), source="here", licence="CC0") for i in range(8)]
    folder = tmp_path_factory.mktemp("sets") / "K"
    write_set(folder, image_set="K", kind=SourceKind.IMPORTED, compact=False, pictures=pictures)
    return folder


@pytest.fixture
def copy(own_set: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(own_set, tmp_path / "K"))


def save(path: Path, picture: GreyFrame) -> None:
    Image.fromarray(picture).save(path)


def changed_manifest(folder: Path, **changes: object) -> None:
    fields = msgspec.json.decode((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(msgspec.json.encode({**fields, **changes}))


def with_hash_of(folder: Path, name: str) -> None:
    """The manifest follows the file, as it would after a careless hand."""
    import hashlib

    fields = msgspec.json.decode((folder / "manifest.json").read_bytes())
    for picture in fields["pictures"]:
        if picture["name"] == name:
            picture["file_sha256"] = hashlib.sha256((folder / f"{name}.png").read_bytes()).hexdigest()
    changed_manifest(folder, pictures=fields["pictures"])


def other_picture(folder: Path) -> None:
    save(folder / "p3.png", noise(99))


def other_picture_and_hash(folder: Path) -> None:
    other_picture(folder)
    with_hash_of(folder, "p3")


def wrong_size(folder: Path) -> None:
    save(folder / "p3.png", noise(3, (100, 200)))
    with_hash_of(folder, "p3")


def no_picture(folder: Path) -> None:
    (folder / "p3.png").write_bytes(b"not a picture")
    with_hash_of(folder, "p3")


def cut_short(folder: Path) -> None:
    content = (folder / "p3.png").read_bytes()
    (folder / "p3.png").write_bytes(content[: len(content) // 2])
    with_hash_of(folder, "p3")


def seven_pictures(folder: Path) -> None:
    fields = msgspec.json.decode((folder / "manifest.json").read_bytes())
    changed_manifest(folder, pictures=fields["pictures"][:7])


REFUSED: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / "p3.png").unlink(), "p3.png: can't be read"),
    (other_picture, "p3.png: was changed since the set was made"),
    (other_picture_and_hash, "p3.png: is not the picture p3 of the manifest"),
    (wrong_size, "p3.png: is 200 x 100 px and must be 1174 x 918"),
    (no_picture, "p3.png: is damaged or no picture"),
    (cut_short, "p3.png: is damaged or no picture"),
    (lambda folder: (folder / "manifest.json").unlink(), "has no manifest.json"),
    (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json: is damaged"),
    (seven_pictures, "has 7 pictures and must have 8"),
    (lambda folder: changed_manifest(folder, colour=True), "manifest.json: is damaged"),
]


@pytest.mark.parametrize(("harm", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_a_set_that_was_harmed_is_refused(copy: Path, harm: Callable[[Path], object], sentence: str) -> None:
    harm(copy)
    with pytest.raises(StimulusError, match=sentence) as refusal:
        ImageSet.open(copy).picture("p3")
    assert "\n" not in str(refusal.value)


def test_a_set_gives_back_what_was_written(own_set: Path) -> None:
    images = ImageSet.open(own_set)
    for i, entry in enumerate(images.manifest.pictures):
        assert (images.picture(entry.name) == with_margin(noise(i))).all()
        assert sha256_of(images.picture(entry.name)) == entry.sha256
    with pytest.raises(StimulusError, match="has no picture im065; it has p0, p1"):
        images.picture("im065")


@pytest.mark.parametrize("n", [7, 9])
def test_a_set_has_eight_pictures(n: int, tmp_path: Path) -> None:
    pictures = [Prepared(name=f"p{i}", stored=noise(i), source="", licence="") for i in range(n)]
    with pytest.raises(StimulusError, match=f"has {n} pictures"):
        write_set(tmp_path, image_set="K", kind=SourceKind.IMPORTED, compact=False, pictures=pictures)


def test_a_compact_picture_is_grown_to_the_same_levels_everywhere() -> None:
    small = noise(5, (459, 587))
    grown = as_drawn(small, compact=True)
    top = with_margin(np.full(PICTURE_SHAPE, 255, np.uint8))
    assert grown.shape == PICTURE_SHAPE
    near = small.astype(int)[199:201, 299:301]
    assert grown[400, 600] == np.rint((near * [[1, 3], [3, 9]]).sum() / 16)
    assert (grown[top == GRAY] == GRAY).all()


def test_a_movie_is_kept_and_compared_with_its_hash(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 8, 10)).astype(np.uint8)
    movie = write_movie(tmp_path / "m", name="m", frames=frames, source="here")
    pictures = Pictures(film=ImportedMovie.open(tmp_path / "m"))
    assert (pictures.movie("m", n_frames=3)[:6] == frames).all()
    assert pictures.movie_hash("m") == movie.sha256()
    with pytest.raises(StimulusError, match="there is no movie other"):
        pictures.movie("other", n_frames=3)
    np.save(tmp_path / "m" / "frames.npy", frames[::-1])
    with pytest.raises(StimulusError, match=r"frames.npy: was changed since movie m was imported"):
        pictures.check_files()
    (tmp_path / "m" / "frames.npy").unlink()
    with pytest.raises(StimulusError, match=r"frames.npy: can't be read"):
        pictures.check_files()
