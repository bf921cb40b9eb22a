"""How a simulated device's process is kept from what a terminal says to its session."""

from __future__ import annotations

import subprocess
import sys

APART: dict[str, int]
if sys.platform == "win32":
    APART = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
else:
    APART = {"process_group": 0}
"""Ctrl-C, which a terminal sends to a whole group, is for the session, which ends its devices; never for them."""
