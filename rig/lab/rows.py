"""The facts of a laboratory, one frozen value a row.

Whoever records a row leaves out identity, time and author: ``Lab.record`` fills them in. A field that comes later must
have a default: the hash of a row leaves out what stands at its default, and so stays that of older rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid4, uuid5

import msgspec

from stages.history import SessionFacts

NAMESPACE = UUID("6b0d5a0e-6d5c-4f0c-9d2b-0f5a3f1f7c55")
"""Of the identities that follow from what a row says."""
UNTOLD = ("recorded_at", "who", "host")
"""What may differ between two recordings of one fact: the first one stands."""


Named = Annotated[str, msgspec.Meta(min_length=1)]
Day = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]
"""Of the laboratory's calendar: ``YYYY-MM-DD``."""
Instant = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$")]
"""ISO 8601 with its offset."""


class Sex(StrEnum):
    """A mouse's sex, as in the release's table."""

    FEMALE = "F"
    MALE = "M"
    UNKNOWN = "U"


class WaterKind(StrEnum):
    """What water was given for."""

    SESSION = "session"
    """Drunk in a session: earned, automatic and free rewards."""
    SUPPLEMENT = "supplement"
    """By hand, to reach the least daily water."""
    BEFORE_PASSIVE = "before_passive"
    """By hand, before a passive session."""


class OverrideKind(StrEnum):
    """What an operator may decide against the rig."""

    STAGE = "stage"
    """The stage: a placement, also the manual steps of imaging."""
    SECOND_SESSION = "second_session"
    """Another session on the same day."""
    WELFARE = "welfare"
    """A session in spite of a welfare limit."""
    WRONG_WEIGHT = "wrong_weight"
    """A weight off the mouse's trend, confirmed by its name."""
    MISFIT = "misfit"
    """A history that does not fit, confirmed by the mouse's name."""
    NO_LEASE = "no_lease"
    """A start while the laboratory's database was away."""
    NOT_ITS = "not_its"
    """A log with the mouse's name that is not the mouse's."""
    NO_MICROSCOPE = "no_microscope"
    """A stage that is imaged, on a rig that has no microscope."""


class Aspect(StrEnum):
    """What the quality of an imaging session or plane is judged by."""

    HARDWARE = "hardware"
    SOFTWARE = "software"
    ALIGNMENT = "alignment"
    INTENSITY_DRIFT = "intensity_drift"
    SATURATION = "saturation"
    """Saturation or bleaching."""
    Z_DRIFT = "z_drift"
    FIELD_OF_VIEW = "field_of_view"
    """Whether it is the container's."""
    MOTION = "motion"
    CROSSTALK = "crosstalk"
    BRAIN_HEALTH = "brain_health"
    STRESS = "stress"
    """The animal's."""


class Judgement(StrEnum):
    """What came of judging."""

    PASS = "pass"
    FAIL = "fail"
    NOT_JUDGED = "not_judged"


class Judge(StrEnum):
    """Who judged."""

    RIG = "rig"
    OPERATOR = "operator"


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every row has. Empty until the row is recorded: ``id``, ``recorded_at``, ``who``, ``host``."""

    table: ClassVar[str]
    """The table's name; it is what a row of it is called, too."""

    id: str = ""
    """UUID."""
    recorded_at: str = ""
    """ISO 8601 in UTC, to the microsecond, by the clock of the computer that recorded it."""
    who: str = ""
    host: str = ""
    """The computer."""
    corrects: str | None = None
    """``id`` of the row in whose place this one stands."""
    withdrawn: bool = False
    """Nothing stands in the place of the row that this one corrects."""
    why: str = ""
    """Why it was corrected, withdrawn or overridden; free text."""

    def identity(self) -> str:
        """Return the UUID of this fact: of its content where it must not be there twice, else a random one."""
        said = None if self.corrects else self.said_once()
        return str(uuid4()) if said is None else str(uuid5(NAMESPACE, "\n".join((self.table, *said))))

    def said_once(self) -> tuple[str, ...] | None:
        """Return what there may be one row of; None where there may be any number."""
        return None

    def content_sha256(self) -> str:
        """Return the hash of all that the row says, without when and by whom it was recorded."""
        fields = msgspec.to_builtins(self)
        said = {name: fields[name] for name in sorted(fields) if name not in UNTOLD}
        return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()


class Mouse(Fact, frozen=True, kw_only=True):
    """A mouse. Two may not have one name, whatever its capitals."""

    table = "mice"

    name: Named
    genotype: str = ""
    driver_lines: tuple[str, ...] = ()
    reporter_line: str = ""
    indicator: str = ""
    sex: Sex = Sex.UNKNOWN
    born: Day | None = None
    cohort: str = ""
    project_code: str = ""
    curriculum: str
    """Name of its curriculum."""
    familiar: str
    """Image set that it is trained with."""
    novel: str
    """Image set that is new to it in imaging."""
    baseline_weight_g: float
    """With free access to water."""
    target_weight_g: float
    floor_weight_g: float
    """Below it no session is run."""
    least_daily_water_ml: float

    def said_once(self) -> tuple[str, ...]:
        """Return the name."""
        return (self.name.casefold(),)


class Weight(Fact, frozen=True, kw_only=True):
    """A mouse on the scales."""

    table = "weights"

    mouse: Named
    day: Day
    weight_g: float
    session_id: str | None = None
    """The session before which it was weighed."""


class Water(Fact, frozen=True, kw_only=True):
    """Water that a mouse was given: once a session and kind, by hand any number of times."""

    table = "water"

    mouse: Named
    day: Day
    kind: WaterKind
    volume_ml: float
    session_id: str | None = None
    """The log in which it was drunk (each part of a session has its own), or the session before which it was given."""

    def said_once(self) -> tuple[str, ...] | None:
        """Return session and kind, where it belongs to a session."""
        return None if self.session_id is None else (self.session_id, self.kind)


