"""``rig keys`` and ``rig microscope``, and what a rig's file says of its microscope."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import hardware.microscope
from hardware.clock import HostClock
from hardware.events import MicroscopePhase, MicroscopeState
from hardware.microscope.client import MicroscopeClient, Peer
from hardware.microscope.commander import LinkSettings
from rig.cli import app
from rig.config.files import load_rig, shipped
from rig.config.load import ConfigError
from rig.config.rig import PLAIN_TEXT, ProcessMicroscopeConfig, ZmqMicroscopeConfig
from rig.session.assemble import SessionPlan
from rig.session.microscopes import link_settings, peer_of
from tests.builders import plan, rig_config

SOON_S = 30.0


@pytest.fixture(autouse=True)
def _keys_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def rig(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_keys_are_made_listed_and_shown_and_the_secret_is_never_printed(tmp_path: Path) -> None:
    made = rig("keys", "make", "rig1")
    secret = tmp_path / "config" / "open-vision-rig" / "keys" / "rig1.secret.json"
    words = re.search(r'"secret": *"([^"]+)"', secret.read_text())
    assert words is not None
    listed, shown = rig("keys", "list"), rig("keys", "show", "rig1")
    assert [result.exit_code for result in (made, listed, shown)] == [0, 0, 0]
    assert "only you can read it" in made.stdout
    assert listed.stdout.startswith("rig1  own  ")
    assert "rig1.public.json" in shown.stdout
    assert words[1] not in made.stdout + listed.stdout + shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["keys", "show", "scope"], "of this computer's own: rig keys make scope"),
        (["keys", "make", "a/b"], "'a/b' can't be the name of a key"),
        (
            ["microscope", "serve", "--adapter", "command"],
            "--key: name this computer's key, and with --allow each rig's",
        ),
        (
            ["microscope", "serve", "--adapter", "command", "--plain-text", "yes"],
            f"--plain-text: must say in so many words: {PLAIN_TEXT}",
        ),
        (
            ["microscope", "serve", "--adapter", "command", "--plain-text", PLAIN_TEXT, "--start", "scan"],
            "no program to stop; nothing could be recorded",
        ),
        (
            ["microscope", "serve", "--adapter", "command", "--key", "nobody", "--allow", "rig1"],
            "nobody.secret.json: there is no such key; make it with: rig keys make nobody",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(arguments: list[str], said: str) -> None:
    result = rig(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr


def test_without_keys_the_list_says_how_to_make_one() -> None:
    assert "no keys; make one with: rig keys make NAME" in rig("keys", "list").stdout


def test_the_protocol_is_printed_on_one_page() -> None:
    printed = rig("microscope", "protocol").stdout
    assert printed.strip() == (hardware.microscope.__doc__ or "").strip()
    for word in ("hello", "command", "beat", "goodbye", "welcome", "reply", "beatback", "status", "expires_at_s"):
        assert word in printed


def zmq_config(port: int, keys: Path) -> ZmqMicroscopeConfig:
    return ZmqMicroscopeConfig(
        kind="zmq", address=f"127.0.0.1:{port}", keys=str(keys), own_key="rig1", peer_key="scope", reply_s=10.0
    )


def test_a_microscope_is_served_from_the_command_line_and_commanded_with_key_files(tmp_path: Path) -> None:
    keys, said = tmp_path / "keys", tmp_path / "said"
    for name in ("rig1", "scope"):
        assert rig("keys", "make", name, "--keys", keys).exit_code == 0
    writing = f"{sys.executable} -c \"open('{said}', 'a').write('WORD '); print('laser on')\""
    program = [sys.executable, "-m", "rig", "microscope", "serve", "--adapter", "command", "--port", "0"]
    program += ["--keys", str(keys), "--key", "scope", "--allow", "rig1"]
    program += ["--start", writing.replace("WORD", "start-{session}"), "--stop", writing.replace("WORD", "stop")]
    root = Path(__file__).resolve().parents[2]
    serving = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ})
    try:
        assert serving.stdout is not None
        line = serving.stdout.readline()
        found = re.search(r"listens at 127\.0\.0\.1:(\d+), for rig1", line)
        assert found is not None, line
        config = zmq_config(int(found[1]), keys)
        client = MicroscopeClient(peer=peer_of(config), settings=link_settings("r", config), clock=HostClock())
        client.open()
        client.prepare(session_id="s1", mouse="M1", stage="S")
        client.arm()
        client.start()
        clock = HostClock()
        limit_s = clock.now_s() + SOON_S
        seen: list[MicroscopePhase] = []
        while MicroscopePhase.ACQUIRING not in seen and clock.now_s() < limit_s:
            seen += [event.phase for event in client.poll() if isinstance(event, MicroscopeState)]
            clock.sleep_until(clock.now_s() + 0.01)
        client.close()  # without a stop: the session's end is enough
        while "stop" not in said.read_text() and clock.now_s() < limit_s:
            clock.sleep_until(clock.now_s() + 0.01)
        serving.send_signal(signal.SIGINT)
        told = serving.stdout.read()
        assert serving.wait(SOON_S) == 0
    finally:
        serving.kill()
        serving.wait()
        serving.stdout.close()  # type: ignore[union-attr]
    assert said.read_text().split() == ["start-s1", "stop"]
    said_when = [re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (.*)", each) for each in told.splitlines()]
    lines = [each[1] for each in said_when if each is not None]
    assert len(lines) == len(said_when), told
    wanted = ["r commands this microscope", "prepare s1: done", "arm s1: done", "start s1: done"]
    wanted += ["r has said goodbye", "stopped, since the rig has said goodbye"]
    assert [each for each in lines if each in wanted] == wanted
    assert any(each.endswith(": laser on") for each in lines), "what its programs say"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"], ids=["ended", "its terminal closed"])
def test_a_microscope_is_stopped_before_its_program_ends(tmp_path: Path, name: str) -> None:
    said = tmp_path / "said"
    writing = f"{sys.executable} -c \"open('{said}', 'a').write('WORD ')\""
    program = [sys.executable, "-m", "rig", "microscope", "serve", "--adapter", "command", "--port", "0"]
    program += ["--plain-text", PLAIN_TEXT]
    program += ["--start", writing.replace("WORD", "start"), "--stop", writing.replace("WORD", "stop")]
    root = Path(__file__).resolve().parents[2]
    serving = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ})
    try:
        assert serving.stdout is not None
        found = re.search(r"listens at 127\.0\.0\.1:(\d+), in plain text", serving.stdout.readline())
        assert found is not None
        peer = Peer(endpoint=f"tcp://127.0.0.1:{found[1]}", keys=None, server_public=None)
        settings = LinkSettings(who="r", heartbeat_s=5.0, reply_s=10.0, plane_groups=1, frame_rate_hz=31.0)
        client = MicroscopeClient(peer=peer, settings=settings, clock=HostClock())
        client.open()
        client.prepare(session_id="s1", mouse="M1", stage="S")
        client.arm()
        client.start()
        clock = HostClock()
        limit_s = clock.now_s() + SOON_S
        while not (said.exists() and "start" in said.read_text()) and clock.now_s() < limit_s:
            clock.sleep_until(clock.now_s() + 0.01)
        serving.send_signal(getattr(signal, name))
        serving.stdout.read()
        assert serving.wait(SOON_S) == 0
        client.close()
    finally:
        serving.kill()
        serving.wait()
        serving.stdout.close()  # type: ignore[union-attr]
    assert said.read_text().split() == ["start", "stop"]


LINK = shipped("rigs")["simulated_link"].read_text(encoding="utf-8")
ZMQ = """  kind: zmq
  address: scope.lab:5640
  keys: keys
  own_key: rig1
  peer_key: scope
