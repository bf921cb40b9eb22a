"""Names of lines and terminals, and the pins behind them.

A PFI terminal and a line of port 1 or 2 are the same pin (NIDAQ_NOTES 8.4). A pin's name here is its line's:
``port1/line0`` for PFI0. Device names and terminals may be written in any case, as the driver takes them.
"""

from __future__ import annotations

import re

from hardware.simulated.twin.errors import CardError, Code

N_LINES = {0: 32, 1: 8, 2: 8}
"""Lines of each port."""
N_COUNTERS = 4
N_ANALOG_INPUTS = 32
DEFAULT_COUNTER_PFI = (12, 13, 14, 15)
"""Where the counters' outputs come out unless they are told otherwise."""
LINES = tuple(f"port{port}/line{line}" for port, n in N_LINES.items() for line in range(n))

_RANGE = re.compile(r"(.*?)(\d+):(\d+)$")
_PFI = re.compile(r"pfi(\d+)$", re.IGNORECASE)


def split(names: str) -> list[str]:
    """Return the single names in a list such as ``Dev1/port0/line0:2, Dev1/port0/line7``."""
    singles = []
    for part in (part.strip() for part in names.split(",")):
        if not part:
            continue
        if found := _RANGE.match(part):
            base, first, last = found[1], int(found[2]), int(found[3])
            step = 1 if last >= first else -1
            singles += [f"{base}{n}" for n in range(first, last + step, step)]
        else:
            singles.append(part)
    return singles


def local(name: str, device: str) -> str:
    """Return a name without the device in front; raise if the device is another."""
    head, slash, tail = name.removeprefix("/").partition("/")
    if not slash or head.lower() != device.lower():
        raise CardError(Code.NO_SUCH_DEVICE, f"Device identifier is invalid: {head or name}")
    return tail


def pin(name: str) -> str | None:
    """Return the pin of a line or PFI terminal, named without its device, or None."""
    if found := _PFI.match(name):
        n = int(found[1])
        return f"port{1 + n // 8}/line{n % 8}" if n < 16 else None
    return name.lower() if name.lower() in LINES else None


def lines(names: str, device: str) -> list[str]:
    """Return the pins of a list of lines and whole ports, in the order in which they were named."""
    pins = []
    for single in split(names):
        name = local(single, device)
        if name in ("port0", "port1", "port2"):
            pins += [f"{name}/line{n}" for n in range(N_LINES[int(name[-1])])]
        elif (found := pin(name)) is not None:
            pins.append(found)
        else:
            raise CardError(Code.NO_SUCH_CHANNEL, f"Physical channel does not exist on the device: {single}")
    if not pins:
        raise CardError(Code.NO_SUCH_CHANNEL, "No physical channel was named")
    return pins


def channel(name: str, device: str, kind: str, n: int) -> str:
    """Return a single counter or analog channel such as ``ctr0`` or ``ai1``, named without its device."""
    short = local(name.strip(), device).lower()
    if short not in {f"{kind}{i}" for i in range(n)}:
        raise CardError(Code.NO_SUCH_CHANNEL, f"Physical channel does not exist on the device: {name}")
    return short


def bit(line: str) -> int:
    """Return a line's bit in its port's word."""
    return 1 << int(line.rpartition("line")[2])


def port(line: str) -> int:
    """Return a line's port."""
    return int(line[4])
