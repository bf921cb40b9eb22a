"""Published numbers mean what they meant: our frames beside what PsychoPy's GratingStim draws for the same ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hardware.arrays import AnyArray
from stimuli.frames import GRAY, Frames
from stimuli.geometry import Geometry
from stimuli.spec import Gabor, Grating
from tests.display import VirtualDisplay
from tests.stimuli.drawn_by_psychopy import GRATINGS_DEG, HEIGHT_PX, PATCH_PHASE, PATCHES_DEG, WIDTH_PX

FRAMES = Frames(geometry=Geometry(width_px=WIDTH_PX, height_px=HEIGHT_PX), warp=False)


@pytest.fixture(scope="module")
def theirs(display: VirtualDisplay, tmp_path_factory: pytest.TempPathFactory) -> dict[str, AnyArray]:
    path = tmp_path_factory.mktemp("psychopy") / "drawn.npz"
    command = [sys.executable, "-m", "tests.stimuli.drawn_by_psychopy", str(path)]
    root = Path(__file__).resolve().parents[2]
    told = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240, check=False)
    assert path.exists(), told.stderr
    return dict(np.load(path))


@pytest.mark.parametrize("orientation_deg", GRATINGS_DEG)
def test_a_grating_is_the_one_gratingstim_draws(orientation_deg: float, theirs: dict[str, AnyArray]) -> None:
    ours = FRAMES.unwarped(Grating(group="any", orientation_deg=orientation_deg))
    same = np.abs(ours.astype(int) - theirs[f"grating_{orientation_deg:g}"]) < 64
    print(f"{same.mean():.2%} of the pixels alike")
    assert same.mean() > 0.995  # pixels cut by an edge may fall to either side


@pytest.mark.parametrize("orientation_deg", PATCHES_DEG)
def test_a_patch_is_the_one_gratingstim_draws(orientation_deg: float, theirs: dict[str, AnyArray]) -> None:
    patch = Gabor(
        azimuth_deg=20.0,
        altitude_deg=-10.0,
        orientation_deg=orientation_deg,
        spatial_frequency_cpd=0.08,
        temporal_frequency_hz=0.0,
        diameter_deg=20.0,
        contrast=0.8,
    )
    ours = FRAMES._gabor(patch, phase_cycles=PATCH_PHASE)
    difference = np.abs(ours.astype(int) - theirs[f"patch_{orientation_deg:g}"])
    inside = ours != GRAY
    print(f"{difference[inside].mean():.2f} grey levels apart")
    assert difference[inside].mean() < 2
    assert (difference > 20).mean() < 0.001, "but for the mask's edge"
