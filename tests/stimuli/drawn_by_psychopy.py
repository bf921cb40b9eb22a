"""Gratings and patches as PsychoPy's own GratingStim draws them, in a process of its own: ``-m ... FILE.npz``.

Its Monitor and Window leave warnings and settings behind that tests in one process would trip over.
"""

from __future__ import annotations

import sys

import numpy as np

WIDTH_PX, HEIGHT_PX = 480, 300
GRATINGS_DEG = (0.0, 30.0, 90.0, 180.0, 270.0)
PATCHES_DEG = (0.0, 45.0, 90.0)
PATCH_PHASE = 0.1


def draw(path: str) -> None:
    """Draw into the back buffer, read it back, and keep it."""
    from psychopy import monitors, visual

    monitor = monitors.Monitor("test", width=52.0, distance=15.0)
    monitor.setSizePix((WIDTH_PX, HEIGHT_PX))
    window = visual.Window((WIDTH_PX, HEIGHT_PX), monitor=monitor, units="deg", allowGUI=False, waitBlanking=False)
    drawn = {}
    for orientation in GRATINGS_DEG:
        drawn[f"grating_{orientation:g}"] = visual.GratingStim(
            window, tex="sqr", sf=0.04, phase=0.25, ori=orientation, size=(300, 300), texRes=1024
        )
    for orientation in PATCHES_DEG:
        drawn[f"patch_{orientation:g}"] = visual.GratingStim(
            window, mask="circle", sf=0.08, phase=PATCH_PHASE, ori=orientation, size=20, pos=(20, -10), contrast=0.8
        )
    pixels = {}
    for name, stimulus in drawn.items():
        window.clearBuffer()
        stimulus.draw()
        pixels[name] = np.asarray(window._getFrame(buffer="back").convert("L"))
    np.savez(path, **pixels)
    window.close()


if __name__ == "__main__":
    draw(sys.argv[1])
