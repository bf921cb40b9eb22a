"""The stochastic mouse beside real ones: medians over sessions, and where real sessions lie.

Real: quantiles over 277 published sessions of 15 mice (MOUSE_FACTS B; AllenNeuralDynamics,
``session_metrics.csv``). Counting follows that table: go and catch are completed trials, auto-rewarded ones apart;
d-prime is log-linear over the session; latencies count from the change with the monitor's delay.

Column O6, sessions in which mice hardly lick, stands for the mouse that has quit, with the spout within reach. No
passive session is published; its row stands beside O6 too, but behind a retracted spout nothing is heard.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import UUID

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from hardware.arrays import AnyArray
from hardware.simulated.mice import TRAINED_SESSIONS, MouseKind, Temperament
from rig.config.files import load_rig, load_stage
from rig.log.writer import MemoryLog
from rig.records.folds import Folds
from rig.records.running import speed_cm_s
from rig.session.assemble import SessionPlan, assembled
from rig.session.realtime import real_time
from stages.events import Lick, Outcome, RewardFired
from stages.metrics import MONITOR_DELAY_S, log_linear_d_prime
from stages.parameters import Stage

Quantiles = tuple[float, float, float, float, float]
"""q10, q25, q50, q75, q90 over real sessions."""
SESSIONS = 12
CAPTION = """Model: medians of simulated sessions. q10 to q90: real sessions (MOUSE_FACTS B). O6 is the real mouse
that has quit, with the spout in reach; no passive session is published, and behind a retracted spout nothing is
heard."""
BOUT_GAP_S = 0.5
"""A longer pause ends a bout (MOUSE_FACTS B)."""
BEGINS_DRINKING_S = 1.0
"""Licks after a reward are drinking if the first comes this soon. By hand: the published table does not say."""

T1: Mapping[str, Quantiles] = {
    "hit rate": (0.11, 0.20, 0.32, 0.42, 0.48),
    "false-alarm rate": (0.03, 0.07, 0.14, 0.22, 0.30),
    "d-prime": (0.02, 0.22, 0.55, 0.76, 1.09),
    "trials": (534, 643, 740, 912, 1123),
    "go trials": (190, 224, 264, 295, 311),
    "aborted": (135, 284, 419, 635, 880),
    "hits": (34, 58, 74, 92, 105),
    "licks": (841, 1342, 1918, 2620, 3295),
    "bouts": (271, 407, 563, 726, 1016),
    "licks per reward": (5.0, 6.5, 8.6, 11.0, 12.8),
    "water, mL": (0.45, 0.66, 0.83, 1.02, 1.12),
    "hit latency, s": (0.383, 0.438, 0.472, 0.526, 0.595),
    "running, cm/s": (0.0, 0.6, 2.2, 9.6, 20.7),
}
"""70 sessions of 14 mice."""
T2: Mapping[str, Quantiles] = {
    "hit rate": (0.02, 0.18, 0.35, 0.43, 0.57),
    "false-alarm rate": (0.00, 0.04, 0.10, 0.18, 0.25),
    "d-prime": (-0.12, 0.46, 0.69, 0.91, 1.36),
    "trials": (431, 484, 604, 787, 924),
    "go trials": (154, 196, 250, 288, 316),
    "aborted": (40, 122, 301, 547, 741),
    "hits": (7, 49, 68, 92, 111),
    "licks": (768, 1108, 1794, 2539, 3305),
    "bouts": (106, 234, 450, 702, 897),
    "licks per reward": (7.0, 8.6, 11.8, 14.5, 17.3),
    "water, mL": (0.24, 0.61, 0.74, 1.00, 1.17),
    "hit latency, s": (0.407, 0.425, 0.445, 0.487, 0.518),
    "running, cm/s": (0.3, 0.7, 2.1, 17.7, 25.4),
}
"""38 sessions of 13 mice."""
T4: Mapping[str, Quantiles] = {
    "hit rate": (0.10, 0.19, 0.58, 0.70, 0.89),
    "false-alarm rate": (0.01, 0.05, 0.10, 0.37, 0.44),
    "d-prime": (0.55, 0.68, 1.09, 1.45, 1.52),
    "trials": (464, 557, 736, 944, 1060),
    "go trials": (89, 130, 240, 300, 316),
    "aborted": (95, 209, 436, 790, 952),
    "hits": (33, 56, 80, 98, 148),
    "licks": (806, 1285, 2384, 2692, 3280),
    "bouts": (216, 310, 688, 934, 1129),
    "licks per reward": (8.1, 9.6, 10.5, 11.4, 13.0),
    "water, mL": (0.26, 0.42, 0.59, 0.71, 1.06),
    "hit latency, s": (0.350, 0.389, 0.477, 0.538, 0.555),
    "running, cm/s": (0.5, 0.8, 4.3, 19.9, 23.0),
}
"""16 sessions of 12 mice."""
O1: Mapping[str, Quantiles] = {
    "hit rate": (0.08, 0.15, 0.36, 0.50, 0.81),
    "false-alarm rate": (0.00, 0.03, 0.06, 0.14, 0.26),
    "d-prime": (0.22, 0.72, 1.07, 1.46, 1.77),
    "trials": (488, 512, 591, 684, 876),
    "go trials": (173, 239, 269, 299, 310),
    "aborted": (129, 166, 283, 386, 665),
    "hits": (26, 42, 84, 106, 140),
    "licks": (891, 1291, 1763, 2763, 3213),
    "bouts": (261, 345, 464, 726, 938),
    "licks per reward": (8.6, 9.9, 11.5, 13.0, 17.3),
    "water, mL": (0.21, 0.32, 0.61, 0.77, 1.00),
    "hit latency, s": (0.410, 0.457, 0.491, 0.533, 0.577),
    "running, cm/s": (1.0, 1.9, 17.6, 20.8, 28.1),
}
"""25 sessions of 12 mice."""
O6_DISENGAGED: Mapping[str, Quantiles] = {
    "hit rate": (0.00, 0.00, 0.01, 0.06, 0.11),
    "false-alarm rate": (0.00, 0.00, 0.00, 0.02, 0.03),
    "d-prime": (-0.69, -0.65, -0.30, 0.36, 0.87),
    "trials": (406, 412, 432, 460, 498),
    "go trials": (321, 337, 345, 348, 352),
    "aborted": (1, 5, 33, 70, 127),
    "hits": (0, 0, 2, 19, 35),
    "licks": (1, 22, 145, 277, 541),
    "bouts": (1, 12, 52, 126, 268),
    "licks per reward": (0.0, 0.1, 0.6, 1.2, 2.1),
    "water, mL": (0.03, 0.03, 0.04, 0.16, 0.27),
    "hit latency, s": (0.422, 0.490, 0.530, 0.553, 0.574),
    "running, cm/s": (1.2, 10.1, 19.7, 22.9, 27.4),
}
"""27 sessions of 12 mice that hardly licked: sated or passive, whatever the stage is called."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A stage that is simulated and the real sessions it is held against."""

    name: str
    stage: str
    real: Mapping[str, Quantiles]
    has_quit: bool = False


