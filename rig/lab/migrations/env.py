"""What alembic runs around the steps: on the connection, and in the transaction, that ``rig.lab.migrate`` gives it."""

from __future__ import annotations

from alembic import context

from rig.lab.tables import METADATA


def run() -> None:
    """Run the steps that are wanted."""
    context.configure(
        connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=True
    )
    context.run_migrations()


if __name__ == "env_py":  # the name that alembic loads it by; imported by its own it does nothing
    run()
