"""Real-time settings of a session's process: set for its length, restored after it."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator

import psutil

SWITCH_INTERVAL_S = 0.0005
"""How long another thread may hold the interpreter before the loop gets it back; Python's default is 5 ms."""
NICE = -10


@contextlib.contextmanager
def real_time() -> Iterator[None]:
    """Freeze and stop the garbage collector, shorten the switch interval, raise the priority.

    A priority that the system does not grant is left as it is.
    """
    interval_s, was_enabled = sys.getswitchinterval(), gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    restore = _raise_priority()
    try:
        yield
    finally:
        restore()
        sys.setswitchinterval(interval_s)
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def _raise_priority() -> Callable[[], None]:
    """Raise this process's priority if the system grants it; return what puts it back."""
    process = psutil.Process()
    before = process.nice()

    def restore() -> None:
        with contextlib.suppress(psutil.AccessDenied):
            process.nice(before)

    with contextlib.suppress(psutil.AccessDenied):
        process.nice(getattr(psutil, "HIGH_PRIORITY_CLASS", NICE))  # that name is there on Windows only
    return restore
