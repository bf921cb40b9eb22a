"""Makes the tables of an empty database, and renews those of an older program, from code.

Several programs may come at once: each waits until the one before has finished. A database of a newer program is
refused: a rig that does not know all of its columns would write rows without them.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from rig.lab.errors import LabError
from rig.lab.store import Store

_LOCK = 7_155_318_205
"""Any number that nothing else in the database locks by."""


def migrate(store: Store) -> None:
    """Bring a database's tables to what this program knows; does nothing if they are.

    Raises
    ------
    LaboratoryAway, LabError
        It can't be reached, or a newer program has been there.
    """
    with as_file(files("rig.lab") / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        script = ScriptDirectory.from_config(config)
        if _up_to_date(store, script):
            return
        if store.is_file:
            store.keep_log_beside()
        with store.writing() as connection:
            if not store.is_file:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _up_to_date(store: Store, script: ScriptDirectory) -> bool:
    with store.reading() as connection:
        present = _revision(connection)
    known = {revision.revision for revision in script.walk_revisions()}
    if present is not None and present not in known:
        raise LabError(
            f"{store.name} was renewed by a newer program (its tables are {present}, this program knows "
            f"{script.get_current_head()}): update the program on this rig"
        )
    return present == script.get_current_head()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
