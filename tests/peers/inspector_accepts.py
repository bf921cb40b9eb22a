"""The archive's inspector and pynwb's validation on our NWB files: ``python -m tests.peers.inspector_accepts FOLDER``.

Nothing but suggestions may come, and only those named here; each stays for a reason.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from nwbinspector import Importance, inspect_nwbfile, load_config
from pynwb import validate

from tests.peers.imported_session import NOTHING

STAY = {
    "check_processing_module_name": "AllenSDK looks for modules of these names: stimulus, running, licking, rewards",
    "check_column_binary_capability": "AllenSDK joins the tables and needs a missing value in omitted and is_change; "
    "movie_repeat counts, and a short movie is shown twice only",
    "check_experimenter_exists": "who it was stands in an about file, or is not known",
    "check_institution": "as above",
    "check_col_not_nan": "AllenSDK opens no table of trials without these columns, and nothing of the kind happened",
    "check_single_row": "one trial was cut short",
    "check_timestamp_of_the_first_sample_is_not_negative": "the microscope runs before the first flip, and its frames "
    "are on the session's clock",
}


def problems(path: Path) -> tuple[list[str], Counter[str]]:
    """What may not be in a file, and how often each suggestion comes that stays."""
    wrong = [f"validation: {error}" for error in validate(path=path)]
    stay: Counter[str] = Counter()
    for message in inspect_nwbfile(nwbfile_path=path, config=load_config("dandi")):
        check = message.check_function_name
        if message.importance is Importance.BEST_PRACTICE_SUGGESTION and check in STAY:
            stay[check] += 1
        else:
            wrong.append(f"{message.importance.name} {check} {message.location}: {message.message}")
    return wrong, stay


def main(folder: Path) -> None:
    total: Counter[str] = Counter()
    paths = sorted(folder.glob("*/session.nwb"))
    if (folder / NOTHING).is_file():
        print("There are no recorded data beside the checkout: nothing to inspect.")
        return
    if not paths:
        sys.exit(f"{folder} holds no NWB file: nothing was inspected")
    for path in paths:
        wrong, stay = problems(path)
        if wrong:
            sys.exit(f"{path}:\n" + "\n".join(sorted(set(wrong))))
        total += stay
    print(f"nwbinspector and pynwb: {len(paths)} files without error or violation; suggestions that stay:")
    for check, n in sorted(total.items()):
        print(f"  {n:3d} {check}: {STAY[check]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
