"""Kills sessions in real time with ``kill -9`` at random moments, recovers them, and says what AllenSDK must read.

``python -m tests.peers.killed_sessions FOLDER [N]``. Each must hold everything older than 50 ms before its kill.
"""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hardware.simulated.mice import MouseKind
from rig.log.reader import read_session
from rig.records.recover import recover_all
from tests.peers.nwb_sessions import EXPECTED, expected
from tests.sessions.test_kill import ALLOWED_LOSS_S, Killed, kill_one

N_KILLS = 20
WITHIN_S = (1.0, 18.0)
"""The first trial ends after some seconds: some sessions are too young to have one."""


def main(folder: Path, n_kills: int) -> None:
    folder.mkdir()
    after_s = np.random.default_rng(n_kills).uniform(*WITHIN_S, n_kills)
    with ThreadPoolExecutor(max_workers=2) as two:
        kills = [
            two.submit(
                kill_one, folder / f"kill{n:02d}", seed=n, after_s=float(after_s[n]), sync_s=0.0, kind=MouseKind.EARLY
            )
            for n in range(n_kills)
        ]
        killed: dict[Path, Killed] = {kill.result().folder: kill.result() for kill in kills}
    worst_s = 0.0
    for recovered in recover_all(folder, by="tests", quiet_s=0.0):
        if recovered.problem is not None:
            sys.exit(recovered.words())
        log, was = read_session(recovered.folder), killed.pop(recovered.folder)
        loss_s = max(was.loss_s(was.entries_s, len(log.entries) - 1), was.loss_s(was.flips_s, len(log.flips)))
        worst_s = max(worst_s, loss_s)
        if loss_s > ALLOWED_LOSS_S:
            sys.exit(f"{recovered.folder}: lost {loss_s * 1000:.1f} ms before the kill")
        (recovered.folder / EXPECTED).write_text(json.dumps(expected(log)), encoding="utf-8")
        print(recovered.words(), flush=True)
        target = folder / recovered.folder.parent.name
        for path in list(recovered.folder.iterdir()):
            shutil.move(path, target / path.name)
    if killed:
        sys.exit(f"not recovered: {sorted(killed)}")
    print(f"{n_kills} kills, all recovered; at worst {worst_s * 1000:.1f} ms before a kill lost")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else N_KILLS)
