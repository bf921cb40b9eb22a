"""Real-time settings of a session's process: set for its length, restored after it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator

SWITCH_INTERVAL_S = 0.0005
"""How long another thread may hold the interpreter before the loop gets it back; Python's default is 5 ms."""
NICE = -10
_WINDOWS_HIGH, _WINDOWS_NORMAL = 0x80, 0x20


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


def _raise_priority() -> Callable[[], object]:
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        process = kernel.GetCurrentProcess()
        kernel.SetPriorityClass(process, _WINDOWS_HIGH)
        return lambda: kernel.SetPriorityClass(process, _WINDOWS_NORMAL)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)

    def restore() -> None:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)

    return restore
