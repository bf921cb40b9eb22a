"""Key files: one pair a computer, its secret half readable by its owner only.

``NAME.secret.json`` stays where it was made. ``NAME.public.json`` is copied to whoever shall talk with it, into a
folder of the same kind; there it means: this one may. Keys are CurveZMQ's, in its Z85 text.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq
from zmq.utils import z85

SECRET, PUBLIC = ".secret.json", ".public.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
Z85_LENGTH = 40
LARGEST_FILE = 4096


class KeyFileError(Exception):
    """A key can't be had: which file, what is wrong, how to mend it."""


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """What others may know."""

    name: str
    public: str
    made_at: str


class SecretKey(msgspec.Struct, frozen=True, kw_only=True):
    """Both halves."""

    name: str
    public: str
    secret: str
    made_at: str

    def __repr__(self) -> str:
        """Return the public half only, so that no message shows the other."""
        return f"SecretKey({self.name}, {self.public})"


Key = TypeVar("Key", PublicKey, SecretKey)


def make_key(folder: Path, name: str, *, made_at: str) -> SecretKey:
    """Make a pair of keys and write both files.

    Raises
    ------
    KeyFileError
        The name can't stand in a file's name, or there is such a key already.
    """
    _check_name(name)
    public, secret = (key.decode() for key in zmq.curve_keypair())
    key = SecretKey(name=name, public=public, secret=secret, made_at=made_at)
    for suffix in (
        SECRET,
        PUBLIC,
    ):  # looked for before either is written: no secret may lie beside another's public key
        if (path := folder / f"{name}{suffix}").exists():
            raise _taken(path)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for suffix, value, mode in (
        (SECRET, key, 0o600),
        (PUBLIC, PublicKey(name=name, public=public, made_at=made_at), 0o644),
    ):
        path = folder / f"{name}{suffix}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError as error:
            raise _taken(path) from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    return key


def read_secret(folder: Path, name: str) -> SecretKey:
    """Return a pair of keys of this computer.

    Raises
    ------
    KeyFileError
        There is none, it is damaged, or others can read it.
    """
    _check_name(name)
    path = folder / f"{name}{SECRET}"
    data = _bytes_of(path, how=f"make it with: rig keys make {name}")
    if os.name != "nt" and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
        raise KeyFileError(
            f"{path}: others can read it (mode {mode:04o}), so it is no secret; chmod 600 it, or make a new one"
        )
    key = _decoded(path, data, SecretKey)
    if not _is_key(key.secret) or zmq.curve_public(key.secret.encode()).decode() != key.public:
        raise KeyFileError(f"{path}: its two halves don't belong together; make a new one with: rig keys make")
    return key


def read_public(folder: Path, name: str) -> PublicKey:
    """Return somebody's public key.

    Raises
    ------
    KeyFileError
        There is none, or it is damaged.
    """
    _check_name(name)
    path = folder / f"{name}{PUBLIC}"
    how = (
        f"copy it here from the computer that it was made on, where rig keys show {name} says in which folder it is; "
        f"or, for a key of this computer's own: rig keys make {name}"
    )
    key = _decoded(path, _bytes_of(path, how=how), PublicKey)
    if not _is_key(key.public):
        raise KeyFileError(f"{path}: holds no key of 40 characters in Z85; copy the file again")
    return key


def listed_keys(folder: Path) -> list[tuple[PublicKey, bool]]:
    """Return all public keys of a folder by name, and of each whether its secret half is here."""
    names = sorted(path.name.removesuffix(PUBLIC) for path in folder.glob(f"*{PUBLIC}"))
    return [(read_public(folder, name), (folder / f"{name}{SECRET}").exists()) for name in names]


def _taken(path: Path) -> KeyFileError:
    what = "there is such a key already; take another name, or delete both of its files where nobody needs it"
    return KeyFileError(f"{path}: {what}")


def _is_key(text: str) -> bool:
    """Return whether a text is a key: 40 characters of Z85, which stand for 32 bytes."""
    try:
        return len(text) == Z85_LENGTH and bool(z85.decode(text.encode("ascii")))
    except (KeyError, ValueError, struct.error):  # other characters, or five that stand for more than four bytes
        return False


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise KeyFileError(f"{name!r} can't be the name of a key; use letters, digits, - _ and . , 63 at most")


def _bytes_of(path: Path, *, how: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE)
    except FileNotFoundError as error:
        raise KeyFileError(f"{path}: there is no such key; {how}") from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}; look at its permissions") from error


def _decoded(path: Path, data: bytes, kind: type[Key]) -> Key:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: no key file ({error}); copy it again, or make a new key") from error
