"""``python -m hardware.simulated.twin OPTIONS``: the twin's process, started by ``Twin``."""

from __future__ import annotations

import sys

from hardware.simulated.twin.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
