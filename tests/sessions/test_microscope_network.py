"""Rig and microscope on two sides of a network that fails: cable pulled, packets lost, bytes delayed and held back.

Two network namespaces with a pair of virtual cables; ``network`` has the cases and how each is done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.sessions.network import AS_ROOT
from tests.telling import Tell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")


def over_the_network(cases: str, tell: Tell) -> None:
    """Run cases in a process of its own; say how they went; fail with the story of each that went wrong."""
    as_root = [] if os.geteuid() == 0 else AS_ROOT
    command = [*as_root, sys.executable, "-m", "tests.sessions.network", cases]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    bad = [case for case in told if case["wrong"]]
    assert not bad, "\n\n".join(f"{case['case']}: {case['wrong']}\n{case['story']}" for case in bad)
    tell(
        f"{len(told)} cases: lost in {sum(case['lost'] for case in told)}, no session in "
        f"{sum(case['refused'] for case in told)}; the longest took {max(case['took_s'] for case in told):.1f} s, the "
        f"microscope acquired at most {max(case['left_s'] for case in told):.2f} s after a session's end"
    )


def test_a_network_that_fails_neither_hangs_a_session_nor_starts_a_microscope_twice_or_late(tell: Tell) -> None:
    over_the_network("test", tell)


@pytest.mark.long(group="others")
def test_a_network_that_fails_is_survived_under_every_policy(tell: Tell) -> None:
    over_the_network("soak", tell)
