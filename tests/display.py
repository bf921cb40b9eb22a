"""A virtual display for tests that open windows: Xvfb, whose frame buffer lies in a file that can be photographed."""

from __future__ import annotations

import os
import select
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware.arrays import AnyArray

WIDTH_PX, HEIGHT_PX = 1920, 1200
STARTS_WITHIN_S = 30.0
FIRST_NUMBER = 1000
XWD_FIELDS = 25
"""Words in the header of X's window dump, the format of the frame buffer's file; big-endian."""


@dataclass(frozen=True)
class VirtualDisplay:
    """One monitor that nobody looks at."""

    name: str
    buffer: Path

    def photograph(self) -> AnyArray:
        """All pixels as they are now, uint8 (HEIGHT_PX, WIDTH_PX, 3), row 0 on top."""
        return self._pixels().copy()

    def window(self, width_px: int, height_px: int) -> AnyArray:
        """The pixels of a window in the display's middle, where PsychoPy puts it, uint8 (height_px, width_px, 3)."""
        left, top = (WIDTH_PX - width_px) // 2, (HEIGHT_PX - height_px) // 2
        return self._pixels()[top : top + height_px, left : left + width_px].copy()

    def _pixels(self) -> AnyArray:
        content = np.memmap(self.buffer, mode="r", dtype=np.uint8)
        header = struct.unpack(f">{XWD_FIELDS}I", content[: 4 * XWD_FIELDS].tobytes())
        begins, width, height, row_bytes, n_colours = (header[i] for i in (0, 4, 5, 12, 19))
        begins += 12 * n_colours
        rows = content[begins : begins + row_bytes * height].reshape(height, row_bytes // 4, 4)
        return np.asarray(rows[:, :width, 2::-1])


@contextmanager
def virtual_display(folder: Path) -> Iterator[VirtualDisplay]:
    """Start a display under a number of this process, and name it in the environment of this process."""
    program = shutil.which("Xvfb")
    if program is None:
        raise RuntimeError("Xvfb is not installed; `make test` installs it, or: apt-get install xvfb libgl1-mesa-dri")
    reader, writer = os.pipe()
    number_of_its_own = f":{FIRST_NUMBER + os.getpid() % 30_000}"  # two that start at once may find the same one free
    command = [program, number_of_its_own, "-displayfd", str(writer), "-screen", "0", f"{WIDTH_PX}x{HEIGHT_PX}x24"]
    server = subprocess.Popen([*command, "-fbdir", str(folder), "-nolisten", "tcp"], pass_fds=[writer])
    os.close(writer)
    before = os.environ.get("DISPLAY")
    try:
        if not select.select([reader], [], [], STARTS_WITHIN_S)[0] or not (number := os.read(reader, 16).strip()):
            raise RuntimeError(f"Xvfb did not start within {STARTS_WITHIN_S:g} s; see what it said above")
        os.environ["DISPLAY"] = f":{number.decode()}"
        yield VirtualDisplay(name=os.environ["DISPLAY"], buffer=folder / "Xvfb_screen0")
    finally:
        os.close(reader)
        if before is None:
            os.environ.pop("DISPLAY", None)
        else:
            os.environ["DISPLAY"] = before
        server.terminate()
        server.wait()
