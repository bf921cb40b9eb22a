"""Pictures from the command line to the log: importing, listing, stand-ins, refusals."""

from __future__ import annotations

import gzip
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from hardware.arrays import GreyFrame
from rig.cli import app
from rig.config.files import image_names, load_image_set, load_rig, load_stage
from rig.config.load import ConfigError
from rig.config.pictures import import_images, import_movie, pictures_of, sets_of
from rig.log.reader import read_session
from rig.log.writer import MemoryLog
from rig.records.summary import SummaryFold, in_words
from rig.session.assemble import assembled
from stages.events import FlashShown, SessionStarted, TrialOutcome
from stimuli.frames import CANVAS_SHAPE, GRAY, PICTURE_SHAPE
from stimuli.pictures.importing import read_pictures
from stimuli.pictures.preparing import visible, with_margin
from stimuli.pictures.sets import ImageSet
from stimuli.pictures.stand_ins import stand_in
from stimuli.spec import NaturalImage, NaturalMovie, SourceKind, StimulusError, label
from tests.builders import GRATINGS, IMAGES, plan, recorded, run, stage

MOVIE = {"name": "natural_movie_one", "frame_rate_hz": 30.0, "n_frames": 900, "n_repeats": 10}


def picture(seed: int) -> GreyFrame:
    coarse = np.random.default_rng(seed).integers(0, 256, (27, 2 * 27)).astype(np.uint8)
    return with_margin(np.repeat(np.repeat(coarse, 34, 0), 22, 1)[:918, :1174])


NAMES = load_image_set("A").names
PICTURES = {name: picture(i) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As camstim's: categories of pictures by name, names as bytes."""
    path = tmp_path_factory.mktemp("camstim") / "images.pkl"
    path.write_bytes(
        pickle.dumps({name.encode(): {name.encode(): each} for name, each in PICTURES.items()}, protocol=2)
    )
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, pickled: Path) -> Path:
    """A library with set A imported."""
    folder = tmp_path_factory.mktemp("library")
    import_images("A", pickled, library=folder, replace=False)
    return folder


