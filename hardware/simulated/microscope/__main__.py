"""``python -m hardware.simulated.microscope``: the simulated microscope's process."""

from __future__ import annotations

import sys

from hardware.simulated.microscope.program import main

if __name__ == "__main__":
    sys.exit(main())
