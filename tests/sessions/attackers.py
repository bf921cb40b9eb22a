"""Everything that may be done to a session's command socket, by a program of its own: run by tests.

The socket's address, its keys (some of which an attacker should not have) and a recording of an earlier session come on
standard input; what was done goes to standard output.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import threading
import time
from contextlib import closing, suppress

import zmq

from hardware.links.secured import Keys, connected_client

N_RANDOM = 10_000
GIGABYTE = 2**30
GREETING = 64
NICE = 10
"""What is measured is what the session does about it, not who wins the processor."""


class Attack:
    """On one address."""

    def __init__(self, told: dict[str, str], *, until_s: float) -> None:
        self.endpoint = told["endpoint"]
        self.port = int(self.endpoint.rpartition(":")[2])
        self.server = told["server_public"].encode()
        self.known = Keys(told["client_public"].encode(), told["client_secret"].encode())
        self.tape = base64.b64decode(told["tape"])
        self.until_s = until_s
        self.done: dict[str, int] = {}

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until_s

    def count(self, what: str, n: int = 1) -> None:
        self.done[what] = self.done.get(what, 0) + n

    def strangers(self) -> None:
        """Ask with a key that is not allowed, and with none, over and over."""
        while self.goes_on:
            for keys in (Keys.new(), None):
                context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
                client = connected_client(context, self.endpoint, keys=keys, server_public=self.server)
                client.send(b'{"id":"1","verb":"stop-now","who":"stranger","expires_at":9e99}')
                self.count("answers to strangers", int(bool(client.poll(200))))
                self.count("strangers")
                context.destroy(linger=0)

    def replays(self) -> None:
        """Send what an earlier session was sent, byte by byte as it was."""
        while self.goes_on:
            with closing(socket.create_connection(("127.0.0.1", self.port))) as again:
                again.settimeout(0.5)
                try:
                    again.sendall(self.tape[:GREETING])
                    again.recv(65536)
                    again.sendall(self.tape[GREETING:])
                    while again.recv(65536):
                        pass
                except OSError:
                    pass
            self.count("replays")

    def noise(self) -> None:
        """Offer random strings with the right key."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        client = connected_client(context, self.endpoint, keys=self.known, server_public=self.server)
        client.sndhwm = N_RANDOM
        for _ in range(N_RANDOM):
            client.send(os.urandom(100))
            self.count("random strings offered")
        while self.goes_on:
            time.sleep(0.05)
        context.destroy(linger=0)

    def bare(self) -> None:
        """Connect and send noise that is no greeting."""
        while self.goes_on:
            with closing(socket.create_connection(("127.0.0.1", self.port))) as bare, suppress(OSError):
                bare.sendall(os.urandom(200))
            self.count("bare connections")
            time.sleep(0.002)

    def gigabyte(self) -> None:
        """Send a gigabyte with the right key."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        client = connected_client(context, self.endpoint, keys=self.known, server_public=self.server)
        client.send(bytes(GIGABYTE), copy=False)
        self.count("gigabytes")
        while self.goes_on:
            time.sleep(0.05)
        context.destroy(linger=0)


def main() -> int:
    """Attack for the time that is given."""
    os.nice(NICE)
    told = json.loads(sys.stdin.read())
    attack = Attack(told, until_s=time.monotonic() + told["seconds"])
    threads = [
        threading.Thread(target=each, daemon=True)
        for each in (attack.strangers, attack.replays, attack.noise, attack.bare, attack.gigabyte)
    ]
    for thread in threads:
        thread.start()
    while attack.goes_on:
        time.sleep(0.05)
    sys.stdout.write(json.dumps(attack.done))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
