"""A PostgreSQL of a test process's own: in a temporary folder, on a socket in it, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

from rig.lab.migrate import migrate
from rig.lab.store import Store
from rig.lab.tables import METADATA

DEBIAN = Path("/usr/lib/postgresql")
SUPERUSER = "rig"
MAX_CONNECTIONS = 100
"""PostgreSQL's own default, and so what laboratories have."""
ENDS_WITHIN_S = 60.0


class Cluster:
    """A server and its databases. What runs as root runs it as somebody else: PostgreSQL refuses root."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = _programs()
        self._numbers = count()
        self._laboratory: str | None = None
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user, group = _somebody()
            os.chown(folder, user, group)
            self._as = {"user": user, "group": group, "extra_groups": []}
        data = str(folder / "data")
        self._run("initdb", "-D", data, "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Start the server, on the databases that are there."""
        settings = (
            f"-F -k {self._folder} -c listen_addresses= -c max_connections={MAX_CONNECTIONS} -c shared_buffers=32MB"
        )
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-s", "-l", log, "-o", settings, "start")

    def stop(self, *, mode: str = "immediate") -> None:
        """Stop it: ``immediate`` as if it had crashed, ``fast`` in order."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-s", "-m", mode, "stop")

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return (self._folder / "data" / "postmaster.pid").exists()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the server and all its processes stand still: it accepts, and answers nothing."""
        server = psutil.Process(int((self._folder / "data" / "postmaster.pid").read_text().split()[0]))
        server.suspend()  # first, so that it makes no more
        processes = server.children(recursive=True)
        try:
            for process in processes:
                with suppress(psutil.NoSuchProcess):  # one that was just ending
                    process.suspend()
            yield
        finally:
            for process in (*processes, server):
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"vision_{next(self._numbers)}"
        with self._connected("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://{SUPERUSER}@/{name}?host={self._folder}"

    def laboratory(self) -> str:
        """Return the URL of a laboratory's database without any facts: always the same one, emptied."""
        if self._laboratory is None:
            self._laboratory = self.new_database()
            with closing(Store(self._laboratory, connect_s=60, call_s=60.0)) as store:
                migrate(store)
        with self._connected(conninfo_to_dict(self._laboratory)["dbname"]) as connection:
            connection.execute("SET session_replication_role = replica")  # leaves out what refuses to delete
            for table in METADATA.tables:
                connection.execute(f"DELETE FROM {table}".encode())
        return self._laboratory

    def _connected(self, database: object) -> psycopg.Connection:
        return psycopg.connect(host=str(self._folder), user=SUPERUSER, dbname=str(database), autocommit=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        with tempfile.TemporaryFile("w+") as said:  # a pipe would be kept open by the server
            run = subprocess.run(
                command, stdout=said, stderr=said, cwd=self._folder, timeout=ENDS_WITHIN_S, check=False, **self._as
            )
            said.seek(0)
            words = said.read()
        if run.returncode != 0:
            raise RuntimeError(f"{program} failed: {words or (self._folder / 'log').read_text()}")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a server, and remove it with all it holds."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:  # a socket's path must be short
        server = Cluster(Path(folder))
        server.start()
        try:
            yield server
        finally:
            if server.runs:
                server.stop()


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs; Debian's are on nobody's path."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    by_version = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not by_version:
        raise RuntimeError("PostgreSQL is not installed; `make test` installs it, or: apt-get install postgresql")
    return by_version[-1].parent


def _somebody() -> tuple[int, int]:
    import pwd  # Windows does not have it, and reads this module, too

    known = {user.pw_name: user for user in pwd.getpwall()}
    somebody = known.get("postgres") or known["nobody"]
    return somebody.pw_uid, somebody.pw_gid
