"""An imaging session in real time against the simulated microscope's process, and what really happened beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from hardware.arrays import AnyArray, FloatArray
from hardware.clock import TICKS_PER_S, CardClock
from hardware.lines import Line
from hardware.simulated import card as simulated_card
from hardware.simulated.card import SimulatedCard
from hardware.simulated.mice import MouseKind
from hardware.simulated.microscope.process import SimulatedMicroscopeProcess
from hardware.simulated.photodiode import Photodiode
from hardware.simulated.twin import Twin
from rig.log.reader import SessionLog, read_session
from rig.log.writer import LogThread, LogWriter
from rig.records.card_lines import CardLines
from rig.session import microscopes
from rig.session.assemble import assembled
from rig.session.loop import Loop
from rig.session.realtime import real_time
from stages.events import SessionEnded
from tests.builders import plan, rig_config, stage

DRIFT_PPM, OFFSET_S = 50.0, 0.03
REPLY_S, FIRST_FRAMES_S = 0.8, 1.2
GRAY_S = 4.0
"""As long as the microscope may take to start."""
SOON = {"kind": "geometric", "p": 0.3, "flashes_min": 2, "flashes_max": 5}


def microscope(**changes: Any) -> dict[str, Any]:
    """The simulated microscope as a process, in a rig's file."""
    return {
        "kind": "process",
        "drift_ppm": DRIFT_PPM,
        "clock_offset_s": OFFSET_S,
        "reply_s": REPLY_S,
        "first_frames_s": FIRST_FRAMES_S,
        **changes,
    }


@dataclass
class Imaged:
    """What a session has left, and the truth of each stream by the host's clock."""

    ended: SessionEnded
    log: SessionLog
    card_clock: CardClock
    """The card's counter against the host's clock, by its maker."""
    pulses_s: FloatArray
    """The microscope's."""
    patch_s: FloatArray
    licks_s: FloatArray
    exposures_s: dict[Line, FloatArray]
    still_acquires: bool
    microscope_zero_s: float
    called: list[str] = field(default_factory=list)

    def all(self, *kinds: type[Any]) -> list[Any]:
        """All events of some types, in order."""
        return [entry.event for entry in self.log.entries if isinstance(entry.event, kinds)]

    def true_s(self, host_s: FloatArray) -> FloatArray:
        """Return the session times of host times, by the card's true clock."""
        zero = CardLines.of(self.log).zero
        assert zero is not None
        return (self.card_clock.ticks_of(np.asarray(host_s)) - zero) / TICKS_PER_S

    def residual_us(self, recorded_s: AnyArray, truth_s: FloatArray) -> float:
        """Return the largest difference of a stream's recorded times and the true ones, all of which must be there."""
        true_s = self.true_s(truth_s)
        assert len(recorded_s) == len(true_s), f"{len(recorded_s)} recorded, {len(true_s)} happened"
        return float(np.abs(np.asarray(recorded_s) - true_s).max()) * 1e6


def run_imaged(
    folder: Path,
    stage_name: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    twin: bool = False,
    minutes: float = 0.1,
    of_microscope: dict[str, Any] | None = None,
    kind: MouseKind = MouseKind.PERFECT,
    **rig: Any,
) -> Imaged:
    """Run a session in real time; on the simulated card, or on the twin through the real library."""
    processes: list[SimulatedMicroscopeProcess] = []
    patch_s: list[float] = []
    licks_s: list[float] = []

    class Kept(SimulatedMicroscopeProcess):
        def __enter__(self) -> Self:
            processes.append(self)
            super().__enter__()
            return self

    class Seen(Photodiode):
        def _seen(self, changes: FloatArray) -> FloatArray:
            seen_s = super()._seen(changes)
            patch_s.extend(seen_s.tolist())
            return seen_s

    monkeypatch.setattr(microscopes, "SimulatedMicroscopeProcess", Kept)
    monkeypatch.setattr(simulated_card, "Photodiode", Seen)
    config = rig_config(
        "twin" if twin else "simulated_imaging", imaging=True, microscope=microscope(**of_microscope or {}), **rig
    )
    changes: dict[str, Any] = {"task_duration_min": minutes, "gray_before_s": GRAY_S, "gray_after_s": 0.25}
    if "passive" not in stage_name:
        changes |= {"warm_up_trials": 1, "change": SOON}
    session = plan(stage(stage_name, **changes), config, kind=kind, fast=False, folder=folder)
    with (
        _twin(twin) as at,
        contextlib.closing(LogThread(LogWriter(folder))) as log,
        real_time(),
        assembled(session, log=log, twin=at) as loop,
    ):
        if at is None:
            loop.devices.edges.on_lick(lambda host_s, _: licks_s.append(host_s))  # type: ignore[attr-defined]
        ended = loop.run()
        card_clock, exposures_s = _truth(loop, at)
        process = processes[0]
        still_acquires = process.acquiring
        if at is not None:
            licks_s = [host_s for host_s, _, reached in at.bench.mouse_truth().licks if reached]
            patch = at.bench.scope(f"port0/line{int(Line.STIM_PHOTODIODE)}")
            patch_s = [card_clock.host_s(ticks) for ticks, _ in patch]
    return Imaged(
        ended=ended,
        log=read_session(folder),
        card_clock=card_clock,
        pulses_s=np.array(process.pulses_s),
        patch_s=np.array(patch_s),
        licks_s=np.array(licks_s),
        exposures_s=exposures_s,
        still_acquires=still_acquires,
        microscope_zero_s=float(process._options["host_zero_s"]),
        called=[called.name for called in process.called],
    )


@contextlib.contextmanager
def _twin(wanted: bool) -> Iterator[Twin | None]:
    if not wanted:
        yield None
        return
    with Twin(drift_ppm=20.0) as twin:
        yield twin


def _truth(loop: Loop, twin: Twin | None) -> tuple[CardClock, dict[Line, FloatArray]]:
    """Return the card's true clock, and the true exposures."""
    lines = (Line.CAM1_EXPOSURE, Line.CAM2_EXPOSURE)
    if twin is not None:
        zero = twin.bench.ticks(0.0)
        ticks = {line: [t for t, level in twin.bench.scope(f"port0/line{int(line)}") if level] for line in lines}
        clock = CardClock(drift_ppm=20.0, zero_ticks=zero)
        return clock, {line: np.array([clock.host_s(t) for t in found]) for line, found in ticks.items()}
    card = loop.devices.edges
    assert isinstance(card, SimulatedCard)
    now_s = card.clock.now_s()
    return card.card_clock, {line: card._trains[line][0](-np.inf, now_s) for line in lines}
