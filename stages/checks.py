"""Does a stage fit a rig? Every duration that does not, at once."""

from __future__ import annotations

from stages.parameters import Flashed, StageParameters
from stages.timing import NotWholeRefreshes, whole_refreshes


def duration_problems(p: StageParameters, *, refresh_hz: float) -> list[NotWholeRefreshes]:
    """Return one error for each duration of the stage that is no whole number of refreshes."""
    durations = {
        "timeout_s": p.timeout_s,
        "response_window_s[1] + after_window_s": p.response_window_s[1] + p.after_window_s,
        "auto_reward_delay_s": p.auto_reward_delay_s,
        "gray_before_s": p.gray_before_s,
        "task_duration_min": p.task_duration_min * 60,
        "gray_after_s": p.gray_after_s,
        "overrun_limit_s": p.overrun_limit_s,
    }
    if isinstance(p.presentation, Flashed):
        durations["presentation.flash_s"] = p.presentation.flash_s
        durations["presentation.gray_s"] = p.presentation.gray_s
    if p.movie is not None:
        durations["movie.frame_rate_hz"] = 1 / p.movie.frame_rate_hz
    problems = []
    for field, seconds in durations.items():
        try:
            whole_refreshes(seconds, refresh_hz=refresh_hz, field=field)
        except NotWholeRefreshes as problem:
            problems.append(problem)
    return problems
