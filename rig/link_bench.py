"""What a command to the microscope takes, beside an empty echo over sockets of the same kind.

Both ends in processes of their own, over loopback, with keys. The loop's share of it is measured apart: the call that
puts a command into the queue, and the one that takes what was said.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
import zmq

from hardware.clock import HostClock
from hardware.links.secured import Gate, Keys, Refusals, bound_server, connected_client
from hardware.microscope.client import MicroscopeClient
from hardware.microscope.commander import LinkSettings
from hardware.protocols import DeviceError
from hardware.simulated.microscope.process import SimulatedMicroscopeProcess

EVERY_S = 0.005
"""Commands come no faster than the link takes them."""
LIMIT_S = 5.0
LIMIT_MS = 5000
LOOK_S = 0.0002
ENDS = b"end"

Figures = list[dict[str, float | str]]


def measure_link(*, n: int) -> Figures:
    """Return the figures: name, value, unit.

    Raises
    ------
    DeviceError
        The simulated microscope does not answer.
    """
    figures: Figures = _quantiles("echo of the same sockets", _echoed(n), unit="ms", factor=1e3)
    with SimulatedMicroscopeProcess(drift_ppm=50.0, offset_s=0.03) as process:
        settings = LinkSettings(who="bench", heartbeat_s=0.5, reply_s=LIMIT_S, plane_groups=1, frame_rate_hz=31.0)
        client = MicroscopeClient(peer=process.peer, settings=settings, clock=HostClock())
        try:
            client.open()
            client.check()
            asking_s, polling_s = _commanded(client, n)
            acknowledged_s, done_s = client.took_s
        finally:
            client.close()
    figures += _quantiles("microscope: command to acknowledgement", acknowledged_s, unit="ms", factor=1e3)
    figures += _quantiles("microscope: command to done", done_s, unit="ms", factor=1e3)
    figures += _quantiles("loop: giving a command", asking_s, unit="us", factor=1e6)
    figures += _quantiles("loop: taking what was said", polling_s, unit="us", factor=1e6)
    return figures


def _commanded(client: MicroscopeClient, n: int) -> tuple[list[float], list[float]]:
    """Give commands one after the other; return what the loop's calls took."""
    asking_s, polling_s = [], []
    for number in range(n):
        begun_s = time.perf_counter()
        client.ask_status()
        asking_s.append(time.perf_counter() - begun_s)
        _until(lambda number=number: client.n_done > number)  # type: ignore[misc]
        begun_s = time.perf_counter()
        client.poll()
        polling_s.append(time.perf_counter() - begun_s)
        time.sleep(EVERY_S)
    return asking_s, polling_s


def _echoed(n: int) -> list[float]:
    """Return how long an empty message took to come back, over and over."""
    here, there = get_context("spawn").Pipe()
    server, client = Keys.new(), Keys.new()
    process = get_context("spawn").Process(target=_echo, args=(there, server, client.public), daemon=True)
    process.start()
    port = here.recv()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    took_s = []
    try:
        socket = connected_client(context, f"tcp://127.0.0.1:{port}", keys=client, server_public=server.public)
        for number in range(n + 1):
            begun_s = time.perf_counter()
            socket.send(b"")
            if not socket.poll(LIMIT_MS):
                raise DeviceError(device="echo", what="does not answer", remedy="look what keeps this computer busy")
            socket.recv()
            if number:  # the first one waits for the connection
                took_s.append(time.perf_counter() - begun_s)
            time.sleep(EVERY_S)
        socket.send(ENDS)
        process.join(LIMIT_S)
    finally:
        process.kill()
        context.destroy(linger=0)
    return took_s


def _echo(there: Connection, keys: Keys, allowed: bytes) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    gate = Gate(context, allowed=[allowed], refusals=Refusals())
    socket, port = bound_server(context, keys=keys)
    there.send(port)
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(gate.socket, zmq.POLLIN)
    while True:
        poller.poll()
        gate.serve()
        while socket.poll(0):
            sender, data = socket.recv_multipart()
            if data == ENDS:
                context.destroy(linger=0)
                return
            socket.send_multipart([sender, data])


def _until(happened: Callable[[], bool]) -> None:
    limit_s = time.perf_counter() + LIMIT_S
    while not happened():
        if time.perf_counter() > limit_s:
            raise DeviceError(
                device="microscope",
                what=f"a command was not carried out within {LIMIT_S:g} s",
                remedy="look what keeps this computer busy",
            )
        time.sleep(LOOK_S)


def _quantiles(name: str, took_s: list[float], *, unit: str, factor: float) -> Figures:
    return [
        {"name": f"{name}, {words}", "value": float(np.quantile(took_s, q)) * factor, "unit": unit}
        for words, q in (("median", 0.5), ("99 %", 0.99))
    ]
