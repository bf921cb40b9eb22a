"""One output line of a card by itself: a microscope computer's trigger, where the rest of a rig is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hardware.nidaq.connection import CardConfig, Connection

NAME = "trigger line"


@contextmanager
def trigger_output(*, device: str, line: str, address: str | None = None) -> Iterator[Callable[[bool], None]]:
    """Yield what sets the line's level; it is low before and after, whatever happened in between.

    Parameters
    ----------
    device, line
        The card's name and the line, as in ``Dev1`` and ``port1/line6``.
    address
        ``host:port`` of a gRPC device server; None for the driver of this computer.

    Raises
    ------
    DeviceError
        The card, its driver or the line is not there; so may what was yielded.
    """
    connection = Connection(CardConfig(device=device, address=address))
    connection.open()
    try:
        with connection.calls(NAME):
            task = connection.task("trigger")
            task.do_channels.add_do_chan(connection.config.channel(line))
            writer = connection.writer(task)
            task.start()

        def drive(level: bool) -> None:
            with connection.calls(NAME):
                writer.write_one_sample_one_line(level)

        drive(False)
        try:
            yield drive
        finally:
            drive(False)
    finally:
        connection.close()
