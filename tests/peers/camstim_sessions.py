"""Makes twenty sessions of differing mice and stages with their camstim pickles, and what must be read from them.

``python -m tests.peers.camstim_sessions FOLDER``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hardware.simulated.mice import MouseKind
from rig.log.reader import read_session
from rig.records.camstim_export import export_camstim
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
N_SESSIONS = 20
KINDS = (MouseKind.STOCHASTIC, MouseKind.PERFECT, MouseKind.EARLY, MouseKind.LATE, MouseKind.NEVER)


def main(folder: Path) -> None:
    for n in range(N_SESSIONS):
        name, kind = STAGES[n % len(STAGES)], KINDS[(n + n // len(STAGES)) % len(KINDS)]
        movie = MOVIE if "OPHYS" in name else None
        path = record(folder / f"{n:02d}_{name}_{kind.value}", name, kind=kind, seed=n, minutes=6.0, movie=movie)
        log = read_session(path)
        export_camstim(log)
        (path / EXPECTED).write_text(json.dumps(expected(log)), encoding="utf-8")
    print(f"{N_SESSIONS} sessions", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