"""


def with_zmq(text: str, **changes: str) -> str:
    before, _, after = text.partition("microscope:\n")
    after = after[after.index("lick_latency_s") :]
    fields = ZMQ
    for field, value in changes.items():
        if re.search(f"  {field}: .*\n", fields):
            fields = re.sub(f"  {field}: .*\n", f"  {field}: {value}\n" if value else "", fields)
        else:
            fields += f"  {field}: {value}\n"
    return f"{before}microscope:\n{fields}{after}"


def loaded(tmp_path: Path, text: str) -> str:
    """What is said of a rig's file; nothing, if it is fine."""
    path = tmp_path / "rig.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_rig(str(path))
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LINK, ""),
        (with_zmq(LINK), ""),
        (with_zmq(LINK, keys="null", own_key="null", peer_key="null", plain_text=PLAIN_TEXT), ""),
        (
            with_zmq(LINK, keys="null", own_key="null", peer_key="null"),
            "microscope.keys: is missing: no microscope is commanded without keys; `rig keys make` makes them",
        ),
        (with_zmq(LINK, keys="null", own_key="null", peer_key="null", plain_text="true"), "microscope.plain_text"),
        (
            with_zmq(LINK, keys="null", own_key="null", peer_key="null", plain_text="yes please"),
            f"microscope.plain_text: is null, or says in so many words: {PLAIN_TEXT}",
        ),
        (with_zmq(LINK, plain_text=PLAIN_TEXT), "microscope.keys: must be null where plain_text does without keys"),
        (with_zmq(LINK, address="scope.lab"), "microscope.address"),
        (
            LINK.replace("plane_groups: 4 ", "plane_groups: 5 "),
            "microscope.plane_groups: input should be less than or equal to 4; it is 5",
        ),
        (
            LINK.replace("imaging: true", "imaging: false"),
            "microscope: must be null on a rig that does not image; or set imaging: true",
        ),
        (
            LINK.replace("fault: null ", "fault: {kind: explodes, step: arm} "),
            "microscope.fault.kind: input should be 'no_answer', 'slow', 'refuses'",
        ),
        (
            LINK.replace("kind: process ", "kind: proces "),
            "microscope: kind 'proces' is not known; one of 'simulated', 'process', 'zmq'",
        ),
    ],
)
def test_a_rigs_file_says_which_microscope_and_what_is_wrong_with_it(tmp_path: Path, text: str, says: str) -> None:
    said = loaded(tmp_path, text)
    assert says in said
    assert bool(said) == bool(says)


