"""Whole sessions of the stochastic mouse beside the quantiles of real ones (MOUSE_FACTS B)."""

from __future__ import annotations

import pytest

from rig.mouse_quantiles import COMPARISONS, Comparison, inside, medians, simulated
from tests.builders import stage

N_SESSIONS = 10
BEHIND_THE_SPOUT = {"go trials", "aborted", "licks", "bouts", "water, mL", "licks per reward", "hit latency, s"}
"""Figures that a retracted spout decides; the real sessions beside a passive one had theirs within reach."""
WIDER = {
    "T2": {"d-prime"},
    "O2 passive / O6": {"d-prime", "trials", "running, cm/s"},
    "has quit / O6": {"hit latency, s"},
}
"""Figures whose medians over so few sessions lie between q10 and q90 but not always between the quartiles."""


def of_model(comparison: Comparison, n_sessions: int) -> dict[str, float]:
    parameters = stage(comparison.stage, task_duration_min=60.0)
    return medians(
        [simulated(parameters, seed=seed, has_quit=comparison.has_quit) for seed in range(1, n_sessions + 1)]
    )


@pytest.mark.parametrize(
    "comparison",
    [pytest.param(c, marks=() if c.name == "O1" else pytest.mark.slow, id=c.name) for c in COMPARISONS],
)
def test_medians_of_sessions_lie_among_real_ones(comparison: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    model = of_model(comparison, N_SESSIONS)
    passive = stage(comparison.stage).passive
    held = {name: inside(model[name], real) for name, real in comparison.real.items()}
    with capsys.disabled():
        print(f"\n{comparison.name}: " + ", ".join(f"{name} {model[name]:.3g}" for name in held))
    if passive:
        assert model["licks"] == model["aborted"] == model["water, mL"] == 0
        held = {name: where for name, where in held.items() if name not in BEHIND_THE_SPOUT}
    wider = WIDER.get(comparison.name, set())
    assert {name: where for name, where in held.items() if where != "IQR" and name not in wider} == {}
    assert {name for name, where in held.items() if where == "out"} == set()
