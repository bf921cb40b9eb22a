"""A session in a process of its own, so that nothing else can slow it.

``run_plan`` is what that process does: log, command socket, loop, in real time or fast. Processes start by
spawn, as on Windows. Whoever started it only watches the log; it may die without harm to the session.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from hardware.protocols import Command, DeviceError
from rig.config.load import ConfigError
from rig.log.schema import Entry, LogError
from rig.log.writer import LogThread, LogWriter
from rig.session.assemble import SessionPlan, assembled
from rig.session.control import ControlServer, LocalCommands
from rig.session.loop import Observer
from rig.session.realtime import real_time
from stages.events import Paused, SessionEnded, Verb


def run_plan(plan: SessionPlan, *, runtime_dir: Path, observer: Observer | None = None) -> SessionEnded:
    """Run a session in this process to its end.

    Parameters
    ----------
    observer
        Told of every entry as it is logged: tests.

    Raises
    ------
    ConfigError, DeviceError, LogError
        The session could not be started, or the card vanished while it was.
    """
    observers = () if observer is None else (observer,)
    if plan.fast:
        begins = plan.begins or datetime.now(UTC)
        commands = LocalCommands()
        with (
            _signals(commands.put, plan.who),
            contextlib.closing(LogWriter(plan.folder)) as writer,
            real_time(urgent=False),
            assembled(
                plan,
                log=writer,
                commands=commands,
                observers=(*observers, _nobody_resumes(commands)),
                now=lambda: begins,
            ) as loop,
        ):
            return loop.run()
    server = ControlServer(
        runtime_dir=runtime_dir,
        session_id=str(plan.session_id),
        mouse=plan.mouse,
        stage=plan.stage.stage,
        folder=plan.folder,
    )
    with (
        _signals(server.put, plan.who),
        contextlib.closing(server),
        contextlib.closing(LogThread(LogWriter(plan.folder))) as log,
        real_time(),
        assembled(plan, log=log, commands=server, observers=observers) as loop,
    ):
        return loop.run()


def _nobody_resumes(commands: LocalCommands) -> Observer:
    """Return an observer that stops a simulated session which has been paused: it would go on for ever."""

    def watch(entry: Entry) -> None:
        if isinstance(entry.event, Paused):
            why = "paused, and nobody resumes a session in simulated time"
            commands.put(Command(id="simulation", who="simulation", verb=Verb.STOP.value, text=why))

    return watch


def start_process(
    plan: SessionPlan, *, runtime_dir: Path, unwatched: Callable[[Path], object]
) -> tuple[BaseProcess, Connection]:
    """Start a session's process; return it and the pipe on which it says how it ended.

    The pipe carries ``None`` when all went well, else one sentence. A session outlives the process that started it,
    should that be killed or its terminal closed: commands still reach it, and at its end it does ``unwatched`` with its
    folder, since nobody else will.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(plan, runtime_dir, sender, unwatched), name=f"session {plan.label}")
    process.start()
    sender.close()
    return process, receiver


def _child(plan: SessionPlan, runtime_dir: Path, sender: Connection, unwatched: Callable[[Path], object]) -> None:
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal ends no session
    problem: str | None = None
    try:
        run_plan(plan, runtime_dir=runtime_dir)
    except (ConfigError, DeviceError, LogError) as error:
        problem = str(error)
    except OSError as error:
        problem = f"{plan.folder}: {error.strerror or error}; look at the disk and the folder's permissions"
    try:
        sender.send(problem)
    except OSError:
        unwatched(plan.folder)
    finally:
        sender.close()


@contextlib.contextmanager
def _signals(put: Callable[[Command], None], who: str) -> Iterator[None]:
    """Turn an interrupt or a request to terminate into stop-now."""

    def stop_now(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        put(Command(id=name, who=who, verb=Verb.STOP_NOW.value, text=f"stopped by {name}"))

    before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {
        number: signal.signal(number, stop_now) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
