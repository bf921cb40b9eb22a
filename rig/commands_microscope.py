"""The commands about keys and about microscopes; ``rig.cli`` takes them in."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

import hardware.microscope
from hardware.links.keys import PUBLIC, SECRET, listed_keys, make_key, read_public, read_secret
from hardware.links.secured import Keys
from hardware.microscope.adapters import CommandLine, TriggerLine
from hardware.microscope.messages import Verb
from hardware.microscope.server import Instrument, MicroscopeServer
from hardware.nidaq.trigger import trigger_output
from rig.config.load import ConfigError, Problem
from rig.config.rig import PLAIN_TEXT

PORT = 5640
"""Where a microscope listens, unless it is told otherwise."""
ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""What ends a program that serves a microscope: Ctrl-C, and a closed terminal too, must stop its recording first. The
third is unknown to Windows, where a window that is closed sends the fourth."""
Folder = Annotated[Path | None, typer.Option("--keys", help="Folder of key files; this user's without it.")]


class Adapter(StrEnum):
    """How the microscope is reached from its computer."""

    COMMAND = "command"
    TRIGGER = "trigger"


def key_commands(
    *, out: Console, sentences: Callable[[], AbstractContextManager[None]], folder: Callable[[], Path]
) -> typer.Typer:
    """Return the commands of ``rig keys``.

    Parameters
    ----------
    out
        Where they say what they made.
    sentences
        Turns the errors we know into a sentence and exit code 1.
    folder
        Returns where this user's keys are.
    """
    keys = typer.Typer(
        help="Make the keys with which rig and microscope know each other, and list them.", no_args_is_help=True
    )

    @keys.command("make")
    def make(
        name: Annotated[str, typer.Argument(help="This computer's name, as others will know it.", show_default=False)],
        where: Folder = None,
    ) -> None:
        """Make a pair of keys: a secret one that stays here, a public one to be copied to the other side.

        Example: rig keys make rig1
        """
        with sentences():
            place = where or folder()
            key = make_key(place, name, made_at=datetime.now(UTC).isoformat(timespec="seconds"))
            out.print(f"{place / (key.name + SECRET)}  stays here; only you can read it", markup=False)
            out.print(f"{place / (key.name + PUBLIC)}  copy it into the folder of keys on the other side", markup=False)

    @keys.command("list")
    def list_(where: Folder = None) -> None:
        """List the public keys that are here, and whose secret half is.

        Example: rig keys list
        """
        with sentences():
            place = where or folder()
            found = listed_keys(place)
            for key, own in found:
                out.print(f"{key.name}  {'own' if own else 'another computer'}  {key.made_at}", markup=False)
            if not found:
                out.print(f"{place}: no keys; make one with: rig keys make NAME", markup=False)

    @keys.command("show")
    def show(
        name: Annotated[str, typer.Argument(help="Of which key.", show_default=False)], where: Folder = None
    ) -> None:
        """Show a public key and its file. A secret one is never shown.

        Example: rig keys show rig1
        """
        with sentences():
            place = where or folder()
            key = read_public(place, name)
            out.print(f"{key.name}  {key.public}  made {key.made_at}", markup=False)
            out.print(str(place / (key.name + PUBLIC)), markup=False)

    return keys


