"""Two more kinds of overrides: a log that is not the mouse's, and an imaging stage without a microscope."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BEFORE = "kind IN ('stage', 'second_session', 'welfare', 'wrong_weight', 'misfit', 'no_lease')"
_AFTER = (
    "kind IN ('stage', 'second_session', 'welfare', 'wrong_weight', 'misfit', 'no_lease', 'not_its', 'no_microscope')"
)


def upgrade() -> None:
    """Let the table of overrides take them."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("ck_overrides_kind_known", "overrides", type_="check")
        op.create_check_constraint("ck_overrides_kind_known", "overrides", sa.text(_AFTER))
    else:
        _renew_in_a_file()


def _renew_in_a_file() -> None:
    """Put a table with the other rule in the place of the one before: a file's can't be altered."""
    asked = "SELECT type, sql FROM sqlite_master WHERE tbl_name = 'overrides' AND sql IS NOT NULL"
    made = [(str(kind), str(statement)) for kind, statement in op.get_bind().exec_driver_sql(asked)]
    (table,) = (statement for kind, statement in made if kind == "table")
    rest = [statement for kind, statement in made if kind != "table"]  # indices, and triggers that refuse changes
    op.execute(table.replace("TABLE overrides", "TABLE renewed", 1).replace(_BEFORE, _AFTER, 1))
    op.execute("INSERT INTO renewed SELECT * FROM overrides")
    op.execute("DROP TABLE overrides")
    op.execute("ALTER TABLE renewed RENAME TO overrides")
    for statement in rest:
        op.execute(statement)
