"""What ``rig preview`` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rig.cli import app
from rig.config.pictures import pictures_of
from rig.config.rig import RigConfig
from rig.records.preview import write_preview
from stages.parameters import Stage
from stages.task import stimuli_of
from stimuli.frames import Frames
from stimuli.spec import label
from tests.builders import GRATINGS, IMAGES, SWEEP, rig_config, stage

MOVIE = {"name": "natural_movie_one", "frame_rate_hz": 30.0, "n_frames": 900, "n_repeats": 10}
STAGES = {
    IMAGES: {"movie": MOVIE},
    GRATINGS: {},
    "TRAINING_0_gratings_autorewards_15min": {},
    "OPHYS_5_images_B_passive": {},
    SWEEP: {"azimuths_deg": [-40.0, 0.0], "altitudes_deg": [0.0, 20.0]},
}


def small_rig() -> RigConfig:
    fields = rig_config().model_dump()
    fields["screen"]["geometry"] |= {"width_px": 240, "height_px": 150}
    return RigConfig.model_validate(fields)


def previewed(parameters: Stage, folder: Path, *, warp: bool = True) -> list[Path]:
    pictures = pictures_of(parameters, simulated=True)
    return list(write_preview(parameters, config=small_rig(), pictures=pictures, folder=folder, warp=warp))


@pytest.mark.parametrize("name", STAGES)
def test_every_stimulus_is_a_picture_of_exactly_what_the_screen_is_given(name: str, tmp_path: Path) -> None:
    parameters = stage(name, **STAGES[name])
    written = previewed(parameters, tmp_path)
    assert all(path.is_file() for path in written)
    pictures = pictures_of(parameters, simulated=True)
    stimuli = stimuli_of(parameters, image_names=pictures.image_names, refresh_hz=60.0, movie_name=pictures.movie_name)
    geometry = small_rig().screen.geometry.geometry()
    for folder, warp in (("warped", True), ("unwarped", False)):
        frames = Frames(geometry=geometry, pictures=pictures.source, warp=warp)
        assert {path.stem for path in (tmp_path / folder).iterdir()} == {label(stimulus) for stimulus in stimuli}
        for stimulus in stimuli:
            with Image.open(tmp_path / folder / f"{label(stimulus)}.png") as image:
                assert (np.asarray(image) == frames.at_onset(stimulus)).all()
    for drawing in ("contact_sheet.png", "timeline.png"):
        with Image.open(tmp_path / drawing) as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 100
        assert len(np.unique(pixels)) > 20, "something is drawn"
        if name == SWEEP:
            assert (np.abs(pixels.astype(int) - 127) <= 2).mean() > 0.2, "screens of patches are mostly gray"


def test_without_the_warp_there_are_no_warped_pictures(tmp_path: Path) -> None:
    previewed(stage(GRATINGS), tmp_path, warp=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contact_sheet.png", "timeline.png", "unwarped"]


def test_rig_preview_says_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["preview", "TRAINING_1_gratings", "--no-warp"])
    assert result.exit_code == 0, result.output
    written = [Path(line) for line in result.output.splitlines()]
    assert len(written) == 7
    assert all(path.is_file() for path in written)
    assert {path.parts[0] for path in written} == {"preview-TRAINING_1_gratings"}


def test_an_unknown_stage_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["preview", "TRAINING_9", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "there is no stage of this name" in result.stderr
    assert not (tmp_path / "out").exists()
