"""The facts as tables: columns follow from the fields of each row, so that the two can't differ.

What ``rows`` says of types and closed sets is checked by the databases, too; plausible figures are for whoever takes
them from an operator.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

import sqlalchemy as sa

from rig.lab.rows import FACTS, Fact

CONTENT = "content_sha256"
"""The column with a row's hash."""
LEASES = "leases"

METADATA = sa.MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"})

_TYPES: dict[type, type[sa.types.TypeEngine[Any]]] = {
    str: sa.Text,
    float: sa.Double,
    int: sa.Integer,
    bool: sa.Boolean,
    dict: sa.JSON,
    tuple: sa.JSON,
}
_INDEXED = ("mouse", "session_id")
_EVERYWHERE = {
    "id_is_uuid": "length(id) = 36",
    "who_said": "length(who) > 0",
    "correction_has_reason": "corrects IS NULL OR length(why) > 0",
    "withdrawn_corrects": "corrects IS NOT NULL OR NOT withdrawn",
}
_CHECKS: dict[str, dict[str, str]] = {
    "mice": {"name_said": "length(name) > 0"},
    "weights": {"weight_positive": "weight_g > 0"},
    "water": {"volume_not_negative": "volume_ml >= 0", "session_named": "kind <> 'session' OR session_id IS NOT NULL"},
    "sessions": {"counts_not_negative": "n_licks >= 0 AND n_trials >= 0 AND n_contingent >= 0 AND n_hit >= 0"},
    "overrides": {
        "reason_said": "length(why) > 0 AND length(who) > 0",
        "stage_named": "kind <> 'stage' OR stage IS NOT NULL",
    },
    "planes": {"eight_planes": "plane_index >= 0 AND plane_index < 8"},
    "verdicts": {"eight_planes": "plane_index IS NULL OR (plane_index >= 0 AND plane_index < 8)"},
}


def _fact_table(kind: type[Fact]) -> sa.Table:
    hints = get_type_hints(kind)
    columns = [_column(name, hints[name]) for name in kind.__struct_fields__]
    checks = {f"{name}_known": rule for name in kind.__struct_fields__ if (rule := _one_of(name, hints[name]))}
    checks |= _EVERYWHERE | _CHECKS.get(kind.table, {})
    return sa.Table(
        kind.table,
        METADATA,
        *columns,
        sa.Column(CONTENT, sa.Text, nullable=False),
        *(sa.CheckConstraint(rule, name=f"ck_{kind.table}_{name}") for name, rule in checks.items()),
    )


def _column(name: str, hint: object) -> sa.Column[Any]:
    kind, optional = _bare(hint)
    column_type = sa.Text if issubclass(kind, StrEnum) else _TYPES[kind]
    return sa.Column(name, column_type, primary_key=name == "id", nullable=optional, index=name in _INDEXED or None)


def _bare(hint: object) -> tuple[type, bool]:
    """Return a field's type without what it holds and without None, and whether it may be None."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    (kind,) = (member for member in members if member is not type(None))
    return get_origin(kind) or kind, len(members) > 1


def _one_of(name: str, hint: object) -> str | None:
    kind, _ = _bare(hint)
    if not issubclass(kind, StrEnum):
        return None
    return f"{name} IN ({', '.join(repr(str(value)) for value in kind)})"


TABLES: Mapping[type[Fact], sa.Table] = {kind: _fact_table(kind) for kind in FACTS}

LEASES_TABLE = sa.Table(
    LEASES,
    METADATA,
    sa.Column("mouse", sa.Text, primary_key=True),
    sa.Column("rig", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("acquired_s", sa.Double, nullable=False),
    sa.Column("beaten_s", sa.Double, nullable=False),
    sa.Column("expires_s", sa.Double, nullable=False),
)
"""Who has a mouse: the only rows that change, and only in the laboratory's database."""
