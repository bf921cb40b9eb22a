"""Real-time settings of a session's process: set for its length, restored after it."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

from hardware.priority import raise_priority

SWITCH_INTERVAL_S = 0.0005
"""How long another thread may hold the interpreter before the loop gets it back; Python's default is 5 ms."""


@contextlib.contextmanager
def real_time(*, urgent: bool = True) -> Iterator[None]:
    """Freeze and stop the garbage collector, shorten the switch interval, raise the priority.

    A priority that the system does not grant is left as it is.

    Parameters
    ----------
    urgent
        False leaves the priority: a session in simulated time is not to be in the way of one with a mouse.
    """
    interval_s, was_enabled = sys.getswitchinterval(), gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    restore = raise_priority() if urgent else None
    try:
        yield
    finally:
        if restore is not None:
            restore()
        sys.setswitchinterval(interval_s)
        gc.unfreeze()
        if was_enabled:
            gc.enable()