def in_folder(folder: Path, pictures: dict[str, GreyFrame]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, each in pictures.items():
        Image.fromarray(each).save(folder / f"{name}.png")
    return folder


def in_nwb(path: Path, pictures: dict[str, GreyFrame]) -> Path:
    """Stimulus templates as published files have them: whole screens, NaN where nothing is seen."""
    top, left = ((CANVAS_SHAPE[i] - PICTURE_SHAPE[i]) // 2 for i in (0, 1))
    unwarped = np.full((len(pictures), *CANVAS_SHAPE), np.nan)
    for i, each in enumerate(pictures.values()):
        inside = np.where(visible(), each.astype(float), np.nan)
        unwarped[i, top : top + PICTURE_SHAPE[0], left : left + PICTURE_SHAPE[1]] = inside
    with h5py.File(path, "w") as file:
        group = file.create_group("stimulus/templates/Natural_Images")
        group.create_dataset("unwarped", data=unwarped, compression="gzip", compression_opts=1)
        group.create_dataset("control_description", data=list(pictures))
        file.create_group("stimulus/templates/natural_movie_one").create_dataset("data", data=np.zeros((2, 3, 4)))
    return path


def same(images: ImageSet, pictures: dict[str, GreyFrame]) -> None:
    assert images.manifest.kind is SourceKind.IMPORTED
    assert images.names == list(pictures)
    for name, each in pictures.items():
        assert (images.picture(name) == each).all()


def test_a_set_comes_from_camstims_pickle_unchanged(library: Path) -> None:
    same(ImageSet.open(sets_of(library) / "A"), PICTURES)


def test_a_set_comes_from_a_zipped_pickle_a_folder_and_an_nwb_file(pickled: Path, tmp_path: Path) -> None:
    zipped = tmp_path / "images.pkl.gz"
    zipped.write_bytes(gzip.compress(pickled.read_bytes(), 1))
    shuffled = {name: PICTURES[name] for name in sorted(PICTURES, reverse=True)}
    for source in (zipped, in_folder(tmp_path / "folder", PICTURES), in_nwb(tmp_path / "session.nwb", shuffled)):
        same(import_images("A", source, library=tmp_path / "library", replace=True), PICTURES)


def test_the_real_picture_comes_out_of_its_pickle() -> None:
    found = read_pictures(recorded("allen/test_image_set.pkl"))
    assert list(found) == ["im065"]
    assert found["im065"].mean() == pytest.approx(126.56, abs=0.01)  # TASK_FACTS 9


def test_photographs_are_prepared_into_a_set_of_ones_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photographs = {f"photo{i}": rng.integers(0, 60 + 20 * i, (200, 300)).astype(np.uint8) for i in range(8)}
    source = in_folder(tmp_path / "photographs", photographs)
    images = import_images("K", source, library=tmp_path / "library", prepare=True, licence="CC0-1.0", replace=False)
    for entry in images.manifest.pictures:
        assert entry.mean == pytest.approx(127, abs=1)
        assert entry.rms_contrast == pytest.approx(55 / 127, rel=0.02)
        assert entry.licence == "CC0-1.0"
        assert (images.picture(entry.name)[~visible()] == GRAY).all()
    own = load_stage("OPHYS_1_images_K", library=tmp_path / "library")
    assert image_names(own, library=tmp_path / "library") == list(photographs)
    with pytest.raises(ConfigError, match="no image set K"):
        load_stage("OPHYS_1_images_K")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path, ("harm",))


def sources(folder: Path) -> dict[str, Path]:
    files = {
        "harmful": ("harm.pkl", pickle.dumps({"im065": Harmful()})),
        "no pickle": ("text.pkl", b"hello"),
        "other content": ("list.pkl", pickle.dumps([1, 2])),
        "no NWB": ("text.nwb", b"hello"),
        "unknown kind": ("pictures.zip", b"PK"),
        "no array": ("movie.npy", b"hello"),
    }
    made = {}
    for what, (name, content) in files.items():
        (folder / name).write_bytes(content)
        made[what] = folder / name
    made["missing"] = folder / "nowhere.pkl"
    made["seven"] = in_folder(folder / "seven", {name: PICTURES[name] for name in NAMES[:7]})
    made["nine"] = in_folder(folder / "nine", {**PICTURES, "im999": PICTURES[NAMES[0]]})
    made["wrong size"] = in_folder(folder / "small", {name: each[::2, ::2] for name, each in PICTURES.items()})
    made["empty"] = in_folder(folder / "empty", {})
    made["damaged"] = in_folder(folder / "damaged", PICTURES)
    (made["damaged"] / f"{NAMES[2]}.png").write_bytes(b"hello")
    with h5py.File(folder / "bare.nwb", "w"):
        made["bare NWB"] = folder / "bare.nwb"
    return made


REFUSED = [
    ("A", "harmful", "which a file of pictures has no need of"),
    ("A", "no pickle", "is no image pickle"),
    ("A", "other content", "holds a list where pictures by name should be"),
    ("A", "no NWB", "is no NWB file or is damaged"),
    ("A", "bare NWB", "has no unwarped pictures with names under stimulus/templates"),
    ("A", "unknown kind", "is no .pkl, .pkl.gz, .nwb or folder"),
    ("A", "missing", "there is no such file or folder"),
    ("A", "seven", "lacks im085 of image set A"),
    ("K", "seven", "has 7 pictures and a set has 8"),
    ("K", "nine", "has 9 pictures and a set has 8"),
    ("A", "wrong size", "is 587 x 459 px and must be 1174 x 918"),
    ("A", "empty", "holds no picture"),
    ("A", "damaged", "is damaged or no picture"),
    ("B", "nine", "lacks im000, im031"),
    ("a/b", "nine", "is no name for pictures"),
    ("my_set", "nine", "leave _ out"),
    ("standin_A", "nine", "belong to stand-ins"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return sources(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize(("name", "what", "sentence"), REFUSED, ids=[f"{n} {w}" for n, w, _ in REFUSED])
def test_what_is_no_image_set_is_refused_and_nothing_is_left(
    name: str, what: str, sentence: str, bad: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(StimulusError, match=sentence) as refusal:
        import_images(name, bad[what], library=tmp_path, replace=False)
    assert "\n" not in str(refusal.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_imported_set_gives_way_only_when_told_to(library: Path, pickled: Path) -> None:
    with pytest.raises(StimulusError, match="is there already; say --replace"):
        import_images("A", pickled, library=library, replace=False)
    same(import_images("A", pickled, library=library, replace=True), PICTURES)


def test_published_pictures_are_not_prepared_again(tmp_path: Path) -> None:
    source = in_folder(tmp_path / "folder", PICTURES)
    with pytest.raises(StimulusError, match="whose pictures need no preparing"):
        import_images("A", source, library=tmp_path, prepare=True, replace=False)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((3, 4), np.uint8), np.zeros((3, 4, 5)), np.zeros((0, 4, 5), np.uint8)],
    ids=["2d", "float", "none"],
)
def test_what_is_no_movie_is_refused(frames: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "movie.npy", frames)
    with pytest.raises(StimulusError, match="must hold uint8 frames x rows x columns"):
        import_movie("natural_movie_one", tmp_path / "movie.npy", library=tmp_path, replace=False)


def test_the_log_calls_stand_ins_by_names_of_their_own_and_says_so() -> None:
    ran = run(stage(movie=MOVIE))
    started: SessionStarted = ran.all(SessionStarted)[0]
    images = [s for s in started.stimuli if isinstance(s, NaturalImage)]
    assert [s.name for s in images] == [f"standin_A{i}" for i in range(8)]
    assert [s.name for s in started.stimuli if isinstance(s, NaturalMovie)] == ["standin_movie_one"]
    assert started.images is not None
    assert started.images.kind is SourceKind.STAND_IN
    assert started.images.sha256 == {picture.name: picture.sha256 for picture in stand_in("A").manifest.pictures}
    assert list(started.images.stands_for.values()) == NAMES
    assert started.movie is not None
    assert started.movie.stands_for == {"standin_movie_one": "natural_movie_one"}
    fold = SummaryFold()
    for entry in ran.log.entries:
        fold.feed(entry)
    words = in_words(fold.summary())
    assert "Images A: stand-in, not the published ones (standin_A0 " in words
    assert "Movie: stand-in, not the published one (standin_movie_one " in words
    assert not any(name in words for name in NAMES)


def test_imported_pictures_are_shown_under_their_published_names(library: Path) -> None:
    found = pictures_of(stage(), simulated=True, library=library)
    assert found.image_names == NAMES
    source = found.images_from()
    assert source is not None
    assert source.kind is SourceKind.IMPORTED
    assert source.stands_for == {}
    assert list(source.sha256) == NAMES


def test_a_stage_of_gratings_says_nothing_of_pictures() -> None:
    started: SessionStarted = run(stage(GRATINGS)).all(SessionStarted)[0]
    assert started.images is None
    assert started.movie is None


def test_with_stand_ins_the_model_mouse_and_the_task_do_the_same_as_with_the_published_ones(
    library: Path,
) -> None:
    def told(with_library: Path | None) -> list[object]:
        log = MemoryLog()
        with assembled(replace(plan(stage(warm_up_trials=1)), library=with_library), log=log) as loop:
            loop.run()
        return [entry.event for entry in log.entries if isinstance(entry.event, FlashShown | TrialOutcome)]

    assert told(None) == told(library)
    assert len(told(None)) > 20


@pytest.mark.parametrize("name", [IMAGES, "OPHYS_4_images_H"])
def test_a_rig_with_a_real_device_refuses_stand_ins_unless_told(name: str, library: Path) -> None:
    real = load_rig("example_nidaq")
    assert not real.simulated
    parameters = load_stage(name)
    with pytest.raises(ConfigError, match="only stand-ins for image set") as refusal:
        pictures_of(parameters, simulated=real.simulated)
    assert "only a stand-in for natural_movie_one" in str(refusal.value)
    assert "rig images import" in str(refusal.value)
    pictures_of(parameters, simulated=real.simulated, stand_ins=True)
    pictures_of(stage(GRATINGS), simulated=real.simulated)
    pictures_of(stage(), simulated=real.simulated, library=library)


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_session_with_a_changed_or_missing_picture_does_not_start(harm: str, library: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(library, tmp_path / "library"))
    path = sets_of(copy) / "A" / f"{NAMES[3]}.png"
    if harm == "changed":
        Image.fromarray(picture(99)).save(path)
    else:
        path.unlink()
    with pytest.raises(ConfigError, match=f"{NAMES[3]}.png") as refusal:
        pictures_of(stage(), simulated=True, library=copy)
    assert "import image set A again" in str(refusal.value)


@pytest.fixture
def own_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rig(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_rig_images_list_names_every_stand_in_its_licence_and_what_it_stands_for(own_library: Path) -> None:
    result = rig("images", "list")
    assert result.exit_code == 0
    for letter in ("A", "B", "G", "H"):
        assert f"image set {letter}: stand-in" in result.output
        for entry in stand_in(letter).manifest.pictures:
            assert f"{entry.name} for {entry.stands_for}" in result.output
            assert entry.licence in result.output


def test_rig_images_import_brings_in_a_set_and_a_movie_that_sessions_show(own_library: Path, pickled: Path) -> None:
    assert rig("images", "import", "A", pickled).exit_code == 0
    frames = np.random.default_rng(0).integers(0, 256, (900, 4, 5)).astype(np.uint8)
    np.save(own_library / "movie.npy", frames)
    assert rig("images", "import", "natural_movie_one", own_library / "movie.npy").exit_code == 0
    listed = rig("images", "list").output
    assert "image set A: imported" in listed
    assert "movie natural_movie_one: imported, 900 frames" in listed
    ran = rig("run", "--mouse", "M", "--stage", IMAGES, "--fast", "--minutes", "0.2", "--out", own_library / "out")
    assert ran.exit_code == 0, ran.output
    assert "Images A: imported (im061 " in ran.output
    assert "Movie: imported (natural_movie_one " in ran.output
    log = read_session(next((own_library / "out").iterdir()))
    assert {label(s) for s in log.started.stimuli} >= {*NAMES, "natural_movie_one"}
    again = rig("images", "import", "A", pickled)
    assert again.exit_code == 1
    assert "say --replace" in again.stderr


def test_a_real_rig_is_refused_before_anything_starts(own_library: Path) -> None:
    result = rig("run", "--mouse", "M", "--stage", IMAGES, "--rig", "example_nidaq", "--out", own_library / "out")
    assert result.exit_code == 1
    assert "only stand-ins for image set A" in result.stderr
    assert not (own_library / "out").exists()


def test_a_harmed_library_is_one_sentence(own_library: Path, pickled: Path) -> None:
    rig("images", "import", "A", pickled)
    next((own_library / "data").rglob("im065.png")).unlink()
    for arguments in (("images", "list"), ("run", "--mouse", "M", "--stage", IMAGES, "--fast"), ("preview", IMAGES)):
        result = rig(*arguments)
        assert result.exit_code == 1
        assert "im065.png: can't be read" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
