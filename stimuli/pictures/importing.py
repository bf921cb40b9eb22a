"""Pictures out of the files laboratories have: camstim's image pickles, published NWB files, folders, movie arrays.

Each reader returns pictures by name, uint8 (918, 1174), and changes none of their grey levels.
"""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np

from hardware.arrays import AnyArray, GreyFrame, GreyFrames
from stimuli.frames import CANVAS_SHAPE, GRAY, PICTURE_SHAPE
from stimuli.pictures.preparing import cropped, luminance_matched, visible, with_margin
from stimuli.pictures.sets import decoded
from stimuli.spec import StimulusError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
TEMPLATES = "stimulus/templates"


def read_pictures(path: Path, *, prepare: bool = False) -> dict[str, GreyFrame]:
    """Return the pictures of a camstim pickle (.pkl, .pkl.gz), an NWB file (.nwb) or a folder, by what it is.

    Parameters
    ----------
    prepare
        Of a folder: crop, scale and luminance-match the photographs and give them the margin.

    Raises
    ------
    StimulusError
        It is none of these, is damaged, or holds a picture of a wrong size.
    """
    if path.is_dir():
        return from_folder(path, prepare=prepare)
    if not path.exists():
        raise StimulusError(f"{path}: there is no such file or folder; check its name")
    if prepare:
        raise StimulusError(
            f"{path}: --prepare is for folders of photographs; leave it out, these are prepared already"
        )
    if path.suffix == ".nwb":
        return from_nwb(path)
    if path.suffix in (".pkl", ".gz"):
        return from_camstim(path)
    raise StimulusError(f"{path}: is no .pkl, .pkl.gz, .nwb or folder; give one of these")


def from_camstim(path: Path) -> dict[str, GreyFrame]:
    """Return the pictures of a camstim image pickle: a dictionary of categories of pictures by name.

    The pickle may hold arrays and plain containers; anything that could run code is refused.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, ImportError, AttributeError, IndexError, KeyError) as error:
        raise StimulusError(f"{path}: is no image pickle ({error}); give the file that camstim showed") from error
    except OSError as error:
        raise StimulusError(f"{path}: can't be read ({error}); copy it again") from error
    found: dict[str, GreyFrame] = {}
    _gather(content, path, found)
    return found


def _gather(content: object, path: Path, found: dict[str, GreyFrame]) -> None:
    if not isinstance(content, Mapping):
        raise StimulusError(f"{path}: holds a {type(content).__name__} where pictures by name should be")
    for key, value in content.items():
        name = key.decode("latin1") if isinstance(key, bytes) else str(key)
        if isinstance(value, np.ndarray):
            found[name] = _checked(value, name=name, path=path)
        else:
            _gather(value, path, found)


def from_nwb(path: Path) -> dict[str, GreyFrame]:
    """Return the pictures among the stimulus templates of a published NWB file.

    Its ``unwarped`` templates are the whole screen before the warp, NaN where nothing is seen: the middle is the
    picture, with the gray margin in place of NaN.
    """
    try:
        with h5py.File(path) as file:
            templates = file.get(TEMPLATES, {})
            for name, template in templates.items():
                if "movie" in name or "unwarped" not in template or "control_description" not in template:
                    continue
                names = [str(each) for each in template["control_description"].asstr()]
                return {
                    each: _from_template(template["unwarped"][i], name=each, path=path) for i, each in enumerate(names)
                }
    except OSError as error:
        raise StimulusError(f"{path}: is no NWB file or is damaged ({error}); download it again") from error
    raise StimulusError(
        f"{path}: has no unwarped pictures with names under {TEMPLATES}; take a file of a session with images"
    )


def _from_template(template: AnyArray, *, name: str, path: Path) -> GreyFrame:
    if template.shape == CANVAS_SHAPE:
        (height_px, width_px), (n_rows, n_columns) = PICTURE_SHAPE, CANVAS_SHAPE
        top, left = (n_rows - height_px) // 2, (n_columns - width_px) // 2
        template = template[top : top + height_px, left : left + width_px]
    return _checked(np.where(np.isnan(template), GRAY, template), name=name, path=path)


def from_folder(path: Path, *, prepare: bool) -> dict[str, GreyFrame]:
    """Return the pictures of a folder, named as their files are."""
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise StimulusError(f"{path}: holds no picture ({', '.join(SUFFIXES)}); give the folder they are in")
    found = {}
    for file in files:
        picture = decoded(file.read_bytes(), name=str(file))
        if prepare:
            picture = with_margin(luminance_matched(cropped(picture), where=visible(), name=file.stem))
        found[file.stem] = _checked(picture, name=file.stem, path=file)
    return found


def read_movie(path: Path) -> GreyFrames:
    """Return the frames of a movie kept as an array file (.npy), uint8 (n, rows, columns), memory-mapped.

    Raises
    ------
    StimulusError
        It is no such file.
    """
    try:
        frames: GreyFrames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StimulusError(f"{path}: is no array file (.npy); save frames x rows x columns with numpy.save") from error
    if frames.ndim != 3 or frames.dtype != np.uint8 or not frames.size:
        shape = " x ".join(str(n) for n in frames.shape)
        raise StimulusError(f"{path}: holds {frames.dtype} {shape} and must hold uint8 frames x rows x columns")
    return frames


def _checked(picture: AnyArray, *, name: str, path: Path) -> GreyFrame:
    if picture.shape != PICTURE_SHAPE:
        size, wanted = (" x ".join(str(n) for n in reversed(shape)) for shape in (picture.shape, PICTURE_SHAPE))
        raise StimulusError(
            f"{path}: picture {name} is {size} px and must be {wanted}; photographs of other sizes are made so from a "
            "folder with --prepare"
        )
    if picture.dtype == np.uint8:
        return np.array(picture)
    if not (np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 255):
        raise StimulusError(f"{path}: picture {name} has grey levels outside 0 to 255; give 8-bit grey levels")
    return np.rint(picture).astype(np.uint8)


class _ArraysOnly(pickle.Unpickler):
    """Refuses every name but those that an array is made with."""

    ALLOWED: ClassVar[set[tuple[str, str]]] = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as the base class has it
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a file of pictures has no need of")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
