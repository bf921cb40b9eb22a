"""How the tables came to be what they are, a step a file, for alembic; ``rig.lab.migrate`` runs them."""
