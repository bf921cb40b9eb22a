"""Rig and microscope in two network namespaces, joined by a pair of virtual cables, and what can happen to those.

Run as a program it does all cases and prints what became of them as JSON: as root, or in a user namespace of its
own. A cable is pulled by ``ip link``, packets are lost by a filter of nftables, and delayed by a relay in user space,
since not every kernel has ``netem``.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from hardware.events import ImagingPhase
from hardware.simulated.microscope.faults import MicroscopeStep as Step
from hardware.simulated.microscope.process import SimulatedMicroscopeProcess
from stages.events import DeviceFault, FaultPolicy
from tests.sessions.rehearsals import AHEAD_S, Draw, Rehearsed, rehearse_with, wrongs

CLONE_NEWNET = 0x40000000
RIG, SCOPE = "10.77.0.1", "10.77.0.2"
LOSS = """
table inet loss {
  chain input {
    type filter hook input priority 0; policy accept;
    meta l4proto tcp numgen random mod 1000 < PER_MILLE drop
  }
}
"""
AS_ROOT = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c"]
AS_ROOT += ['mount -t tmpfs tmpfs /run; exec "$@"', "sh"]
"""Begins the command line where nobody is root: root of a user namespace is enough."""
PHASES = {
    ImagingPhase.PREPARING: "preparing",
    ImagingPhase.ARMING: "arming",
    ImagingPhase.STARTING: "starting",
    ImagingPhase.RUNNING: "running",
    ImagingPhase.STOPPING: "stopping",
}


@dataclass(frozen=True)
class Case:
    """What the network does."""

    name: str
    pulled_at: ImagingPhase | None = None
    """At which step of the session the cable is pulled."""
    pulled_s: float = 0.0
    loss_percent: int = 0
    lost_from: ImagingPhase | None = None
    """From which step on; from the very beginning without."""
    delay_s: float = 0.0
    """Each way."""
    held_at: ImagingPhase | None = None
    """At which step the relay holds everything back for ``held_s``, to deliver it then."""
    held_s: float = 0.0
    policy: FaultPolicy = FaultPolicy.CONTINUE
    wired: bool = False
    must_be_told: bool = False
    must_work: bool = False
    """It is nothing that a session may notice."""


PULLED = [
    Case(
        f"cable pulled for {seconds:g} s when {word}",
        pulled_at=phase,
        pulled_s=seconds,
        policy=policy,
        must_be_told=seconds > 1 and phase is not ImagingPhase.STOPPING,
    )
    for (phase, word), policy in zip(
        PHASES.items(),
        (FaultPolicy.CONTINUE, FaultPolicy.STOP, FaultPolicy.PAUSE, FaultPolicy.CONTINUE, FaultPolicy.STOP_NOW),
        strict=True,
    )
    for seconds in (0.3, 1.3)
]
CASES = [
    *PULLED,
    Case("a tenth of all packets lost", loss_percent=10),
    Case("a third of all packets lost", loss_percent=33, policy=FaultPolicy.PAUSE),
    Case("a third lost from when starting", loss_percent=33, lost_from=ImagingPhase.STARTING),
    Case("half lost from when running", loss_percent=50, lost_from=ImagingPhase.RUNNING, policy=FaultPolicy.STOP),
    Case("nearly all lost from when running", loss_percent=100, lost_from=ImagingPhase.RUNNING, must_be_told=True),
    Case("20 ms each way", delay_s=0.02, must_work=True),
    Case("120 ms each way", delay_s=0.12),
    Case("800 ms each way", delay_s=0.8),
    Case("held back for 1 s when arming", held_at=ImagingPhase.ARMING, held_s=1.0, must_be_told=True),
    Case(
        "held back for 1 s when starting",
        held_at=ImagingPhase.STARTING,
        held_s=1.0,
        policy=FaultPolicy.PAUSE,
        must_be_told=True,
    ),
    Case("held back for 1 s when stopping", held_at=ImagingPhase.STOPPING, held_s=1.0),
]
SOAK = [
    replace(case, policy=policy, wired=wired, name=f"{case.name}, {policy.value}{', wired' if wired else ''}")
    for case in CASES
    for policy, wired in zip(FaultPolicy, (False, True, False, True), strict=True)
    if case.policy is not policy
]
"""The same under every other policy, with and without a trigger's wire."""
AT_ONCE = 8


