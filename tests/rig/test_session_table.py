"""A laboratory's sessions in the published table's columns: real mice go in by their sessions, their rows come out."""

from __future__ import annotations

import ast
import csv
import io
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from rig.lab.lab import Lab, open_lab
from rig.lab.rows import Container, Mouse, Plane, Session, Sex
from rig.training.table import COLUMNS, as_csv, id_of, session_table
from stages.experience import shown_by_name
from tests.builders import recorded
from tests.telling import Tell

PUBLISHERS = {"file_id", "imaging_plane_group_count"}
"""Columns that a rig can't know."""
IDS = {"behavior_session_id", "ophys_session_id", "ophys_container_id", "ophys_experiment_id"}
"""Whole numbers in both, each laboratory's own."""
IMAGED = {"num_depths_per_area", "num_targeted_structures"}
MICE = {"457841": ("A", "B"), "476970": ("B", "A"), "484408": ("G", "H")}


def published(mouse: str) -> list[dict[str, str]]:
    with recorded("release/behavior_session_table.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["mouse_id"] == mouse]
    return sorted(rows, key=lambda row: row["date_of_acquisition"])


def laboratory_of(folder: Path) -> Lab:
    return open_lab(f"sqlite:///{folder / 'lab.sqlite'}", who="tester", host="bench", now=lambda: datetime.now(UTC))


def mouse_of(row: dict[str, str], familiar: str, novel: str) -> Mouse:
    """A published mouse as an operator would take it in."""
    born = date.fromisoformat(row["date_of_acquisition"][:10]) - timedelta(days=int(row["age_in_days"]))
    return Mouse(
        name=row["mouse_id"],
        genotype=row["full_genotype"],
        driver_lines=tuple(ast.literal_eval(row["driver_line"])),
        reporter_line=row["reporter_line"],
        indicator=row["indicator"],
        sex=Sex(row["sex"]),
        born=born.isoformat(),
        project_code=row["project_code"],
        curriculum="visual_behavior",
        familiar=familiar,
        novel=novel,
        baseline_weight_g=25.0,
        target_weight_g=21.0,
        floor_weight_g=20.0,
        least_daily_water_ml=1.0,
    )


def session_of(row: dict[str, str], n: int) -> Session:
    """A published session as its log would have given it."""
    began = datetime.fromisoformat(row["date_of_acquisition"])
    shown = shown_by_name(row["session_type"], omissions_in_habituation=row["behavior_session_id"] == "974803205")
    session_id = str(UUID(int=(int(row["mouse_id"]) << 32) + n))
    return Session(
        log_id=session_id,
        log_started_at=began.isoformat(),
        rig=row["equipment_name"],
        duration_s=3600.0,
        water_ml=0.5,
        n_licks=1000,
        n_trials=500,
        simulated=False,
        log_sha256="0" * 64,
        folder=f"session_{n}",
        code_version="1",
        summary={"n_flashes_shown": 4800, "n_flashes_omitted": 0},
        session_id=session_id,
        mouse=row["mouse_id"],
        stage=row["session_type"],
        day=began.date().isoformat(),
        started_at=began.isoformat(),
        ended="time",
        task_min=60.0,
        planned_min=60.0,
        peak_d_prime=1.5,
        n_contingent=300,
        n_hit=100,
        response_rate=0.4,
        aborted_time_share=0.2,
        image_set=shown.image_set,
        omissions=shown.omissions,
        passive="passive" in row["session_type"],
        imaging=row["session_type"].startswith("OPHYS"),
    )


def test_the_columns_are_the_published_ones_in_their_order_but_for_the_publishers_own() -> None:
    with recorded("release/behavior_session_table.csv").open(encoding="utf-8") as file:
        theirs = next(csv.reader(file))

    assert [name for name in theirs if name not in PUBLISHERS] == list(COLUMNS)


def test_real_mice_come_out_as_they_are_published(tmp_path: Path, tell: Tell) -> None:
    n, differing = 0, []
    with closing(laboratory_of(tmp_path)) as lab:
        for name, (familiar, novel) in MICE.items():
            rows = published(name)
            lab.record(mouse_of(rows[0], familiar, novel))
            for number, row in enumerate(rows):
                lab.record(session_of(row, number))
        ours = {name: [row for row in session_table(lab) if row["mouse_id"] == name] for name in MICE}
    for name in MICE:
        for mine, theirs in zip(ours[name], published(name), strict=True):
            n += 1
            compared = [column for column in COLUMNS if column not in IDS | IMAGED]
            differing += [
                (name, theirs["date_of_acquisition"], column, mine.get(column, ""), theirs[column])
                for column in compared
                if mine.get(column, "") != theirs[column]
            ]
    tell(f"{n} sessions of {len(MICE)} real mice, {len(COLUMNS) - len(IDS | IMAGED)} columns: {len(differing)} differ")
    assert differing == []


def test_imaging_planes_are_listed_by_number_with_their_structures_and_depths(tmp_path: Path) -> None:
    row = published("457841")[-1]
    with closing(laboratory_of(tmp_path)) as lab:
        lab.record(mouse_of(row, "A", "B"))
        session = lab.record(session_of(row, 1))
        for index, (name, depth_um) in enumerate([("VISp_a", 75.0), ("VISp_b", 175.0), ("VISl_a", 75.0)]):
            structure = name.partition("_")[0]
            lab.record(Container(mouse="457841", name=name, structure=structure, depth_um=depth_um))
            lab.record(Plane(mouse="457841", session_id=session.session_id, plane_index=index, container=name))
        containers = lab.rows(Container)
        (found,) = csv.DictReader(io.StringIO(as_csv(session_table(lab))))
        lab.correct(containers[0], why="mistyped", depth_um=85.0)
        lab.correct(lab.rows(Plane)[1], why="read off the wrong line", container="VISp_b")
        (again,) = csv.DictReader(io.StringIO(as_csv(session_table(lab))))

    assert again == found  # numbers outlive corrections: other tables name planes by them
    assert ast.literal_eval(found["ophys_container_id"]) == [id_of(each.id) for each in containers]
    assert len(ast.literal_eval(found["ophys_experiment_id"])) == 3
    assert (found["num_targeted_structures"], found["num_depths_per_area"]) == ("2.0", "2.0")
    assert int(found["behavior_session_id"]) == id_of(session.session_id)
    assert float(found["ophys_session_id"]) == id_of(session.session_id)


def test_ids_are_whole_numbers_in_every_reader() -> None:
    assert id_of(str(UUID(int=2**128 - 1))) == 2**53 - 1
    assert int(float(id_of(str(UUID(int=2**128 - 1))))) == 2**53 - 1


@pytest.mark.parametrize("empty", [True, False])
def test_a_laboratory_without_sessions_has_the_columns_only(tmp_path: Path, empty: bool) -> None:
    with closing(laboratory_of(tmp_path)) as lab:
        if not empty:
            lab.record(mouse_of(published("457841")[0], "A", "B"))

        assert as_csv(session_table(lab)) == ",".join(COLUMNS) + "\n"
