"""Imaging across days: containers, the planes of a session, and how good each was.

A container is one imaging plane that is found again day after day; a session images one to eight of them, and quality
is judged for the session and for each plane. The rig judges what it can know, the operator the rest. The last verdict
on an aspect stands; what nobody has judged is open, never good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware.events import ClockFitted, ControllerFailed, Finding, ImagingStep, MicroscopePhase, MicroscopeState
from hardware.events import Verdict as Found
from rig.lab.rows import Aspect, Container, Judge, Judgement, Plane, Session, Verdict
from rig.log.reader import SessionLog
from rig.records.alignment import TWO_PHOTON, alignment_of
from stages.events import DeviceFault, EndReason, RewardFailed

if TYPE_CHECKING:
    from rig.lab.lab import Lab

MOST_PLANES = 8
NO_MICROSCOPE = "the rig has no microscope"
GOOD_RESIDUAL_US = 1000.0
"""Card and host agree better than a millisecond, a sixteenth of the monitor's refresh and a tenth of the fastest
microscope's frame (TASK_FACTS 8: 31 Hz and less)."""
FRAMES = f"alignment of {TWO_PHOTON}"
"""The finding of a session whose card saw the microscope's frames, whoever commanded it."""
RIGS = (Aspect.HARDWARE, Aspect.SOFTWARE, Aspect.ALIGNMENT)
"""What the rig judges, of the whole session."""
OPERATORS = {
    False: (Aspect.STRESS, Aspect.BRAIN_HEALTH),
    True: (
        Aspect.INTENSITY_DRIFT,
        Aspect.SATURATION,
        Aspect.Z_DRIFT,
        Aspect.FIELD_OF_VIEW,
        Aspect.MOTION,
        Aspect.CROSSTALK,
    ),
}
"""What the operator judges, of the whole session (False) and of each plane (True)."""


class ImagingError(Exception):
    """What can't be recorded of an imaging session; says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a session or one of its planes was, by the verdicts that stand."""

    index: int | None
    """Of the plane; None for the session."""
    container: str
    verdicts: dict[Aspect, Verdict]
    open: tuple[Aspect, ...]
    """What is still to be judged."""

    @property
    def failed(self) -> tuple[Aspect, ...]:
        """What it failed by."""
        return tuple(aspect for aspect, each in self.verdicts.items() if each.judgement is Judgement.FAIL)

    def words(self) -> str:
        """Return it in a sentence."""
        what = "session" if self.index is None else f"plane {self.index}, {self.container}"
        if self.failed:
            told = (f"{named(aspect)}{_because(self.verdicts[aspect])}" for aspect in self.failed)
            return f"{what}: FAILED, {'; '.join(told)}"
        rest = f"to be judged: {', '.join(named(aspect) for aspect in self.open)}" if self.open else "passed"
        return f"{what}: {rest}"


def judged_by_rig(
    log: SessionLog, *, session_id: str | None = None, alignment: Iterable[Finding] | None = None
) -> list[Verdict]:
    """Return what the rig judges of a session from its log: hardware, software, temporal alignment.

    Parameters
    ----------
    session_id
        Of the session's first part, where this log is another.
    alignment
        Findings on the session's streams, besides the clock map's own residuals; from the log's edges where there are
        none.
    """
    started = log.started

    def verdict(aspect: Aspect, judgement: Judgement, figure: str) -> Verdict:
        return Verdict(
            mouse=started.mouse,
            session_id=session_id or started.session_id,
            aspect=aspect,
            judge=Judge.RIG,
            judgement=judgement,
            figure=figure,
        )

    events = [entry.event for entry in log.entries]
    broke = [*dict.fromkeys(_hardware(events))]
    unseen = not started.rig_parameters.get("imaging", True)
    if unseen:
        broke.append(NO_MICROSCOPE)
    failed = [event.what for event in events if isinstance(event, ControllerFailed)]
    crashed = log.ended is None or log.ended.reason is EndReason.CRASHED
    software = failed or (["the session crashed"] if crashed else []) + log.damage
    found = [stream.finding() for stream in alignment_of(log).streams] if alignment is None else [*alignment]
    good, figure = _aligned(events, found, images=bool(started.stage_parameters.get("imaging")))
    return [
        verdict(Aspect.HARDWARE, Judgement.FAIL if broke else Judgement.PASS, "; ".join(broke) or "no device failed"),
        verdict(Aspect.SOFTWARE, Judgement.FAIL if software else Judgement.PASS, "; ".join(software) or "ended whole"),
        verdict(Aspect.ALIGNMENT, good, figure),
    ]


