"""``rig bench --rig``: every figure is there; what they are belongs to the machine, but for what the card fixes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from rig.cli import app


@pytest.mark.timeout(200)
def test_a_card_is_measured_from_lick_to_pulse_and_step_by_step() -> None:
    result = CliRunner().invoke(
        app, ["bench", "--rig", "twin", "--licks", "12", "--seconds", "5", "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0
    figures = {figure["name"]: figure["value"] for figure in json.loads(result.output)}
    for name in (
        "empty call",
        "software path: the call that pays a lick",
        "software path: lick to pulse, by the card",
        "step without the frame pulse's call",
        "frame pulse's call",
    ):
        assert 0 < figures[f"{name}, median"] <= figures[f"{name}, 99 %"]
    assert figures["paying call over empty call, 99 %"] > 0
    if figures["card path: licks it has paid"]:  # a machine too busy has software pay
        assert figures["card path: lick to pulse, longest"] == 0, "on the lick's own tick"
    assert figures["late flips"] >= 0


def test_a_simulated_card_is_refused_in_a_sentence() -> None:
    result = CliRunner().invoke(app, ["bench", "--rig", "simulated"])
    assert result.exit_code == 1
    assert "name a rig with a card or the rig twin" in " ".join(result.output.split())
