"""A rig that expects to be killed while it records water: ``python -m tests.rig.lab.drinking URL FOLDER RIG N``.

It records the water of ``N`` sessions from the first one on, twice each, reconciles after every third, and says the
number of each that was recorded.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from tests.rig.lab.labs import drunk, lab, uuid


def volume_ml(number: int) -> float:
    """Return what was drunk in a session."""
    return 0.1 + number / 1000


def main(url: str, folder: Path, rig: str, n: int) -> None:
    with closing(lab(url, folder, rig=rig)) as one:
        for number in range(n):
            for _ in range(2):
                one.record(drunk(uuid(number), volume_ml(number)))
            print(number, flush=True)
            if number % 3 == 2:
                one.reconcile()
        one.reconcile()
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