def _run(*words: str, told: str | None = None) -> None:
    done = subprocess.run(words, input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


class Cable:
    """Two namespaces and the cable between them."""

    def __init__(self, number: int) -> None:
        tag = f"{os.getpid()}x{number}"
        self.rig, self.scope = f"rig{tag}", f"scope{tag}"
        self._end = "veth0"

    def __enter__(self) -> Self:
        for name in (self.rig, self.scope):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run(*f"ip link add {self._end} netns {self.rig} type veth peer name veth1 netns {self.scope}".split())
        for name, end, address in ((self.rig, "veth0", RIG), (self.scope, "veth1", SCOPE)):
            _run(*f"ip -n {name} addr add {address}/24 dev {end}".split())
            _run(*f"ip -n {name} link set {end} up".split())
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.rig, self.scope):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def enter(self) -> None:
        """Have this thread, and what it starts, be on the rig's side."""
        with Path("/run/netns", self.rig).open() as file:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

    def pull(self, seconds: float) -> None:
        """Pull the cable, and put it back later."""
        _run("ip", "-n", self.rig, "link", "set", self._end, "down")
        time.sleep(seconds)
        _run("ip", "-n", self.rig, "link", "set", self._end, "up")

    def lose(self, percent: int) -> None:
        """Lose packets on both sides."""
        for name in (self.rig, self.scope):
            _run(
                "ip",
                "netns",
                "exec",
                name,
                "nft",
                "-f",
                "-",
                told=LOSS.replace("PER_MILLE", str(min(percent * 10, 999))),
            )


class Relay:
    """Hands bytes on, some time after they have come; on request nothing at all for a while."""

    def __init__(self, to: tuple[str, int], *, delay_s: float) -> None:
        self._to = to
        self._delay_s = delay_s
        self._held_until_s = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._listener, *self._ends):
            end.close()

    def hold(self, seconds: float) -> None:
        """Hold back everything until then; it arrives all the same."""
        self._held_until_s = time.perf_counter() + seconds

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._to)
            except OSError:
                return
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._hand_on, args=(source, sink), daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        """Read at once, write later: what is under way does not hold up what follows."""
        under_way: list[tuple[float, bytes]] = []
        came = threading.Condition()

        def write() -> None:
            while True:
                with came:
                    came.wait_for(lambda: bool(under_way))
                    at_s, data = under_way.pop(0)
                while (left_s := max(at_s, self._held_until_s) - time.perf_counter()) > 0:
                    time.sleep(min(left_s, 0.01))
                try:
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)
                except OSError:
                    return

        threading.Thread(target=write, daemon=True).start()
        while True:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            with came:
                under_way.append((time.perf_counter() + self._delay_s, data))
                came.notify_all()
            if not data:
                return


def run_case(number: int, case: Case) -> Rehearsed:
    """Rehearse a session over a cable of its own."""
    draw = Draw(None, Step.HELLO, 0.0, 0.0, case.policy, case.wired)
    with ExitStack() as stack:
        cable = stack.enter_context(Cable(number))
        cable.enter()
        process = stack.enter_context(
            SimulatedMicroscopeProcess(
                drift_ppm=50.0,
                offset_s=0.03,
                ahead_s=AHEAD_S,
                host=SCOPE,
                prefix=["ip", "netns", "exec", cable.scope],
            )
        )
        if case.loss_percent and case.lost_from is None:
            cable.lose(case.loss_percent)
        peer = process.peer
        relay: Relay | None = None
        if case.delay_s or case.held_at is not None:
            relay = stack.enter_context(Relay((SCOPE, int(peer.endpoint.rpartition(":")[2])), delay_s=case.delay_s))
            peer = replace(peer, endpoint=f"tcp://127.0.0.1:{relay.port}")
        once = {"pulled": False, "held": False, "lossy": False}

        def on_phase(phase: ImagingPhase) -> None:
            if phase is case.pulled_at and not once["pulled"]:
                once["pulled"] = True
                threading.Thread(target=cable.pull, args=(case.pulled_s,)).start()
            if phase is case.lost_from and not once["lossy"]:
                once["lossy"] = True
                cable.lose(case.loss_percent)
            if phase is case.held_at and relay is not None and not once["held"]:
                once["held"] = True
                relay.hold(case.held_s)

        patient = not case.loss_percent and case.delay_s < 0.1
        return rehearse_with(draw, process=process, peer=peer, patient=patient, on_phase=on_phase)


def judged(case: Case, one: Rehearsed) -> dict[str, object]:
    """Return what became of a case, and what is not as it must be."""
    bad = wrongs(one)
    lost = bool(one.all(DeviceFault))
    if case.must_be_told and not lost:
        bad.append("the log does not tell of it")
    if case.must_work and (lost or one.refused):
        bad.append("it should have been bearable")
    return {
        "case": case.name,
        "wrong": bad,
        "story": one.story() if bad else "",
        "lost": lost,
        "refused": bool(one.refused),
        "took_s": one.took_s,
        "left_s": one.stopped_after_s,
    }


def run_all(cases: list[Case]) -> list[Rehearsed]:
    """Run several at once, each in a thread that is never used again: it has changed its namespace."""

    def one(number: int) -> Rehearsed:
        with ThreadPoolExecutor(1) as own:
            return own.submit(run_case, number, cases[number]).result()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(len(cases))))


def main() -> int:
    """Run the cases of tests or those of soaks."""
    cases = {"test": CASES, "soak": SOAK}[sys.argv[1]]
    sys.stdout.write(json.dumps([judged(case, one) for case, one in zip(cases, run_all(cases), strict=True)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
