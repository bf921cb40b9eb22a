"""Errors of the card, by the driver's codes, and what the twin doesn't do."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """The driver's error codes that the twin gives."""

    RESOURCE_RESERVED = -50103
    ABORTED = -88709
    UNKNOWN_TERMINAL = -89120
    BAD_VALUE = -200077
    INVALID_TASK = -200088
    DUPLICATE_TASK = -200089
    NO_SUCH_CHANNEL = -200170
    NO_SUCH_DEVICE = -200220
    NO_SUCH_ATTRIBUTE = -200233
    SAMPLES_OVERWRITTEN = -200279
    SAMPLES_NOT_YET_THERE = -200284
    NUM_LINES_MISMATCH = -200463
    TIMED_OUT = -200474
    NO_CHANNELS = -200478
    TASK_IS_RUNNING = -200557
    WAIT_NOT_DONE = -200560
    LINES_RESERVED = -200587
    NOT_A_WATCHDOG = -200635
    WATCHDOG_EXPIRED_KICK = -200644
    WATCHDOG_NOT_SUPPORTED = -200662
    WATCHDOG_TIMEOUT_RANGE = -200668
    WRITE_AFTER_EXPIRY = -200678
    TYPE_TOO_SMALL = -200789
    WRITE_BEFORE_START = -200846
    CHANGE_CHANNEL_NOT_IN_TASK = -200926
    SIGNAL_EVENT_REGISTERED = -200949
    DEVICE_GONE = -201003
    REGISTER_WHILE_RUNNING = -200960
    UNREGISTER_WHILE_RUNNING = -200986
    NO_CHANGE_DETECTION = -201020
    STATE_PER_LINE = -201481


class CardError(Exception):
    """The card refuses; what the client library turns into its DaqError."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(what)
        self.code = int(code)


class NotServed(Exception):
    """The twin has no such thing; the client gets UNIMPLEMENTED, never a silent default."""


class AlreadyExists(Exception):
    """A session of this name is there already, and a new one was asked for."""