COMPARISONS = (
    Comparison("T1", "TRAINING_1_gratings", T1),
    Comparison("T2", "TRAINING_2_gratings_flashed", T2),
    Comparison("T4", "TRAINING_4_images_A_training", T4),
    Comparison("O1", "OPHYS_1_images_A", O1),
    Comparison("has quit / O6", "OPHYS_1_images_A", O6_DISENGAGED, has_quit=True),
)
PASSIVE = Comparison("O2 passive / O6", "OPHYS_2_images_A_passive", O6_DISENGAGED)
"""To look at beside the others: what the spout decides can't agree."""


def figures_of(
    folds: Folds, *, licks_s: Sequence[float], rewards_s: Sequence[float], flips: AnyArray
) -> dict[str, float]:
    """Return the figures of one session, NaN where there is none."""
    s = folds.summary.summary()
    latencies_s = [
        row.response_time_s - row.change_time_s - MONITOR_DELAY_S
        for row in folds.trials.rows
        if row.outcome is Outcome.HIT
    ]
    licks = np.array(licks_s)
    return {
        "hit rate": math.nan if s.hit_rate is None else s.hit_rate,
        "false-alarm rate": math.nan if s.false_alarm_rate is None else s.false_alarm_rate,
        "d-prime": log_linear_d_prime(n_hit=s.n_hit, n_go=s.n_go, n_false_alarm=s.n_false_alarm, n_catch=s.n_catch),
        "trials": s.n_trials,
        "go trials": s.n_go,
        "aborted": s.n_aborted,
        "hits": s.n_hit,
        "licks": s.n_licks,
        "bouts": int((np.diff(licks) > BOUT_GAP_S).sum()) + 1 if len(licks) else 0,
        "licks per reward": float(np.mean([_n_drinking(licks, r) for r in rewards_s])) if rewards_s else math.nan,
        "water, mL": s.water_ul / 1000,
        "hit latency, s": float(np.mean(latencies_s)) if latencies_s else math.nan,
        "running, cm/s": float(np.nanmean(speed_cm_s(flips))),
    }


