"""Laboratories for tests, in one line."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from rig.lab.lab import Lab, open_lab
from rig.lab.migrate import migrate
from rig.lab.rows import Mouse, Session, Sex, Start, Water, WaterKind, Weight
from rig.lab.store import Store
from stages.events import EndReason

DAY = "2026-03-02"
NEXT_DAY = "2026-03-03"
PATIENT: dict[str, Any] = {"connect_s": 60, "call_s": 60.0}
"""A machine that is busy with other tests is not to be called away."""


@cache
def _tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "laboratory.sqlite"
        with closing(Store(f"sqlite:///{path}")) as one:
            migrate(one)
        return path.read_bytes()


def made_file(path: Path) -> Path:
    """Have a file with all tables; making them each time takes longer than most tests."""
    if not path.exists():
        path.write_bytes(_tables())
    return path


def uuid(number: int) -> str:
    """Return a UUID by a small number."""
    return str(UUID(int=number, version=4))


def ticking(begin: datetime = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)) -> Callable[[], datetime]:
    """Return a clock that is a millisecond later at each look."""
    looks = iter(range(1_000_000_000))
    return lambda: begin + timedelta(milliseconds=next(looks))


def store(url: str) -> Store:
    """Open one database."""
    return Store(url, **PATIENT)


def lab(url: str, folder: Path, *, rig: str = "rig-1", who: str = "ana", **settings: Any) -> Lab:
    """Open a laboratory as one of its rigs."""
    replica = made_file(folder / f"{rig}.sqlite")
    return open_lab(url, replica=replica, who=who, host=rig, **{"now": ticking(), **PATIENT, **settings})


def mouse(name: str = "M1", **changes: Any) -> Mouse:
    """Return a mouse."""
    fields: dict[str, Any] = {
        "name": name,
        "genotype": "Slc17a7-IRES2-Cre/wt;Camk2a-tTA/wt;Ai93(TITL-GCaMP6f)/wt",
        "driver_lines": ("Slc17a7-IRES2-Cre", "Camk2a-tTA"),
        "reporter_line": "Ai93(TITL-GCaMP6f)",
        "sex": Sex.FEMALE,
        "born": "2025-12-05",
        "curriculum": "visual_behavior",
        "familiar": "A",
        "novel": "B",
        "baseline_weight_g": 24.0,
        "target_weight_g": 20.4,
        "floor_weight_g": 19.2,
        "least_daily_water_ml": 1.0,
    }
    return Mouse(**{**fields, **changes})


def weight(weight_g: float = 21.3, **changes: Any) -> Weight:
    """Return a weight of M1."""
    return Weight(**{"mouse": "M1", "day": DAY, "weight_g": weight_g, **changes})


def drunk(session_id: str, volume_ml: float = 0.42, **changes: Any) -> Water:
    """Return the water of a session."""
    return Water(
        **{
            "mouse": "M1",
            "day": DAY,
            "kind": WaterKind.SESSION,
            "volume_ml": volume_ml,
            "session_id": session_id,
            **changes,
        }
    )


def start(session_id: str, **changes: Any) -> Start:
    """Return a start of M1."""
    return Start(**{"mouse": "M1", "day": DAY, "rig": "rig-1", "session_id": session_id, **changes})


def session(log_id: str, **changes: Any) -> Session:
    """Return a session of M1."""
    fields: dict[str, Any] = {
        "log_id": log_id,
        "log_started_at": f"{changes.get('day', DAY)}T09:00:00+00:00",
        "rig": "rig-1",
        "duration_s": 3900.25,
        "water_ml": 0.42,
        "n_licks": 1234,
        "n_trials": 612,
        "simulated": True,
        "log_sha256": "0" * 64,
        "folder": "sessions/one",
        "code_version": "0.1.0",
        "summary": {"d_prime": 1.1, "alarms": ["lick line stuck"], "clock": []},
        "session_id": log_id,
        "mouse": "M1",
        "stage": "TRAINING_1_gratings",
        "day": DAY,
        "started_at": f"{changes.get('day', DAY)}T09:00:00+00:00",
        "ended": EndReason.TIME.value,
        "task_min": 60.0,
        "planned_min": 60.0,
        "peak_d_prime": 2.31,
        "n_contingent": 250,
        "n_hit": 101,
        "response_rate": 0.41,
        "aborted_time_share": 0.1 + 0.2,
        "image_set": None,
        "omissions": False,
        "passive": False,
        "imaging": False,
    }
    return Session(**{**fields, **changes})
