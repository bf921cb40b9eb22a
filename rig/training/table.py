"""A laboratory's sessions with the columns of the published table of behaviour sessions, as far as a rig knows them.

Names, meanings and formats are those of ``behavior_session_table.csv`` (TASK_FACTS 0, REL), so that what reads that
table reads this one. Left out are ``file_id`` (of the publisher's store) and ``imaging_plane_group_count`` (of the
microscope's set-up). The release writes UTC behind the laboratory's wall clock; here it is UTC.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from rig.lab.rows import Container, Mouse, Plane, Session, Sex
from rig.training.projection import shown_in
from rig.training.recompute import by_session
from stages.experience import experience_level, prior_exposures, session_number

if TYPE_CHECKING:
    from rig.lab.lab import Lab

COLUMNS = (
    "behavior_session_id",
    "ophys_session_id",
    "ophys_container_id",
    "mouse_id",
    "indicator",
    "full_genotype",
    "driver_line",
    "cre_line",
    "reporter_line",
    "sex",
    "age_in_days",
    "project_code",
    "session_type",
    "session_number",
    "image_set",
    "behavior_type",
    "experience_level",
    "prior_exposures_to_session_type",
    "prior_exposures_to_image_set",
    "prior_exposures_to_omissions",
    "date_of_acquisition",
    "equipment_name",
    "num_depths_per_area",
    "num_targeted_structures",
    "ophys_experiment_id",
)
ID_BITS = 53
"""An id is the lower bits of a UUID, so that it is a whole number in every reader; the data file has the same."""


def session_table(lab: Lab) -> list[dict[str, str]]:
    """Return a row a session, of all mice by name and of each by time."""
    planes: dict[str, list[Plane]] = {}
    for plane in lab.rows(Plane):
        planes.setdefault(plane.session_id, []).append(plane)
    return [row for mouse in lab.mice() for row in _rows(lab, mouse, planes)]


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def id_of(uuid: str) -> int:
    """Return the whole number that stands for a UUID in tables and data files."""
    return UUID(uuid).int & ((1 << ID_BITS) - 1)


def _rows(lab: Lab, mouse: Mouse, planes: Mapping[str, list[Plane]]) -> list[dict[str, str]]:
    sessions = by_session(lab.session_rows(mouse.name))
    containers = {row.name: row for row in lab.rows(Container, mouse=mouse.name)}
    exposures = prior_exposures([shown_in(parts) for parts in sessions])
    rows = []
    for parts, before in zip(sessions, exposures, strict=True):
        last = parts[-1]
        level = experience_level(last.stage, prior_exposures_to_image_set=before.image_set)
        number = session_number(last.stage)
        rows.append(
            {
                "behavior_session_id": str(id_of(last.session_id)),
                "mouse_id": mouse.name,
                **_about(mouse, last.day),
                "session_type": last.stage,
                "session_number": _number(number),
                "image_set": _image_set(last),
                "behavior_type": "passive_viewing" if last.passive else "active_behavior",
                "experience_level": "" if level is None else level.value,
                "prior_exposures_to_session_type": str(before.session_type),
                "prior_exposures_to_image_set": _number(before.image_set),
                "prior_exposures_to_omissions": str(before.omissions),
                "date_of_acquisition": _acquired(last.started_at),
                "equipment_name": parts[0].rig,
                **_imaged(lab, last, planes.get(last.session_id, []), containers),
            }
        )
    return rows


def _about(mouse: Mouse, day: str) -> dict[str, str]:
    drivers = list(mouse.driver_lines)
    cre = [line for line in drivers if line.endswith("-Cre")]
    age = "" if mouse.born is None else str((date.fromisoformat(day) - date.fromisoformat(mouse.born)).days)
    return {
        "indicator": mouse.indicator,
        "full_genotype": mouse.genotype,
        "driver_line": str(drivers) if drivers else "",
        "cre_line": cre[0] if cre else "",
        "reporter_line": mouse.reporter_line,
        "sex": "" if mouse.sex is Sex.UNKNOWN else mouse.sex.value,
        "age_in_days": age,
        "project_code": mouse.project_code,
    }


def _imaged(lab: Lab, session: Session, planes: Sequence[Plane], containers: Mapping[str, Container]) -> dict[str, str]:
    """Return what the table says of imaging; nothing where no plane is on record.

    A row that was corrected keeps the number it was given first: other tables know it by that.
    """
    if not planes:
        return {}
    ordered = sorted(planes, key=lambda plane: plane.plane_index)
    of = [containers[plane.container] for plane in ordered]
    structures = {container.structure for container in of}
    depths = max(len({each.depth_um for each in of if each.structure == structure}) for structure in structures)
    return {
        "ophys_session_id": _number(id_of(session.session_id)),
        "ophys_container_id": str([id_of(lab.versions(container)[0].id) for container in of]),
        "ophys_experiment_id": str([id_of(lab.versions(plane)[0].id) for plane in ordered]),
        "num_targeted_structures": _number(len(structures)),
        "num_depths_per_area": _number(depths),
    }


def _image_set(session: Session) -> str:
    """Return ``images_A``; ``gratings`` in training without images, nothing in a sweep."""
    if session.image_set is not None:
        return f"images_{session.image_set}"
    return "gratings" if session.stage.startswith("TRAINING_") else ""


def _number(value: int | None) -> str:
    """Return a number of a column that has gaps, as the release writes it: ``4.0``."""
    return "" if value is None else f"{value}.0"


def _acquired(started_at: str) -> str:
    return str(datetime.fromisoformat(started_at).astimezone(UTC))
