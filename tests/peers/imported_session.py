"""Makes a session of ours, and its NWB file, of the recorded camstim pickle; the pickle beside it, unzipped.

``python -m tests.peers.imported_session FOLDER``.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

from rig.records.camstim.importing import import_camstim
from rig.records.camstim.reader import read_camstim
from rig.records.nwb.export import export_nwb
from tests.builders import RECORDED_SESSION, SHARED

PICKLE = "camstim.pkl"
NOTHING = "nothing_recorded.txt"
"""Stands in the folder where there are no recorded data at all, and lets the readers of it pass."""


def main(folder: Path) -> None:
    recorded = SHARED / "real" / RECORDED_SESSION
    folder.mkdir(parents=True)
    if not SHARED.is_dir():
        (folder / NOTHING).write_text(f"there are no recorded data in {SHARED}\n", encoding="utf-8")
        print(f"{SHARED} does not stand beside the checkout: no recorded session is imported", flush=True)
        return
    if not recorded.is_file():
        sys.exit(f"{recorded} is missing from the recorded data")
    log = import_camstim(read_camstim(recorded), folder / "session")
    export_nwb(log)
    (folder / PICKLE).write_bytes(gzip.decompress(recorded.read_bytes()))
    print(f"imported: {len(log.flips)} flips, {len(log.entries)} events", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
