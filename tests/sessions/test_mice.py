"""Whole sessions of the stochastic mouse beside the quantiles of real ones (MOUSE_FACTS B)."""

from __future__ import annotations

import numpy as np
import pytest

from rig.mouse_quantiles import COMPARISONS, O6_DISENGAGED, Comparison, inside, medians, simulated
from stages.draws import geometric_probabilities
from tests.builders import stage
from tests.telling import Tell

N_SESSIONS = 10
WIDER = {
    "T2": {"d-prime"},
    "has quit / O6": {"hit latency, s"},
}
"""Figures whose medians over ten sessions may leave the quartiles, but not q10 to q90: the known misfits of
``hardware.simulated.mice.parameters``."""


def of_model(comparison: Comparison, n_sessions: int) -> dict[str, float]:
    parameters = stage(comparison.stage, task_duration_min=60.0)
    return medians(
        [simulated(parameters, seed=seed, has_quit=comparison.has_quit) for seed in range(1, n_sessions + 1)]
    )


@pytest.mark.parametrize(
    "comparison",
    [pytest.param(c, marks=() if c.name == "O1" else pytest.mark.slow, id=c.name) for c in COMPARISONS],
)
def test_medians_of_sessions_lie_among_real_ones(comparison: Comparison, tell: Tell) -> None:
    model = of_model(comparison, N_SESSIONS)
    held = {name: inside(model[name], real) for name, real in comparison.real.items()}
    tell(f"{comparison.name}: " + ", ".join(f"{name} {model[name]:.3g}" for name in held))
    wider = WIDER.get(comparison.name, set())
    assert {name: where for name, where in held.items() if where != "IQR" and name not in wider} == {}
    assert {name for name, where in held.items() if where == "out"} == set()


def test_a_passive_session_has_no_lick_no_water_and_as_many_trials_as_its_time_holds() -> None:
    parameters = stage("OPHYS_2_images_A_passive", task_duration_min=60.0)
    change = parameters.change
    flashes = 6 + np.arange(change.flashes_min, change.flashes_max + 1)  # from one change to the next
    probabilities = geometric_probabilities(change)
    mean = flashes @ probabilities
    n_flashes = 60 * 60 / 0.75
    sd = np.sqrt(n_flashes * ((flashes - mean) ** 2 @ probabilities) / mean**3)
    sessions = [simulated(parameters, seed=seed) for seed in range(1, 9)]
    for session in sessions:
        assert [session[name] for name in ("licks", "water, mL", "aborted", "hits")] == [0, 0, 0, 0]
        assert session["trials"] == pytest.approx(n_flashes / mean, abs=4 * sd)
        assert session["go trials"] == pytest.approx(7 / 8 * session["trials"], abs=8)
    assert inside(medians(sessions)["running, cm/s"], O6_DISENGAGED["running, cm/s"]) != "out"
