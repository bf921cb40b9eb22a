"""A mouse in words: what it is, and the last of everything that is on record of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rig.lab.rows import Mouse, Override, Remark, Water, Weight
from rig.training.scales import drunk_ml, limits_of
from rig.training.welfare import in_percent
from stages.history import SessionFacts

if TYPE_CHECKING:
    from rig.lab.lab import Lab

SHOWN = 5
"""How many of each are shown, the last ones."""


def mouse_line(lab: Lab, mouse: Mouse) -> str:
    """Return a mouse in one line: name, sex, image sets, stage, genotype."""
    decided = lab.decisions(mouse.name)
    genes = mouse.genotype or "genotype not said"
    stage = decided[-1].stage if decided else "no decision yet"
    return f"{mouse.name}  {mouse.sex.value}  {mouse.familiar}/{mouse.novel}  {stage}  {genes}"


def mouse_words(lab: Lab, mouse: Mouse) -> str:
    """Return all that is worth reading about a mouse, a line each."""
    return "\n".join(_lines(lab, mouse))


def _lines(lab: Lab, mouse: Mouse) -> Iterator[str]:
    limits = limits_of(mouse)
    born = mouse.born or "not said"
    yield f"{mouse.name}, {mouse.sex.value}, born {born}, {mouse.genotype or 'genotype not said'}"
    cohort = f"; cohort {mouse.cohort}" if mouse.cohort else ""
    yield f"Curriculum {mouse.curriculum}, images {mouse.familiar}, then {mouse.novel}{cohort}"
    yield (
        f"Baseline {limits.baseline_g:.1f} g, target {mouse.target_weight_g:.1f} g, floor {limits.floor_g:.1f} g "
        f"({in_percent(limits.floor_g, limits)}); water {limits.least_daily_ml:.2f} mL a day at least"
    )
    for weight in lab.rows(Weight, mouse=mouse.name)[-SHOWN:]:
        yield f"Weight {weight.day}: {weight.weight_g:.1f} g, {in_percent(weight.weight_g, limits)}"
    for day in sorted({row.day for row in lab.rows(Water, mouse=mouse.name)})[-SHOWN:]:
        yield f"Water {day}: {drunk_ml(lab, mouse.name, day):.2f} mL"
    for facts in lab.sessions(mouse.name)[-SHOWN:]:
        yield _session(facts)
    for override in lab.overrides(mouse.name)[-SHOWN:]:
        yield _override(override)
    for note in lab.rows(Remark, mouse=mouse.name)[-SHOWN:]:
        yield f"Note {note.day}, {note.who}: {note.text}"


def _session(facts: SessionFacts) -> str:
    d_prime = "none" if facts.peak_d_prime is None else f"{facts.peak_d_prime:.2f}"
    ran = f"{facts.task_min:.0f} of {facts.planned_min:g} min"
    ended = facts.ended.replace("_", " ")
    return f"Session {facts.day}: {facts.stage}, peak d′ {d_prime}, {ran}, ended: {ended}  {facts.session_id}"


def _override(row: Override) -> str:
    stage = f" {row.stage}" if row.stage else ""
    return f"Override {row.day}: {row.kind.value.replace('_', ' ')}{stage}, {row.who}: {row.why}"