def _n_drinking(licks_s: AnyArray, reward_s: float) -> int:
    """Return how many licks follow a reward without a pause."""
    first = int(np.searchsorted(licks_s, reward_s, side="right"))
    if first == len(licks_s) or licks_s[first] - reward_s > BEGINS_DRINKING_S:
        return 0
    pauses = np.flatnonzero(np.diff(licks_s[first : first + 100]) > BOUT_GAP_S)
    return int(pauses[0]) + 1 if len(pauses) else len(licks_s[first : first + 100])


def simulated(stage: Stage, *, seed: int, has_quit: bool = False) -> dict[str, float]:
    """Run one session of a stage with a stochastic mouse; return its figures."""
    parameters = None
    if has_quit:
        rng = np.random.default_rng(seed)
        parameters = Temperament.drawn(rng).session(rng, training_sessions=TRAINED_SESSIONS).sated()
    plan = SessionPlan(
        mouse=f"model-{seed}",
        stage=stage,
        rig=load_rig("simulated"),
        seed=seed,
        mouse_kind=MouseKind.STOCHASTIC,
        fast=True,
        session_id=UUID(int=seed),
        folder=Path("memory"),
        who="bench",
        mouse_parameters=parameters,
    )
    log, folds = MemoryLog(), Folds()
    with real_time(), assembled(plan, log=log, observers=(folds.feed,)) as loop:
        loop.run()
    events = [entry.event for entry in log.entries]
    return figures_of(
        folds,
        licks_s=[event.time_s for event in events if isinstance(event, Lick)],
        rewards_s=[event.time_s for event in events if isinstance(event, RewardFired)],
        flips=log.all_flips(),
    )


def medians(sessions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each figure's median over the sessions that have it, NaN where none has."""
    there = {name: [s[name] for s in sessions if not math.isnan(s[name])] for name in sessions[0]}
    return {name: median(values) if values else math.nan for name, values in there.items()}


def inside(value: float, quantiles: Quantiles) -> str:
    """Return ``IQR``, ``q10-q90`` or ``out``: where among real sessions a median lies; empty if there is none."""
    if math.isnan(value):
        return ""
    q10, q25, _, q75, q90 = quantiles
    if q25 <= value <= q75:
        return "IQR"
    return "q10-q90" if q10 <= value <= q90 else "out"


def compared(*, n_sessions: int = SESSIONS) -> Iterator[tuple[Comparison, dict[str, float]]]:
    """Run ``n_sessions`` of each stage, seeds from 1 up; give the medians."""
    for comparison in (*COMPARISONS, PASSIVE):
        stage = load_stage(comparison.stage)
        sessions = [simulated(stage, seed=seed, has_quit=comparison.has_quit) for seed in range(1, n_sessions + 1)]
        yield comparison, medians(sessions)


def table(*, n_sessions: int = SESSIONS) -> Table:
    """Return the medians beside the real quantiles as a table for people."""
    result = Table("median of", "model", "lies in", "q10", "q25", "q50", "q75", "q90", box=SIMPLE, caption=CAPTION)
    for comparison, of_model in compared(n_sessions=n_sessions):
        result.add_row(f"[b]{comparison.name}[/b]")
        for name, quantiles in comparison.real.items():
            value = of_model[name]
            shown = "--" if math.isnan(value) else f"{value:.4g}"
            real = [f"{q:g}" for q in quantiles]
            result.add_row(name, shown, inside(value, quantiles), *real)
        result.add_section()
    return result
