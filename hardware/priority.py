"""A process's priority, raised where milliseconds count."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import psutil

NICE = -10


def raise_priority() -> Callable[[], None]:
    """Raise this process's priority if the system grants it; return what puts it back.

    On Linux it is that of the calling thread, and of those that it begins from then on.
    """
    process = psutil.Process()
    before = process.nice()

    def restore() -> None:
        with contextlib.suppress(psutil.AccessDenied):
            process.nice(before)

    with contextlib.suppress(psutil.AccessDenied):
        process.nice(getattr(psutil, "HIGH_PRIORITY_CLASS", NICE))  # that name is there on Windows only
    return restore
