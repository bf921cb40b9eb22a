"""What a command to the microscope takes: measured between processes, beside an empty echo."""

from __future__ import annotations

from rig.link_bench import measure_link


def test_it_measures_echo_command_and_the_loops_share_of_it() -> None:
    figures = {str(figure["name"]): figure for figure in measure_link(n=20)}
    assert list(figures) == [
        f"{what}, {quantile}"
        for what in (
            "echo of the same sockets",
            "microscope: command to acknowledgement",
            "microscope: command to done",
            "loop: giving a command",
            "loop: taking what was said",
        )
        for quantile in ("median", "99 %")
    ]
    assert all(isinstance(figure["value"], float) and figure["value"] > 0 for figure in figures.values())
    done, acknowledged = (
        figures[f"microscope: command to {to}, median"]["value"] for to in ("done", "acknowledgement")
    )
    assert isinstance(done, float)
    assert isinstance(acknowledged, float)
    assert done > acknowledged
