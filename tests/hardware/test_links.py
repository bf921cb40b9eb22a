"""Keys and sockets between programs: who may talk, how large, how often, and what is said of the rest."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import msgspec
import pytest
import zmq

from hardware.links.keys import KeyFileError, PublicKey, listed_keys, make_key, read_public, read_secret
from hardware.links.secured import Gate, Keys, Pace, Refusals, bound_server, connected_client

MADE = "2026-01-01T00:00:00+00:00"
posix = pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX's")


def test_a_key_is_read_as_it_was_made(tmp_path: Path) -> None:
    key = make_key(tmp_path / "keys", "rig1", made_at=MADE)
    assert read_secret(tmp_path / "keys", "rig1") == key
    assert read_public(tmp_path / "keys", "rig1").public == key.public
    assert zmq.curve_public(key.secret.encode()).decode() == key.public


def test_the_secret_half_is_in_neither_the_public_file_nor_the_keys_own_words(tmp_path: Path) -> None:
    key = make_key(tmp_path, "rig1", made_at=MADE)
    assert key.secret not in (tmp_path / "rig1.public.json").read_text()
    assert key.secret not in repr(key)


@posix
def test_only_its_owner_may_read_a_secret_key_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_key(tmp_path, "rig1", made_at=MADE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "rig1.secret.json").stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    make_key(tmp_path, "rig1", made_at=MADE)
    (tmp_path / "rig1.secret.json").chmod(mode)
    with pytest.raises(KeyFileError, match=rf"others can read it \(mode {mode:04o}\), so it is no secret; chmod 600"):
        read_secret(tmp_path, "rig1")


def test_no_secret_comes_to_lie_beside_the_public_key_of_another_computer(tmp_path: Path) -> None:
    make_key(tmp_path / "there", "scope", made_at=MADE)
    here = tmp_path / "here"
    here.mkdir()
    (here / "scope.public.json").write_bytes((tmp_path / "there" / "scope.public.json").read_bytes())
    with pytest.raises(KeyFileError, match=r"scope\.public\.json: there is such a key already"):
        make_key(here, "scope", made_at=MADE)
    assert [path.name for path in here.iterdir()] == ["scope.public.json"]
    assert [own for _, own in listed_keys(here)] == [False]


def test_what_is_wrong_with_a_key_is_said_with_its_file(tmp_path: Path) -> None:
    key = make_key(tmp_path, "rig1", made_at=MADE)
    with pytest.raises(KeyFileError, match=r"rig1\.secret\.json: there is such a key already"):
        make_key(tmp_path, "rig1", made_at=MADE)
    with pytest.raises(
        KeyFileError, match=r"scope\.public\.json: there is no such key; copy it here from the computer"
    ):
        read_public(tmp_path, "scope")
    with pytest.raises(KeyFileError, match=r"'\.\./rig1' can't be the name of a key"):
        read_secret(tmp_path, "../rig1")
    (tmp_path / "rig1.public.json").write_text("{")
    with pytest.raises(KeyFileError, match=r"rig1\.public\.json: no key file"):
        read_public(tmp_path, "rig1")
    other = msgspec.structs.replace(key, public="0" * 40)
    (tmp_path / "rig1.secret.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(KeyFileError, match="its two halves don't belong together"):
        read_secret(tmp_path, "rig1")


@pytest.mark.parametrize("text", ["~" * 40, "é" * 40, "#" * 40, "0" * 39], ids=["other", "not ascii", "too much", "39"])
def test_a_key_that_is_no_z85_is_said_with_its_file(tmp_path: Path, text: str) -> None:
    key = make_key(tmp_path, "rig1", made_at=MADE)
    (tmp_path / "rig1.secret.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(key, secret=text)))
    with pytest.raises(KeyFileError, match=r"rig1\.secret\.json: its two halves don't belong together"):
        read_secret(tmp_path, "rig1")
    public = PublicKey(name="rig1", public=text, made_at=MADE)
    (tmp_path / "rig1.public.json").write_bytes(msgspec.json.encode(public))
    with pytest.raises(KeyFileError, match=r"rig1\.public\.json: holds no key of 40 characters in Z85"):
        read_public(tmp_path, "rig1")


def test_a_folder_lists_its_keys_and_says_whose_are_its_own(tmp_path: Path) -> None:
    make_key(tmp_path / "rig", "rig1", made_at=MADE)
    make_key(tmp_path / "scope", "scope", made_at=MADE)
    (tmp_path / "rig" / "scope.public.json").write_bytes((tmp_path / "scope" / "scope.public.json").read_bytes())
    assert [(key.name, own) for key, own in listed_keys(tmp_path / "rig")] == [("rig1", True), ("scope", False)]
    assert listed_keys(tmp_path / "nowhere") == []


def test_no_more_than_a_burst_and_so_many_a_second_are_taken() -> None:
    pace = Pace(per_s=100.0, burst=10)
    assert sum(pace.allows(0.0) for _ in range(1000)) == 10
    assert pace.wait_s == pytest.approx(0.01)
    assert sum(pace.allows(0.5) for _ in range(1000)) == 10
    taken = sum(pace.allows(1.0 + n * 0.001) for n in range(1000))
    assert taken == pytest.approx(100 + 10, abs=2)


def test_what_was_looked_for_and_not_there_is_given_back() -> None:
    pace = Pace(per_s=1.0, burst=1)
    for _ in range(5):
        assert pace.allows(0.0)
        pace.give_back()


def test_refusals_are_counted_always_and_told_once_a_second_at_most() -> None:
    refusals, told = Refusals(), []
    for n in range(10_000):
        refusals.add("not understood" if n % 2 else "stranger's key")
        told.append(refusals.take(n * 0.001))
    assert refusals.total == 10_000
    lines = [line for line in told if line]
    assert len(lines) == 10
    assert lines[1] == "500 × not understood, 500 × stranger's key"


class Served:
    """A server that answers what it is sent, while the test looks."""

    def __init__(self, *, allowed: list[bytes]) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.keys, self.refusals = Keys.new(), Refusals()
        self.gate = Gate(self.context, allowed=allowed, refusals=self.refusals)
        self.socket, self.port = bound_server(self.context, keys=self.keys)

    def heard(self, *, within_s: float) -> list[list[bytes]]:
        """What has come, with keys being judged meanwhile."""
        heard: list[list[bytes]] = []
        limit_s = time.monotonic() + within_s
        while time.monotonic() < limit_s and not heard:
            self.gate.serve()
            if self.socket.poll(10):
                heard.append(self.socket.recv_multipart())
        return heard


@pytest.mark.parametrize(
    ("who", "is_heard"), [("known", True), ("stranger", False), ("without keys", False), ("wrong server key", False)]
)
def test_only_who_has_a_known_key_and_knows_the_servers_is_heard(who: str, is_heard: bool) -> None:
    known, stranger = Keys.new(), Keys.new()
    served = Served(allowed=[known.public])
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        client = connected_client(
            context,
            f"tcp://127.0.0.1:{served.port}",
            keys={"without keys": None, "stranger": stranger}.get(who, known),
            server_public=stranger.public if who == "wrong server key" else served.keys.public,
        )
        client.send(b"hello")
        heard = served.heard(within_s=5.0 if is_heard else 0.4)
        assert bool(heard) is is_heard
        assert (served.refusals.n.get("stranger's key", 0) > 0) is (who == "stranger")
    finally:
        context.destroy(linger=0)
        served.context.destroy(linger=0)


def test_a_server_listens_on_loopback_unless_it_is_told_otherwise() -> None:
    served = Served(allowed=[])
    try:
        assert served.socket.getsockopt_string(zmq.LAST_ENDPOINT) == f"tcp://127.0.0.1:{served.port}"
    finally:
        served.context.destroy(linger=0)
