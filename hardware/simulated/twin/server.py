"""The twin's process: serves one card on loopback until its standard input ends.

Where its time is the world's it is of high priority: a real card doesn't wait for a processor that others use.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent import futures

import grpc

from hardware.priority import raise_priority
from hardware.simulated.twin.desk import new_desk

WORKERS = 128
"""One is held by each stream and each read that waits; with too few every other call hangs (NIDAQ_NOTES 4)."""


def main(argv: list[str]) -> int:
    """Serve; the options come as JSON, the port goes to standard output."""
    options = json.loads(argv[1])
    if not options["stepped"]:
        raise_priority()  # before any thread is begun
    servicer, desk = new_desk(options)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=WORKERS), options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers(tuple(servicer.handlers() + desk.handlers()))
    port = server.add_insecure_port(f"127.0.0.1:{options['port']}")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop(0)
    os._exit(0)  # workers that wait for nobody would keep the process
