"""The other end, written from the protocol's page alone: no line of ours in it, only JSON over ZeroMQ."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from hardware.clock import HostClock
from hardware.events import MicroscopeEvent, MicroscopePhase, MicroscopeState, Verdict
from hardware.microscope.client import MicroscopeClient, Peer
from hardware.microscope.commander import LinkSettings
from hardware.protocols import DeviceError

P = MicroscopePhase
SOON_S = 20.0
AHEAD_S = 1234.5
"""Its clock's zero is its own."""
FITS = {
    "prepare": {"idle", "prepared", "stopped", "failed"},
    "arm": {"prepared"},
    "start": {"armed", "acquiring"},
}
BECOMES = {"prepare": "prepared", "arm": "armed", "start": "acquiring", "stop": "stopped", "abort": "idle"}


class OtherEnd:
    """A vendor's afternoon."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.run = secrets.token_hex(8)
        self.phase, self.plane_groups = "idle", 1
        self.session: str | None = None
        self.current: dict[str, Any] | None = None
        self.offered: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.done: list[str] = []
        self.status_due_s = 0.0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        self.context.destroy(linger=0)

    def serve(self) -> None:
        while not self.ended.is_set():
            if self.socket.poll(20):
                sender, data = self.socket.recv_multipart()
                message = json.loads(data)
                getattr(self, message["type"])(sender, message)
            if self.is_lost():
                self.current = None
                self.stop_by_itself()
            if self.now_s() >= self.status_due_s:
                self.tell()

    @staticmethod
    def now_s() -> float:
        return time.monotonic() + AHEAD_S

    def is_lost(self) -> bool:
        current = self.current
        return current is not None and self.now_s() - current["heard_s"] > 6 * current["heartbeat_s"]

    def send(self, to: bytes, **message: Any) -> None:
        self.socket.send_multipart([to, json.dumps({"v": 1, **message}).encode()])

    def tell(self) -> None:
        self.status_due_s = self.now_s() + 0.5
        if self.current is not None:
            told = {"phase": self.phase, "session": self.session, "plane_groups": self.plane_groups}
            told |= {"n_frames": None, "rate_hz": None, "files": [], "warnings": [], "at_s": self.now_s()}
            self.send(self.current["sender"], type="status", epoch=self.current["epoch"], **told)

    def answer(self, to: bytes, id_: str, stage: str, what: str = "") -> None:
        message = {"type": "reply", "id": id_, "stage": stage, "what": what, "phase": self.phase, "at_s": self.now_s()}
        self.answers[id_] = message
        self.send(to, **message)

    def stop_by_itself(self) -> None:
        if self.phase in ("prepared", "armed", "acquiring"):
            self.done.append("stopped by itself")
            self.phase = "stopped"

    def in_force(self, sender: bytes, epoch: str) -> bool:
        offered, current = self.offered.get(epoch), self.current
        if offered is not None and offered["sender"] == sender:
            follows = current is not None and offered["resumes"] == current["epoch"]
            if current is None or self.is_lost() or follows:
                current = self.current = offered
                self.offered.clear()
        good = current is not None and (current["epoch"], current["sender"]) == (epoch, sender)
        if current is None or not good or current.get("is_over"):
            self.answer(sender, epoch, "stale")
            return False
        current["heard_s"] = self.now_s()
        return True

    def hello(self, sender: bytes, hello: dict[str, Any]) -> None:
        current = self.current
        if current is not None and hello["resumes"] == current["epoch"]:
            current["is_over"] = True
        elif current is not None and not self.is_lost():
            self.answer(sender, hello["id"], "refused", "another rig commands")
            return
        epoch = secrets.token_hex(8)
        self.offered[epoch] = {
            "sender": sender,
            "epoch": epoch,
            "heard_s": self.now_s(),
            "heartbeat_s": hello["heartbeat_s"],
            "resumes": hello["resumes"],
        }
        about = {"name": "other end", "model": "m", "serial": "", "software": "", "phase": self.phase}
        self.send(sender, type="welcome", id=hello["id"], epoch=epoch, run=self.run, now_s=self.now_s(), **about)

    def beat(self, sender: bytes, beat: dict[str, Any]) -> None:
        received_at_s = self.now_s()
        if self.in_force(sender, beat["epoch"]):
            asked = {field: beat[field] for field in ("epoch", "n", "sent_at_s")}
            answered_at_s = self.now_s()
            self.send(sender, type="beatback", received_at_s=received_at_s, answered_at_s=answered_at_s, **asked)

    def goodbye(self, sender: bytes, goodbye: dict[str, Any]) -> None:
        if self.in_force(sender, goodbye["epoch"]):
            self.current = None
            self.stop_by_itself()

    def command(self, sender: bytes, command: dict[str, Any]) -> None:
        id_, verb = command["id"], command["verb"]
        if not self.in_force(sender, command["epoch"]):
            return
        if id_ in self.answers:
            self.send(sender, **self.answers[id_])
            return
        if not self.now_s() <= command["expires_at_s"] <= self.now_s() + 60:
            self.answer(sender, id_, "refused", "its time has come")
            return
        self.answer(sender, id_, "acknowledged")
        is_of_this = verb not in ("arm", "start") or command["session"] == self.session
        if not is_of_this or self.phase not in FITS.get(verb, {self.phase}):
            self.answer(sender, id_, "refused", f"is {self.phase}")
            return
        if verb == "prepare":
            self.session, self.plane_groups = command["session"], command["recording"]["plane_groups"]
        if verb != "status" and not (verb == "start" and self.phase == "acquiring"):
            self.done.append(verb)
        self.phase = BECOMES.get(verb, self.phase)
        self.tell()
        self.answer(sender, id_, "done")


@pytest.fixture
def other_end() -> Iterator[OtherEnd]:
    end = OtherEnd()
    yield end
    end.close()


def client_of(end: OtherEnd, who: str, *, reply_s: float = SOON_S) -> MicroscopeClient:
    peer = Peer(endpoint=f"tcp://127.0.0.1:{end.port}", keys=None, server_public=None)
    settings = LinkSettings(who=who, heartbeat_s=0.5, reply_s=reply_s, plane_groups=4, frame_rate_hz=11.0)
    return MicroscopeClient(peer=peer, settings=settings, clock=HostClock())


def until(client: MicroscopeClient, phase: MicroscopePhase) -> MicroscopeState:
    limit_s = time.monotonic() + SOON_S
    said: list[MicroscopeEvent] = []
    while time.monotonic() < limit_s:
        said += client.poll()
        for event in said:
            if isinstance(event, MicroscopeState) and event.phase is phase:
                return event
        time.sleep(0.005)
    raise TimeoutError(f"has not become {phase}: {said}")


def test_a_microscope_written_from_the_page_alone_is_commanded(other_end: OtherEnd) -> None:
    client = client_of(other_end, "rig1")
    try:
        assert client.open().details["name"] == "other end"
        clock = next(found for found in client.check() if found.name == "microscope clock")
        assert clock.verdict is Verdict.PASS
        for part in (1, 2):
            client.prepare(session_id="s1", mouse="M1", stage="OPHYS_4")
            until(client, P.PREPARED)
            client.arm()
            until(client, P.ARMED)
            client.start()
            until(client, P.ACQUIRING)
            if part == 1:
                client.stop()
                stopped = until(client, P.STOPPED)
                assert (stopped.plane_groups, stopped.n_frames) == (4, None)
        other = client_of(other_end, "rig2", reply_s=0.5)
        with pytest.raises(DeviceError, match="turns this rig away: another rig commands"):
            other.open()
        other.close()
    finally:
        client.close()
    limit_s = time.monotonic() + SOON_S
    while other_end.phase == "acquiring" and time.monotonic() < limit_s:
        time.sleep(0.005)
    recording = ["prepare", "arm", "start"]
    assert other_end.done == [*recording, "stop", *recording, "stopped by itself"]
    assert client.refusals.total == 0, "every byte of it was understood"
