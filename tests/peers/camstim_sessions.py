"""Makes twenty sessions of differing mice and stages with their camstim pickles, and what must be read from them.

``python -m tests.peers.camstim_sessions FOLDER``. Some are paused, stopped, paid by the operator, or shown on a monitor
that drops frames.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hardware.simulated.mice import MouseKind
from rig.log.reader import read_session
from rig.records.camstim_export import export_camstim
from tests.builders import IMAGES, command
from tests.peers.nwb_sessions import EXPECTED, MOVIE, expected, record

STAGES = (
    "TRAINING_0_gratings_autorewards_15min",
    "TRAINING_1_gratings",
    "TRAINING_2_gratings_flashed",
    "TRAINING_3_images_A_10uL_reward",
    "TRAINING_5_images_A_handoff_ready",
    "OPHYS_1_images_A",
    "OPHYS_2_images_A_passive",
    "OPHYS_4_images_B",
)
MINUTES = 6.0
PAUSE = (command("pause", at_s=60.0), command("resume", at_s=90.0))
SPECIAL: dict[str, tuple[str, MouseKind, dict[str, Any]]] = {
    "paused": (IMAGES, MouseKind.STOCHASTIC, {"commands": PAUSE}),
    "paid": (IMAGES, MouseKind.PERFECT, {"commands": (command("reward", at_s=5.1), command("reward", at_s=70.2))}),
    "stopped": (IMAGES, MouseKind.STOCHASTIC, {"commands": (command("stop-now", at_s=151.3),)}),
    "dropping": (IMAGES, MouseKind.PERFECT, {"behaviour": "dropping", "movie": MOVIE}),
    "dropping_static": ("TRAINING_1_gratings", MouseKind.STOCHASTIC, {"behaviour": "dropping"}),
}
N_SESSIONS = 20
KINDS = (MouseKind.STOCHASTIC, MouseKind.PERFECT, MouseKind.EARLY, MouseKind.LATE, MouseKind.NEVER)


def main(folder: Path) -> None:
    sessions: dict[str, tuple[str, MouseKind, dict[str, Any]]] = {}
    for n in range(N_SESSIONS - len(SPECIAL)):
        name, kind = STAGES[n % len(STAGES)], KINDS[(n + n // len(STAGES)) % len(KINDS)]
        sessions[f"{name}_{kind.value}"] = name, kind, {"movie": MOVIE if "OPHYS" in name else None}
    for n, (called, (name, kind, changes)) in enumerate((sessions | SPECIAL).items()):
        path = record(folder / f"{n:02d}_{called}", name, kind=kind, seed=n, minutes=MINUTES, **changes)
        log = read_session(path)
        export_camstim(log)
        (path / EXPECTED).write_text(json.dumps(expected(log)), encoding="utf-8")
    print(f"{len(sessions | SPECIAL)} sessions", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