def found_on_streams(log: SessionLog) -> list[Finding]:
    """Return what the log's own lines say of each stream's alignment, as the session's summary has it."""
    return [stream.finding() for stream in alignment_of(log).streams]


def add_container(lab: Lab, container: Container, *, why: str = "") -> Container:
    """Record a container, or with a reason another structure or depth of one that is on record.

    Raises
    ------
    ImagingError
        A name, structure or depth that can't be; or the mouse has one of that name that is another, and no reason.
    """
    if not container.name.strip() or not container.structure.strip():
        raise ImagingError("a container needs a name and the structure it is in, as VISp")
    if not 0 <= container.depth_um <= 1000:
        raise ImagingError(f"{container.depth_um:g} um is no depth of an imaging plane; give micrometres, 0 to 1000")
    there = _containers(lab, container.mouse).get(container.name.casefold())
    if there is None:
        return lab.record(container)
    if (there.structure, there.depth_um) == (container.structure, container.depth_um):
        return there
    if not why.strip():
        raise ImagingError(
            f"{container.mouse} has {there.name} on record, {there.structure} at {there.depth_um:g} um; if that was a "
            "mistake, say why with --why"
        )
    return lab.correct(there, why=why, structure=container.structure, depth_um=container.depth_um)


def set_planes(lab: Lab, session: Session, containers: Sequence[str], *, why: str = "") -> list[Plane]:
    """Record which containers a session's planes are, in the order of their planes; others than before with a reason.

    Raises
    ------
    ImagingError
        None or more than eight, one twice, or one that the mouse does not have; or others are on record, and no reason.
    """
    if not 1 <= len(containers) <= MOST_PLANES:
        raise ImagingError(f"a session images 1 to {MOST_PLANES} planes, these are {len(containers)}")
    known = _containers(lab, session.mouse)
    for name in containers:
        if name.casefold() not in known:
            have = ", ".join(sorted(row.name for row in known.values())) or "none yet"
            raise ImagingError(
                f"{session.mouse} has no container {name} (it has {have}); add it: rig imaging container"
            )
    if len({name.casefold() for name in containers}) < len(containers):
        raise ImagingError("a container is there twice; in one session each is one plane")
    planes = [
        Plane(
            mouse=session.mouse,
            session_id=session.session_id,
            plane_index=index,
            container=known[name.casefold()].name,
        )
        for index, name in enumerate(containers)
    ]
    wanted = {plane.plane_index: plane.container for plane in planes}
    before = lab.rows(Plane, session_id=session.session_id)
    other = [plane for plane in before if wanted.get(plane.plane_index) != plane.container]
    if other and not why.strip():
        told = ", ".join(f"plane {plane.plane_index} is {plane.container}" for plane in other)
        raise ImagingError(f"{told} on record; if that was a mistake, say why with --why")
    for plane in other:
        if plane.plane_index not in wanted:
            lab.withdraw(plane, why=why)
    return [lab.put_right(plane, why=why.strip() or "it was imaged after all") for plane in planes]


def _containers(lab: Lab, mouse: str) -> dict[str, Container]:
    """Return a mouse's containers by their names, whose capitals make no other."""
    return {row.name.casefold(): row for row in lab.rows(Container, mouse=mouse)}


