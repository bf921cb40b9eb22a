"""The pages of the README that an operator would read, as the commands print them: ``python -m tests.rig.pages``.

A simulated laboratory of five mice on one day. The README holds what comes out here; a test compares.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from typer.testing import CliRunner

from rig.cli import app
from rig.lab.rows import Mouse, Override, OverrideKind, Weight
from rig.training.standing import record_decision, standing
from tests.rig.laboratory import Laboratory, Scripted, curriculum_of, laboratory

README = Path(__file__).resolve().parents[2] / "README.md"
SEED = 8
LONG_DAYS = 9
"""How many sessions the mouse has whose climb is told."""
CLIMBS, LIGHT, THIRSTY, WATCHES, RUNS = "M804", "M805", "M806", "M807", "M808"
GRAY = {"gray_before_s": 1.0, "gray_after_s": 1.0, "movie": None}


def pages(folder: Path) -> dict[str, str]:
    """What ``rig --help``, ``rig today`` and ``rig curriculum explain`` print, by these names."""
    with laboratory(folder, seed=SEED, changes=GRAY) as there, ExitStack() as stack:
        for name in (CLIMBS, LIGHT, THIRSTY, WATCHES, RUNS):
            there.lab.record(mouse(name))
        withdraw_first(there)
        for there.n_days in range(LONG_DAYS):
            there.start(CLIMBS, operator=Scripted(weighs_g=21.0 + 0.1 * there.n_days))
        for name, stage in ((LIGHT, "TRAINING_2_gratings_flashed"), (WATCHES, "OPHYS_1_images_A")):
            place(there, name, stage, "was there before on another rig")
            there.start(name, operator=Scripted(weighs_g=20.6))
        place(there, WATCHES, "OPHYS_2_images_A_passive", "next in the usual order")
        there.n_days += 1
        there.lab.record(Weight(mouse=LIGHT, day=there.day, weight_g=19.7))
        there.start(THIRSTY)
        stack.enter_context(
            there.lab.lease(RUNS, rig="box-2", session_id="00000000-0000-4000-8000-000000000808", day=there.day)
        )
        lab = f"sqlite:///{folder / 'lab.sqlite'}"
        return {
            "rig --help": printed("--help"),
            "rig today": printed("today", "--day", there.day, "--lab", lab),
            f"rig curriculum explain {CLIMBS}": printed(
                "curriculum", "explain", CLIMBS, "--sessions", str(there.data_dir), "--lab", lab
            ),
        }


def mouse(name: str) -> Mouse:
    """One of the README's mice."""
    return Mouse(
        name=name,
        curriculum="visual_behavior",
        familiar="A",
        novel="B",
        baseline_weight_g=25.0,
        target_weight_g=21.5,
        floor_weight_g=20.0,
        least_daily_water_ml=1.0,
    )


def place(there: Laboratory, name: str, stage: str, why: str) -> None:
    """Place a mouse after its last session, or before its first."""
    history = there.lab.sessions(name)
    last = history[-1].session_id if history else None
    there.lab.record(
        Override(mouse=name, day=there.day, kind=OverrideKind.STAGE, stage=stage, after_session=last, why=why)
    )
    of = there.lab.mouse(name)
    now = standing(there.lab, of, curriculum=curriculum_of(of), archive=there.archive)
    record_decision(there.lab, name, now.decision, day=there.day)


def withdraw_first(there: Laboratory) -> None:
    """Take the tests' own mouse out of this laboratory."""
    there.lab.withdraw(there.lab.mouse("M1"), why="not one of these")


def printed(*arguments: str) -> str:
    """What a command prints on a page of 80 columns, without blanks at the ends of its lines."""
    with patch.dict("os.environ", {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}):
        result = CliRunner().invoke(app, list(arguments), prog_name="rig")
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.stdout.splitlines()).strip("\n")


def in_readme(text: str, command: str) -> str | None:
    """What a README shows of a command: the block that begins with it; None where there is none."""
    found = re.search(rf"```\n\$ {re.escape(command)}\n(.*?)```\n", text, re.DOTALL)
    return found[1].removesuffix("\n") if found else None


def main() -> None:
    """Write the pages into the README."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for command, page in pages(Path(folder)).items():
            shown = in_readme(text, command)
            if shown is None:
                raise SystemExit(f"README.md has no block that begins with $ {command}")
            text = text.replace(
                f"$ {command}\n{shown}\n```\n" if shown else f"$ {command}\n```\n", f"$ {command}\n{page}\n```\n"
            )
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