def microscope_commands(
    *, out: Console, sentences: Callable[[], AbstractContextManager[None]], folder: Callable[[], Path]
) -> typer.Typer:
    """Return the commands of ``rig microscope``; see ``key_commands`` for what they take."""
    microscope = typer.Typer(
        help="The microscope's end of the link: the protocol, and two ready adapters.", no_args_is_help=True
    )

    @microscope.command("protocol")
    def protocol() -> None:
        """Print the protocol on one page, for whoever writes the other end.

        Example: rig microscope protocol
        """
        out.print((hardware.microscope.__doc__ or "").rstrip(), markup=False)

    @microscope.command("serve")
    def serve(
        *,
        adapter: Annotated[Adapter, typer.Option(help="trigger: a card's line; command: programs.")],
        key: Annotated[str | None, typer.Option(help="Name of this computer's own key.")] = None,
        allow: Annotated[
            list[str] | None, typer.Option(help="Name of a rig's public key that may command; again for more.")
        ] = None,
        where: Folder = None,
        bind: Annotated[str, typer.Option(help="Address to listen at; another than loopback opens it.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = PORT,
        plain_text: Annotated[
            str | None, typer.Option(help=f"In place of keys, in so many words: '{PLAIN_TEXT}'.")
        ] = None,
        device: Annotated[str, typer.Option(help="trigger: the card's name.")] = "Dev1",
        line: Annotated[str, typer.Option(help="trigger: its output line.")] = "port1/line6",
        address: Annotated[str | None, typer.Option(help="trigger: host:port of its device server.")] = None,
        start: Annotated[str, typer.Option(help="command: what starts a recording.")] = "",
        stop: Annotated[str, typer.Option(help="command: what stops it.")] = "",
        prepare: Annotated[str, typer.Option(help="command: what prepares it.")] = "",
        arm: Annotated[str, typer.Option(help="command: what has it wait for the trigger.")] = "",
        abort: Annotated[str, typer.Option(help="command: what throws it away.")] = "",
        limit_s: Annotated[float, typer.Option(min=0.1, help="command: the longest that one may take.")] = 10.0,
    ) -> None:
        """Serve a microscope that does not know the protocol, until Ctrl-C. Runs on the microscope's computer.

        In programs ``{session}``, ``{mouse}``, ``{stage}``, ``{plane_groups}`` and ``{frame_rate_hz}`` stand for the
        recording's.

        Example: rig microscope serve --adapter command --key scope --allow rig1 --start "scan {mouse}" --stop "halt"
        """
        with sentences():
            own, allowed = _keys(key, allow or [], where or folder(), plain_text)

            def tell(words: str) -> None:
                out.print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {words}", markup=False, soft_wrap=True)

            programs = {Verb.START: start, Verb.STOP: stop, Verb.PREPARE: prepare, Verb.ARM: arm, Verb.ABORT: abort}
            with (
                _instrument(adapter, programs, limit_s, device, line, address, tell) as instrument,
                MicroscopeServer(
                    instrument,
                    keys=own,
                    allowed=allowed,
                    host=bind,
                    port=port,
                    tell=tell,
                ) as server,
            ):
                secured = "in plain text" if own is None else f"for {', '.join(allow or [])}"
                tell(f"{instrument.about().name}: listens at {bind}:{server.port}, {secured}")
                _until_interrupted()

    return microscope


def _keys(key: str | None, allow: list[str], folder: Path, plain_text: str | None) -> tuple[Keys | None, list[bytes]]:
    """Return this side's keys and those that may come in; refuse to do without unless it is said in so many words."""
    if plain_text is not None:
        if plain_text != PLAIN_TEXT or key is not None or allow:
            what = f"must say in so many words: {PLAIN_TEXT}; and then there are no keys to name"
            raise ConfigError([Problem("--plain-text", 0, "", what)])
        return None, []
    if key is None or not allow:
        what = "name this computer's key, and with --allow each rig's that may command; rig keys make makes one"
        raise ConfigError([Problem("--key", 0, "", what)])
    own = read_secret(folder, key)
    public = [read_public(folder, name).public.encode() for name in allow]
    return Keys(public=own.public.encode(), secret=own.secret.encode()), public


@contextmanager
def _instrument(
    adapter: Adapter,
    programs: dict[Verb, str],
    limit_s: float,
    device: str,
    line: str,
    address: str | None,
    tell: Callable[[str], None],
) -> Iterator[Instrument]:
    if adapter is Adapter.TRIGGER:
        with trigger_output(device=device, line=line, address=address) as drive:
            yield TriggerLine(drive, name=f"{device}/{line}")
        return
    try:
        made = CommandLine(
            {verb: shlex.split(words) for verb, words in programs.items() if words.strip()}, limit_s=limit_s, tell=tell
        )
    except ValueError as error:
        raise ConfigError([Problem("--adapter command", 0, "", str(error))]) from error
    yield made


def _until_interrupted() -> None:
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        while not ended.wait(0.5):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
