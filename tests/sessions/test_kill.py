"""Sessions in real time killed with ``kill -9`` at random moments: what their logs lose.

The worst losses are printed; ``pytest -s tests/sessions/test_kill.py`` shows them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.simulated.mice import MouseKind
from rig.log.reader import read_session
from rig.log.replay import replay
from rig.records.products import summarise
from tests.sessions.killed_session import ENTRIES, FLIPS, SESSION, seen
from tests.telling import Tell

ALLOWED_LOSS_S = 0.050
STARTS_WITHIN_S = 60.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Killed:
    """What one killed session had seen by then, and when it was killed."""

    folder: Path
    killed_s: float
    entries_s: np.ndarray
    flips_s: np.ndarray

    def loss_s(self, times_s: np.ndarray, n_kept: int) -> float:
        """Return how long before the kill the first thing was seen that the log does not hold."""
        lost_s = times_s[n_kept:][times_s[n_kept:] < self.killed_s]
        return self.killed_s - float(lost_s[0]) if len(lost_s) else 0.0


def kill_one(
    folder: Path,
    *,
    seed: int,
    after_s: float,
    sync_s: float,
    kind: MouseKind = MouseKind.ALWAYS,
    changes: Mapping[str, Any] | None = None,
) -> Killed:
    """Start a session, kill it ``after_s`` after its first entry; ``changes`` are its stage's."""
    arguments = [str(folder), str(seed), str(sync_s), kind.value, json.dumps(changes)]
    folder.mkdir()
    with (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.sessions.killed_session", *arguments],
            cwd=ROOT,
            stderr=errors,
        )
    try:
        _wait(lambda: len(seen(folder / ENTRIES)) > 0, process, folder)
        time.sleep(after_s)
        assert process.poll() is None, "the session ended before it could be killed"
        killed_s = time.monotonic()
    finally:
        process.kill()
        process.wait()
    return Killed(folder / SESSION, killed_s, seen(folder / ENTRIES), seen(folder / FLIPS))


def _wait(condition: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    limit_s = time.monotonic() + STARTS_WITHIN_S
    while not condition():
        assert process.poll() is None, (folder / "errors.txt").read_text()
        assert time.monotonic() < limit_s, "the session did not start"
        time.sleep(0.01)


def losses_s(killed: Killed) -> tuple[float, float]:
    """Read a killed session as ``rig summary`` does; return what it lost of its entries and of its flips."""
    log = read_session(killed.folder)
    assert log.ended is None
    summary, words = summarise(log)
    assert summary.ended == "crashed"
    assert "the log breaks off without an end" in words
    assert all("torn" in damage for damage in log.damage)
    assert log.flips["flip"].tolist() == list(range(len(log.flips)))
    assert len(log.edges()) > 0
    replayed = replay(log)
    assert replayed.difference is None
    assert replayed.n_decisions > 0
    return killed.loss_s(killed.entries_s, len(log.entries)), killed.loss_s(killed.flips_s, len(log.flips))


@pytest.mark.parametrize(
    ("n_kills", "sync_s"),
    [
        (4, 0.0),
        (2, 0.4),  # a disk that takes 0.4 s to sync
        pytest.param(50, 0.0, marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(900)
def test_kill_9_at_any_moment_loses_at_most_50_ms(tmp_path: Path, tell: Tell, n_kills: int, sync_s: float) -> None:
    after_s = np.random.default_rng(n_kills).uniform(1.0, 4.0, n_kills)
    with ThreadPoolExecutor(max_workers=2) as two:
        kills = [
            two.submit(kill_one, tmp_path / str(n), seed=n, after_s=float(after_s[n]), sync_s=sync_s)
            for n in range(n_kills)
        ]
        all_killed = [kill.result() for kill in kills]
    losses_ms = np.array([losses_s(killed) for killed in all_killed]) * 1000
    n_flips = sum(len(killed.flips_s) for killed in all_killed)
    entries, flips = losses_ms.max(axis=0)
    tell(
        f"{n_kills} kills (syncs {sync_s:g} s slower), {n_flips} flips: at worst {entries:.1f} ms of events "
        f"and {flips:.1f} ms of flips lost (median {np.median(losses_ms[:, 1]):.1f} ms of flips)"
    )
    assert (losses_ms <= ALLOWED_LOSS_S * 1000).all(), losses_ms.round(1).tolist()
