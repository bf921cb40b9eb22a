"""The laboratory's first tables.

Facts can't be changed or deleted, by whoever may write them: the database refuses. In a file an insertion in the place
of a row (``INSERT OR REPLACE``) is ignored likewise; in PostgreSQL a table of facts can't be truncated.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REFUSED = "rows of this table are never changed or deleted: correct one by a new row"


def upgrade() -> None:
    """Make the tables."""
    _fact_table(
        "mice",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("genotype", sa.Text, nullable=False),
        sa.Column("driver_lines", sa.JSON, nullable=False),
        sa.Column("reporter_line", sa.Text, nullable=False),
        sa.Column("indicator", sa.Text, nullable=False),
        sa.Column("sex", sa.Text, nullable=False),
        sa.Column("born", sa.Text, nullable=True),
        sa.Column("cohort", sa.Text, nullable=False),
        sa.Column("project_code", sa.Text, nullable=False),
        sa.Column("curriculum", sa.Text, nullable=False),
        sa.Column("familiar", sa.Text, nullable=False),
        sa.Column("novel", sa.Text, nullable=False),
        sa.Column("baseline_weight_g", sa.Double, nullable=False),
        sa.Column("target_weight_g", sa.Double, nullable=False),
        sa.Column("floor_weight_g", sa.Double, nullable=False),
        sa.Column("least_daily_water_ml", sa.Double, nullable=False),
        name_said="length(name) > 0",
        sex_known="sex IN ('F', 'M', 'U')",
    )
    _fact_table(
        "weights",
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("weight_g", sa.Double, nullable=False),
        sa.Column("session_id", sa.Text, nullable=True),
        weight_positive="weight_g > 0",
    )
    op.create_index("ix_weights_mouse", "weights", ["mouse"])
    op.create_index("ix_weights_session_id", "weights", ["session_id"])
    _fact_table(
        "water",
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("volume_ml", sa.Double, nullable=False),
        sa.Column("session_id", sa.Text, nullable=True),
        kind_known="kind IN ('session', 'supplement', 'before_passive')",
        session_named="kind <> 'session' OR session_id IS NOT NULL",
        volume_not_negative="volume_ml >= 0",
    )
    op.create_index("ix_water_mouse", "water", ["mouse"])
    op.create_index("ix_water_session_id", "water", ["session_id"])
    _fact_table(
        "starts",
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("rig", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("part_of", sa.Text, nullable=True),
        sa.Column("leased", sa.Boolean, nullable=False),
    )
    op.create_index("ix_starts_mouse", "starts", ["mouse"])
    op.create_index("ix_starts_session_id", "starts", ["session_id"])
    _fact_table(
        "sessions",
        sa.Column("log_id", sa.Text, nullable=False),
        sa.Column("log_started_at", sa.Text, nullable=False),
        sa.Column("rig", sa.Text, nullable=False),
        sa.Column("why_ended", sa.Text, nullable=False),
        sa.Column("duration_s", sa.Double, nullable=False),
        sa.Column("water_ml", sa.Double, nullable=False),
        sa.Column("n_licks", sa.Integer, nullable=False),
        sa.Column("n_trials", sa.Integer, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("log_sha256", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("code_version", sa.Text, nullable=False),
        sa.Column("summary", sa.JSON, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("ended", sa.Text, nullable=False),
        sa.Column("task_min", sa.Double, nullable=False),
        sa.Column("planned_min", sa.Double, nullable=False),
        sa.Column("peak_d_prime", sa.Double, nullable=True),
        sa.Column("n_contingent", sa.Integer, nullable=False),
        sa.Column("n_hit", sa.Integer, nullable=False),
        sa.Column("response_rate", sa.Double, nullable=True),
        sa.Column("aborted_time_share", sa.Double, nullable=True),
        sa.Column("image_set", sa.Text, nullable=True),
        sa.Column("omissions", sa.Boolean, nullable=False),
        sa.Column("passive", sa.Boolean, nullable=False),
        sa.Column("imaging", sa.Boolean, nullable=False),
        counts_not_negative="n_licks >= 0 AND n_trials >= 0 AND n_contingent >= 0 AND n_hit >= 0",
    )
    op.create_index("ix_sessions_mouse", "sessions", ["mouse"])
    op.create_index("ix_sessions_session_id", "sessions", ["session_id"])
    _fact_table(
        "decisions",
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("after_session", sa.Text, nullable=True),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("from_stage", sa.Text, nullable=True),
        sa.Column("move", sa.Text, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("curriculum", sa.Text, nullable=False),
        sa.Column("decision", sa.JSON, nullable=False),
    )
    op.create_index("ix_decisions_mouse", "decisions", ["mouse"])
    _fact_table(
        "overrides",
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=True),
        sa.Column("after_session", sa.Text, nullable=True),
        sa.Column("session_id", sa.Text, nullable=True),
        kind_known="kind IN ('stage', 'second_session', 'welfare', 'wrong_weight', 'misfit', 'no_lease')",
        reason_said="length(why) > 0 AND length(who) > 0",
        stage_named="kind <> 'stage' OR stage IS NOT NULL",
    )
    op.create_index("ix_overrides_mouse", "overrides", ["mouse"])
    op.create_index("ix_overrides_session_id", "overrides", ["session_id"])
    _fact_table(
        "notes",
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("mouse", sa.Text, nullable=True),
        sa.Column("rig", sa.Text, nullable=True),
        sa.Column("session_id", sa.Text, nullable=True),
    )
    op.create_index("ix_notes_mouse", "notes", ["mouse"])
    op.create_index("ix_notes_session_id", "notes", ["session_id"])
    _fact_table(
        "calibrations",
        sa.Column("rig", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
    )
    _fact_table(
        "rigs",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
    )
    _fact_table(
        "containers",
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("structure", sa.Text, nullable=False),
        sa.Column("depth_um", sa.Double, nullable=False),
    )
    op.create_index("ix_containers_mouse", "containers", ["mouse"])
    _fact_table(
        "planes",
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("plane_index", sa.Integer, nullable=False),
        sa.Column("container", sa.Text, nullable=False),
        eight_planes="plane_index >= 0 AND plane_index < 8",
    )
    op.create_index("ix_planes_mouse", "planes", ["mouse"])
    op.create_index("ix_planes_session_id", "planes", ["session_id"])
    _fact_table(
        "verdicts",
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("plane_index", sa.Integer, nullable=True),
        sa.Column("aspect", sa.Text, nullable=False),
        sa.Column("judge", sa.Text, nullable=False),
        sa.Column("judgement", sa.Text, nullable=False),
        sa.Column("figure", sa.Text, nullable=False),
        aspect_known="aspect IN ('hardware', 'software', 'alignment', 'intensity_drift', 'saturation', "
        "'z_drift', 'field_of_view', 'motion', 'crosstalk', 'brain_health', 'stress')",
        eight_planes="plane_index IS NULL OR (plane_index >= 0 AND plane_index < 8)",
        judge_known="judge IN ('rig', 'operator')",
        judgement_known="judgement IN ('pass', 'fail', 'not_judged')",
    )
    op.create_index("ix_verdicts_mouse", "verdicts", ["mouse"])
    op.create_index("ix_verdicts_session_id", "verdicts", ["session_id"])
    op.create_table(
        "leases",
        sa.Column("mouse", sa.Text, nullable=False),
        sa.Column("rig", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("acquired_s", sa.Double, nullable=False),
        sa.Column("beaten_s", sa.Double, nullable=False),
        sa.Column("expires_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("mouse", name="pk_leases"),
    )


def _fact_table(table: str, *columns: sa.Column[Any], **checks: str) -> None:
    checks |= {
        "id_is_uuid": "length(id) = 36",
        "who_said": "length(who) > 0",
        "correction_has_reason": "corrects IS NULL OR length(why) > 0",
        "withdrawn_corrects": "corrects IS NOT NULL OR NOT withdrawn",
    }
    op.create_table(
        table,
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("corrects", sa.Text, nullable=True),
        sa.Column("withdrawn", sa.Boolean, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        *columns,
        sa.Column("content_sha256", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        *(sa.CheckConstraint(rule, name=f"ck_{table}_{name}") for name, rule in checks.items()),
    )
    if op.get_bind().dialect.name == "postgresql":
        _refuse_changes_on_a_server(table)
    else:
        _refuse_changes_in_a_file(table)


def _refuse_changes_on_a_server(table: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '%: {_REFUSED}', TG_TABLE_NAME; END $$"
    )
    for change, each in (("UPDATE OR DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.split()[0].lower()} BEFORE {change} ON {table} "
            f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
        )


def _refuse_changes_in_a_file(table: str) -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table}: {_REFUSED}'); END"
        )
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id) BEGIN SELECT RAISE(IGNORE); END"
    )