def test_a_real_card_takes_a_real_microscope_and_no_simulated_one(tmp_path: Path) -> None:
    card = (
        shipped("rigs")["example_nidaq"]
        .read_text(encoding="utf-8")
        .replace("imaging: false", "imaging: true\nmicroscope:\n" + ZMQ)
    )
    assert loaded(tmp_path, card) == ""
    process = card.replace(ZMQ, "  kind: process\n")
    assert "microscope.kind: can't be a simulated process with a real card: its pulses reach no wire" in loaded(
        tmp_path, process
    )
    within = card.replace(ZMQ, "  kind: simulated\n")
    assert "microscope: must be of kind zmq, or process on a twin, where a card of kind nidaq images" in loaded(
        tmp_path, within
    )


def test_a_microscope_behind_sockets_runs_in_real_time_only() -> None:
    config = rig_config("simulated_link")
    assert isinstance(config.microscope, ProcessMicroscopeConfig)
    with pytest.raises(
        ConfigError, match="--fast: simulated_link has a microscope of kind process, which runs in real time"
    ):
        plan(config=config, fast=True)
    assert isinstance(plan(config=config, fast=False), SessionPlan)


def test_a_rig_is_examined_though_its_microscope_is_away(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    nobody = {"keys": "null", "own_key": "null", "peer_key": "null", "plain_text": PLAIN_TEXT, "reply_s": "0.3"}
    path.write_text(with_zmq(LINK, address="127.0.0.1:9", **nobody), encoding="utf-8")

    result = rig("check", "--rig", path)

    assert result.exit_code == 1
    assert "✗ FAIL  microscope" in result.output, result.output
    assert "✓ pass  lick line: low." in result.output, result.output
