"""Two instruments for microscopes that know nothing of the protocol.

``TriggerLine`` drives one wire: high while the microscope shall record. ``CommandLine`` runs a program for each thing
that a microscope is told.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from hardware.microscope.messages import Recording, Verb
from hardware.microscope.receiver import About, Progress
from hardware.microscope.server import Cannot

LONGEST_ANSWER = 300


def _nobody(_line: str) -> None:
    """Show nothing."""


class TriggerLine:
    """Raises a line to start and lowers it to stop.

    Parameters
    ----------
    drive
        Sets the line's level, ``SyncOutputs.acquire`` of a card for example; may raise ``Cannot``.
    """

    def __init__(self, drive: Callable[[bool], None], *, name: str = "trigger line") -> None:
        self._drive = drive
        self._name = name

    def about(self) -> About:
        """See ``Instrument.about``."""
        return About(name=self._name, model="a trigger line")

    def prepare(self, recording: Recording) -> None:
        """See ``Instrument.prepare``: the line goes low, so that it can rise."""
        self._drive(False)

    def arm(self) -> None:
        """See ``Instrument.arm``: it waits by itself."""

    def start(self) -> None:
        """See ``Instrument.start``."""
        self._drive(True)

    def stop(self) -> None:
        """See ``Instrument.stop``."""
        self._drive(False)

    def abort(self) -> None:
        """See ``Instrument.abort``: what it wrote can't be thrown away from here."""
        self._drive(False)

    def progress(self) -> Progress:
        """See ``Instrument.progress``: frames are counted by the rig alone."""
        return Progress()


class CommandLine:
    """Runs a program for each verb it has one for, and is content without.

    Parameters
    ----------
    programs
        By verb: program and arguments, in which ``{session}``, ``{mouse}``, ``{stage}``, ``{plane_groups}`` and
        ``{frame_rate_hz}`` stand for the recording's. No shell is asked.
    limit_s
        A program that takes longer is ended, and what it was to do counts as not done.
    tell
        Told the end of what a program has said, for the operator there.
    """

    def __init__(
        self,
        programs: Mapping[Verb, Sequence[str]],
        *,
        limit_s: float,
        name: str = "command line",
        tell: Callable[[str], None] = _nobody,
    ) -> None:
        if missing := {Verb.START, Verb.STOP} - set(programs):
            raise ValueError(f"no program to {' and to '.join(sorted(missing))}; nothing could be recorded")
        self._programs = dict(programs)
        self._limit_s = limit_s
        self._name = name
        self._tell = tell
        self._recording: Recording | None = None

    def about(self) -> About:
        """See ``Instrument.about``."""
        return About(name=self._name, model="a command line", software=self._programs[Verb.START][0])

    def prepare(self, recording: Recording) -> None:
        """See ``Instrument.prepare``."""
        self._recording = recording
        self._run(Verb.PREPARE)

    def arm(self) -> None:
        """See ``Instrument.arm``."""
        self._run(Verb.ARM)

    def start(self) -> None:
        """See ``Instrument.start``."""
        self._run(Verb.START)

    def stop(self) -> None:
        """See ``Instrument.stop``."""
        self._run(Verb.STOP)

    def abort(self) -> None:
        """See ``Instrument.abort``: a stop where there is no program of its own."""
        self._run(Verb.ABORT if Verb.ABORT in self._programs else Verb.STOP)

    def progress(self) -> Progress:
        """See ``Instrument.progress``: frames are counted by the rig alone."""
        return Progress()

    def _run(self, verb: Verb) -> None:
        program = self._programs.get(verb)
        if program is None:
            return
        words = [_filled(word, self._recording) for word in program]
        # into a file: the end of a pipe is that of all who hold it, a scan that was left running in the background too
        with tempfile.TemporaryFile() as out:
            self._run_words(verb, words, out)

    def _show(self, line: str) -> None:
        try:
            self._tell(line)
        except Exception:  # noqa: BLE001 - what can't be shown was done all the same
            self._tell = _nobody

    def _run_words(self, verb: Verb, words: list[str], out: IO[bytes]) -> None:
        try:
            ran = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=self._limit_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Cannot(f"{words[0]} was ended: it took longer than {self._limit_s:g} s to {verb.value}") from error
        except OSError as error:
            raise Cannot(f"{words[0]} can't be run ({error.strerror or error})") from error
        out.seek(max(0, out.seek(0, os.SEEK_END) - 4 * LONGEST_ANSWER))
        said = out.read().decode(errors="replace").strip()[-LONGEST_ANSWER:]
        for line in said.splitlines():
            self._show(f"{words[0]}: {line}")
        if ran.returncode:
            raise Cannot(f"{words[0]} ended with {ran.returncode}{': ' if said else ''}{said}")


def _filled(word: str, recording: Recording | None) -> str:
    """Return an argument with the recording's fields in their places; other braces stay as they are."""
    if recording is None:
        return word
    for name in ("session", "mouse", "stage", "plane_groups", "frame_rate_hz"):
        word = word.replace(f"{{{name}}}", str(getattr(recording, name)))
    return word
