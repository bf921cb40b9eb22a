"""Does a stage fit a rig? Everything that does not, at once."""

from __future__ import annotations

from stages.parameters import Flashed, Stage, StageParameters, SweepParameters
from stages.timing import NotWholeRefreshes, whole_refreshes


def screen_problems(p: Stage, *, refresh_hz: float) -> list[ValueError]:
    """Return one error for each thing of the stage that a screen of this rate can't show as it is written."""
    problems: list[ValueError] = []
    for field, seconds in _durations_s(p).items():
        try:
            whole_refreshes(seconds, refresh_hz=refresh_hz, field=field)
        except NotWholeRefreshes as problem:
            problems.append(problem)
    if isinstance(p, SweepParameters) and p.sweep.temporal_frequency_hz >= refresh_hz / 2:
        problems.append(
            ValueError(
                f"sweep.temporal_frequency_hz: a drift of {p.sweep.temporal_frequency_hz:g} Hz can't be seen at "
                f"{refresh_hz:g} Hz; stay below {refresh_hz / 2:g} Hz"
            )
        )
    return problems


def _durations_s(p: Stage) -> dict[str, float]:
    durations = {"gray_before_s": p.gray_before_s, "gray_after_s": p.gray_after_s}
    if isinstance(p, StageParameters):
        durations |= {
            "timeout_s": p.timeout_s,
            "response_window_s[1] + after_window_s": p.response_window_s[1] + p.after_window_s,
            "auto_reward_delay_s": p.auto_reward_delay_s,
            "task_duration_min": p.task_duration_min * 60,
            "overrun_limit_s": p.overrun_limit_s,
        }
        if isinstance(p.presentation, Flashed):
            durations["presentation.flash_s"] = p.presentation.flash_s
            durations["presentation.gray_s"] = p.presentation.gray_s
    else:
        durations |= {"sweep.duration_s": p.sweep.duration_s, "sweep.gap_s": p.sweep.gap_s}
    if p.movie is not None:
        durations["movie.frame_rate_hz"] = 1 / p.movie.frame_rate_hz
    return durations