class Start(Fact, frozen=True, kw_only=True):
    """A session was started: written with the lease, before anything is shown."""

    table = "starts"

    mouse: Named
    day: Day
    rig: Named
    session_id: Named
    """Of this start's own log."""
    part_of: str | None = None
    """``session_id`` of the first part, where this one goes on with a session that had crashed."""
    leased: bool = True
    """Agreed with the laboratory; False if it was away."""

    def said_once(self) -> tuple[str, ...]:
        """Return the session."""
        return (self.session_id,)


class Session(Fact, frozen=True, kw_only=True):
    """What a log came to: one row a log. The facts are those of all parts up to this one, taken together."""

    table = "sessions"

    log_id: Named
    """UUID of this log's own session; that of the first part is ``session_id``."""
    log_started_at: Instant
    """When this part began: ISO 8601 with offset."""
    rig: Named
    why_ended: str = ""
    duration_s: float
    """From this log's first flip to its end."""
    water_ml: float
    """Drunk in this part."""
    n_licks: int
    n_trials: int
    """All of this part's, aborted ones too."""
    simulated: bool
    log_sha256: str
    """Of ``events.jsonl``."""
    folder: str
    code_version: str
    summary: dict[str, Any]
    """``rig.records.summary.Summary`` of this log."""

    # What stages.history.SessionFacts has, and means.
    session_id: Named
    mouse: Named
    stage: str
    day: Day
    started_at: Instant
    ended: str
    task_min: float
    planned_min: float
    peak_d_prime: float | None
    n_contingent: int
    n_hit: int
    response_rate: float | None
    aborted_time_share: float | None
    image_set: str | None
    omissions: bool
    passive: bool
    imaging: bool

    @property
    def facts(self) -> SessionFacts:
        """What decisions rest on."""
        return SessionFacts(**{name: getattr(self, name) for name in SessionFacts.__struct_fields__})

    @property
    def part_of(self) -> str | None:
        """The first part's session, None if this is it."""
        return None if self.log_id == self.session_id else self.session_id

    def said_once(self) -> tuple[str, ...]:
        """Return the log."""
        return (self.log_id,)


class Decided(Fact, frozen=True, kw_only=True):
    """A decision of the curriculum, with its evidence."""

    table = "decisions"

    mouse: Named
    day: Day
    after_session: str | None
    """The last session that it rests on; None before the first."""
    stage: str
    from_stage: str | None
    move: str
    """What it does: a value of the curriculum's."""
    sentence: str
    curriculum: str
    """Name, version, cohort and hash of the curriculum's effective parameters."""
    decision: dict[str, Any]
    """All of it, evidence too."""


class Override(Fact, frozen=True, kw_only=True):
    """Something that an operator decided against the rig, with a reason in ``why`` and a name in ``who``."""

    table = "overrides"

    mouse: Named
    day: Day
    kind: OverrideKind
    stage: str | None = None
    """Where the mouse is placed, with kind ``stage``."""
    after_session: str | None = None
    """The session after which it is; None before the first."""
    session_id: str | None = None
    """The session that it let start; with ``misfit`` and ``not_its`` the log that was taken in, or was not."""


class Remark(Fact, frozen=True, kw_only=True):
    """A note, about a mouse, a rig or a session."""

    table = "notes"

    day: Day
    text: str
    mouse: str | None = None
    rig: str | None = None
    session_id: str | None = None


class Calibrated(Fact, frozen=True, kw_only=True):
    """A device of a rig was calibrated."""

    table = "calibrations"

    rig: Named
    device: str
    """As it is called in the rig's file: ``valve``, ``screen``."""
    day: Day
    content: dict[str, Any]


class Rig(Fact, frozen=True, kw_only=True):
    """A rig, as it was configured from then on."""

    table = "rigs"

    name: Named
    content: dict[str, Any]


class Container(Fact, frozen=True, kw_only=True):
    """One imaging plane of a mouse, found again in session after session."""

    table = "containers"

    mouse: Named
    name: Named
    structure: str
    """Targeted, as ``VISp``."""
    depth_um: float

    def said_once(self) -> tuple[str, ...]:
        """Return mouse and name."""
        return (self.mouse, self.name.casefold())


class Plane(Fact, frozen=True, kw_only=True):
    """A container's plane was imaged in a session: one to eight in each."""

    table = "planes"

    mouse: Named
    session_id: Named
    plane_index: int
    """0 to 7."""
    container: str
    """The container's name."""

    def said_once(self) -> tuple[str, ...]:
        """Return session and plane."""
        return (self.session_id, str(self.plane_index))


class Verdict(Fact, frozen=True, kw_only=True):
    """The quality of a session, or of one of its planes, in one respect. The last one on each stands."""

    table = "verdicts"

    mouse: Named
    session_id: Named
    plane_index: int | None = None
    """Of the plane; None for the whole session."""
    aspect: Aspect
    judge: Judge
    judgement: Judgement
    figure: str = ""
    """What it rests on, with its unit."""


FACTS: tuple[type[Fact], ...] = (
    Mouse,
    Weight,
    Water,
    Start,
    Session,
    Decided,
    Override,
    Remark,
    Calibrated,
    Rig,
    Container,
    Plane,
    Verdict,
)

DECODERS: Mapping[type[Fact], msgspec.json.Decoder[Fact]] = MappingProxyType(
    {kind: msgspec.json.Decoder(kind) for kind in FACTS}
)
"""Made here, by the one thread that imports: what msgspec learns of a type at its first use is not safe from two
threads that use it first at once, which ended the process."""
