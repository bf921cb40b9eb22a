"""Kills sessions in real time with ``kill -9`` at random moments, recovers them, and says what AllenSDK must read.

``python -m tests.peers.killed_sessions FOLDER [N]``. Each must hold everything older than 50 ms before its kill. Most
are killed after trials were answered and paid, and as the next one runs; some before the first trial ended.
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
YOUNG_S, OLD_S = (1.0, 3.0), (8.0, 18.0)
"""When they are killed: with the stage as below, a trial takes 3 to 8 s."""
YOUNG_SHARE = 0.2
AT_ONCE = 2
"""They mostly wait."""
SOON = {
    "change": {"kind": "geometric", "p": 0.3, "flashes_min": 2, "flashes_max": 5},
    "warm_up_trials": 1,
    "after_window_s": 1.5,
}
"""The stage's changes: short trials, of which the first is paid automatically."""


def main(folder: Path, n_kills: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(n_kills)
    n_young = round(n_kills * YOUNG_SHARE)
    after_s = np.concatenate([rng.uniform(*OLD_S, n_kills - n_young), rng.uniform(*YOUNG_S, n_young)])
    with ThreadPoolExecutor(max_workers=AT_ONCE) as at_once:
        kills = [
            at_once.submit(
                kill_one,
                folder / f"kill{n:02d}",
                seed=n,
                after_s=float(after_s[n]),
                sync_s=0.0,
                kind=MouseKind.PERFECT,
                changes=SOON,
            )
            for n in range(n_kills)
        ]
        killed: dict[Path, Killed] = {kill.result().folder: kill.result() for kill in kills}
    worst_s, n_answered, n_paid = 0.0, 0, 0
    for recovered in recover_all(folder, by="tests", quiet_s=0.0):
        if recovered.problem is not None:
            sys.exit(recovered.words())
        log, was = read_session(recovered.folder), killed.pop(recovered.folder)
        loss_s = max(was.loss_s(was.entries_s, len(log.entries) - 1), was.loss_s(was.flips_s, len(log.flips)))
        worst_s = max(worst_s, loss_s)
        told = expected(log)
        n_answered += any(trial["outcome"] != "aborted" for trial in told["trials"])
        n_paid += any(trial["reward_volume_ul"] > 0 for trial in told["trials"])
        (recovered.folder / EXPECTED).write_text(json.dumps(told), encoding="utf-8")
        print(recovered.words(), flush=True)
        target = folder / recovered.folder.parent.name
        for path in list(recovered.folder.iterdir()):
            shutil.move(path, target / path.name)
    if killed:
        sys.exit(f"not recovered: {sorted(killed)}")
    if worst_s > ALLOWED_LOSS_S:
        sys.exit(f"a session lost {worst_s * 1000:.1f} ms before its kill, allowed are {ALLOWED_LOSS_S * 1000:.0f}")
    if min(n_answered, n_paid) <= n_kills / 2:
        sys.exit(f"of {n_kills} killed sessions only {n_answered} have a trial with an answer and {n_paid} a paid one")
    print(
        f"{n_kills} kills, all recovered, {n_answered} with trials that came to an answer, {n_paid} with water; "
        f"at worst {worst_s * 1000:.1f} ms before a kill lost"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else N_KILLS)
