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


def main(folder: Path) -> None:
    recorded = SHARED / "real" / RECORDED_SESSION
    if not recorded.is_file():
        folder.mkdir(parents=True)
        print(f"{recorded.name} does not stand beside the checkout: the recorded session is not imported", flush=True)
        return
    log = import_camstim(read_camstim(recorded), folder / "session")
    export_nwb(log)
    (folder / PICKLE).write_bytes(gzip.decompress(recorded.read_bytes()))
    print(f"imported: {len(log.flips)} flips, {len(log.entries)} events", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