def judge(
    lab: Lab, session: Session, aspect: Aspect, judgement: Judgement, *, index: int | None, figure: str
) -> Verdict:
    """Record an operator's verdict on a session, or on one of its planes.

    Raises
    ------
    ImagingError
        The rig's own to judge, of the session and not of a plane or the other way round, no such plane, or a failure
        without a word why.
    """
    if aspect in RIGS:
        raise ImagingError(f"{named(aspect)} is the rig's to judge, from the log; judge what it can't see")
    of_plane = aspect in OPERATORS[True]
    if of_plane != (index is not None):
        what = "of each plane; say which with --plane" if of_plane else "of the whole session; leave --plane out"
        raise ImagingError(f"{named(aspect)} is judged {what}")
    planes = lab.rows(Plane, session_id=session.session_id)
    if index is not None and index not in {plane.plane_index for plane in planes}:
        if not planes:
            raise ImagingError(
                f"no planes are on record for this session; record them with rig imaging planes {session.mouse} "
                f"CONTAINER..., their containers first with rig imaging container {session.mouse} NAME"
            )
        raise ImagingError(f"the session has no plane {index}; it has {len(planes)}, from 0 to {len(planes) - 1}")
    if judgement is Judgement.FAIL and not figure.strip():
        raise ImagingError("say why it fails, with --why: whoever takes it again must know")
    return lab.record(
        Verdict(
            mouse=session.mouse,
            session_id=session.session_id,
            plane_index=index,
            aspect=aspect,
            judge=Judge.OPERATOR,
            judgement=judgement,
            figure=figure,
        )
    )


def quality(lab: Lab, session_id: str) -> list[Quality]:
    """Return how good a session was, and each of its planes after it."""
    verdicts = lab.rows(Verdict, session_id=session_id)
    planes = sorted(lab.rows(Plane, session_id=session_id), key=lambda plane: plane.plane_index)
    found = [_quality(verdicts, None, "", (*RIGS, *OPERATORS[False]))]
    return found + [_quality(verdicts, plane.plane_index, plane.container, OPERATORS[True]) for plane in planes]


def named(aspect: Aspect) -> str:
    """Return an aspect as it is said."""
    return {
        Aspect.SATURATION: "saturation or bleaching",
        Aspect.Z_DRIFT: "z-drift",
        Aspect.FIELD_OF_VIEW: "field-of-view match",
        Aspect.STRESS: "animal stress",
        Aspect.HARDWARE: "hardware",
        Aspect.ALIGNMENT: "temporal alignment",
    }.get(aspect, aspect.value.replace("_", " "))


def _quality(verdicts: Sequence[Verdict], index: int | None, container: str, wanted: Sequence[Aspect]) -> Quality:
    standing = {each.aspect: each for each in verdicts if each.plane_index == index}
    judged = {aspect: each for aspect, each in standing.items() if each.judgement is not Judgement.NOT_JUDGED}
    return Quality(index, container, judged, tuple(aspect for aspect in wanted if aspect not in judged))


def _because(verdict: Verdict) -> str:
    return f" ({verdict.figure})" if verdict.figure else ""


def _hardware(events: Sequence[object]) -> Iterator[str]:
    """Name what failed; what a microscope said before the session began with it is of another one."""
    has_begun = not any(isinstance(event, ImagingStep) for event in events)
    for event in events:
        match event:
            case ImagingStep():
                has_begun = True
            case DeviceFault():
                yield f"{event.device}: {event.what}"
            case RewardFailed():
                yield f"reward {event.reward}: {event.why}"
            case MicroscopeState() if has_begun and event.phase is MicroscopePhase.FAILED:
                yield f"microscope: {event.what or 'failed'}"
            case _:
                pass


def _aligned(events: Sequence[object], findings: Sequence[Finding], *, images: bool) -> tuple[Judgement, str]:
    """Judge the clocks and the streams on them; what was never measured is not judged.

    A stage that ``images`` fails where no microscope took part: there is nothing to be aligned, however good the
    clocks are.
    """
    fits = [event for event in events if isinstance(event, ClockFitted)]
    wrong = [f"{each.name}: {each.figure}" for each in findings if each.verdict is Found.FAIL]
    if wrong:
        return Judgement.FAIL, "; ".join(wrong)
    if not fits:
        return Judgement.NOT_JUDGED, "no clock was fitted"
    commanded = any(isinstance(event, ImagingStep | MicroscopeState) for event in events)
    if images and not commanded and FRAMES not in {each.name for each in findings}:
        return Judgement.FAIL, "no 2-photon frames: no microscope took part in this session"
    settled = [fit.residual_us for fit in fits[1:]] or [fits[0].residual_us]
    good = max(settled) <= GOOD_RESIDUAL_US
    return Judgement.PASS if good else Judgement.FAIL, f"residual {max(settled):.0f} us at most, over {len(fits)} fits"
