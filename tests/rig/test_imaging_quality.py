"""Containers, planes and their quality: what the rig judges, what the operator must, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hardware.events import Finding, MicroscopePhase, MicroscopeState
from hardware.events import Verdict as Found
from hardware.simulated.mice import MouseKind
from rig.lab.rows import Aspect, Container, Judge, Judgement, Override, OverrideKind, Session
from rig.log.reader import SessionLog
from rig.log.schema import Entry
from rig.training.imaging import (
    OPERATORS,
    RIGS,
    ImagingError,
    add_container,
    found_on_streams,
    judge,
    judged_by_rig,
    quality,
    set_planes,
)
from rig.training.whose import take_in
from tests.builders import IMAGES, rig_config, run, stage
from tests.rig.laboratory import Laboratory, laboratory

SHORT = {"gray_before_s": 0.5, "gray_after_s": 0.5, "movie": None, "task_duration_min": 0.5}


@pytest.fixture(scope="module")
def imaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """A laboratory whose mouse had an imaging session, and has three containers."""
    with laboratory(
        tmp_path_factory.mktemp("imaged"), changes=SHORT, kind=MouseKind.PERFECT, config=rig_config("simulated_imaging")
    ) as there:
        there.lab.record(
            Override(mouse="M1", day=there.day, kind=OverrideKind.STAGE, stage=IMAGES, why="it was trained elsewhere")
        )
        there.start()
        for name, depth_um in (("VISp_175", 175.0), ("VISp_300", 300.0), ("VISl_175", 175.0)):
            structure = name.partition("_")[0]
            add_container(there.lab, Container(mouse="M1", name=name, structure=structure, depth_um=depth_um))
        yield there


def session(there: Laboratory) -> Session:
    return there.lab.session_rows("M1")[-1]


def log(**changes: Any) -> SessionLog:
    return run(stage(IMAGES), rig_config("simulated_imaging", **changes)).as_read()


def verdicts(of: SessionLog, **given: Any) -> dict[Aspect, tuple[Judgement, str]]:
    return {each.aspect: (each.judgement, each.figure) for each in judged_by_rig(of, **given)}


def test_a_whole_session_passes_in_all_that_the_rig_can_judge() -> None:
    found = judged_by_rig(log())

    assert [each.aspect for each in found] == list(RIGS)
    assert {each.judge for each in found} == {Judge.RIG}
    assert {each.judgement for each in found} == {Judgement.PASS}
    assert found[2].figure.startswith("residual ")


def test_a_device_that_failed_is_a_failure_of_hardware_and_is_named() -> None:
    judgement, figure = verdicts(log(faults={"encoder_frozen_s": 5.0}))[Aspect.HARDWARE]

    assert judgement is Judgement.FAIL
    assert "encoder" in figure


def test_what_a_microscope_said_before_the_session_began_fails_nothing() -> None:
    whole = log()
    gone = Entry(0, 0, MicroscopeState(phase=MicroscopePhase.FAILED, n_frames=None, what="was not heard of for 3.1 s"))
    before = SessionLog(whole.folder, whole.started, [gone, *whole.entries], whole.lines, whole.flips, [])
    after = SessionLog(whole.folder, whole.started, [*whole.entries, gone], whole.lines, whole.flips, [])

    assert verdicts(before)[Aspect.HARDWARE] == (Judgement.PASS, "no device failed")
    assert verdicts(after)[Aspect.HARDWARE] == (Judgement.FAIL, "microscope: was not heard of for 3.1 s")


def test_a_session_that_broke_off_is_a_failure_of_software() -> None:
    whole = log()
    broken = SessionLog(
        folder=whole.folder,
        started=whole.started,
        entries=whole.entries[:-1],
        lines=whole.lines[:-1],
        flips=whole.flips,
        damage=[],
    )

    assert verdicts(broken)[Aspect.SOFTWARE] == (Judgement.FAIL, "the session crashed")


def test_a_stream_that_is_not_aligned_fails_and_clocks_never_fitted_are_not_judged() -> None:
    whole = log()
    off = Finding(name="vsync_2p", verdict=Found.FAIL, figure="12 frames missing")
    unfitted = [entry for entry in whole.entries if type(entry.event).__name__ != "ClockFitted"]
    blind = SessionLog(whole.folder, whole.started, unfitted, whole.lines, whole.flips, [])

    assert verdicts(whole, alignment=[off])[Aspect.ALIGNMENT] == (Judgement.FAIL, "vsync_2p: 12 frames missing")
    assert verdicts(blind)[Aspect.ALIGNMENT] == (Judgement.NOT_JUDGED, "no clock was fitted")


def test_a_stage_that_images_fails_where_no_microscope_took_part_however_good_the_clocks_are() -> None:
    alone = run(stage(IMAGES), rig_config("simulated")).as_read()
    by_hand = Finding(name="alignment of 2-photon frames", verdict=Found.PASS, figure="900 counted")

    found = verdicts(alone)
    assert found[Aspect.ALIGNMENT] == (Judgement.FAIL, "no 2-photon frames: no microscope took part in this session")
    assert found[Aspect.HARDWARE] == (Judgement.FAIL, "the rig has no microscope")
    assert found[Aspect.SOFTWARE][0] is Judgement.PASS
    assert verdicts(alone, alignment=[by_hand])[Aspect.ALIGNMENT][0] is Judgement.PASS


def test_the_streams_of_a_session_are_judged_wherever_its_log_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = Finding(name="microscope", verdict=Found.FAIL, figure="no frame")
    found: list[list[Finding]] = []

    def look(of: SessionLog) -> list[Finding]:
        found.append(found_on_streams(of))
        return [*found[-1], off]

    monkeypatch.setattr("rig.training.standing.found_on_streams", look)
    with laboratory(tmp_path, changes=SHORT, kind=MouseKind.PERFECT, config=rig_config("simulated_imaging")) as there:
        there.lab.record(
            Override(mouse="M1", day=there.day, kind=OverrideKind.STAGE, stage=IMAGES, why="it was trained elsewhere")
        )
        folder = there.data_dir / f"{there.day}T100000Z_M1_{IMAGES}"
        there.run(
            there.plan(there.lab.mouse("M1"), there.stage(there.lab.mouse("M1"), IMAGES), folder, there.ids(), [])
        )
        take_in(there.lab, "M1", folder, day=there.day, why="run by hand", who="tester", archive=there.archive)

        told = [each.words() for each in quality(there.lab, session(there).session_id)]

    assert {each.verdict for each in found[0]} == {Found.PASS}
    assert any("2" in each.name or "microscope" in each.name for each in found[0])
    assert told[0] == "session: FAILED, temporal alignment (microscope: no frame)"


def test_what_nobody_has_judged_is_open_and_never_good(imaged: Laboratory) -> None:
    set_planes(imaged.lab, session(imaged), ["VISp_175", "visp_300"])
    whole, *planes = quality(imaged.lab, session(imaged).session_id)

    assert set(whole.verdicts) == set(RIGS)  # the rig judged at the session's end
    assert whole.open == OPERATORS[False]
    assert [plane.container for plane in planes] == ["VISp_175", "VISp_300"]
    assert all(plane.open == OPERATORS[True] for plane in planes)
    assert whole.words() == "session: to be judged: animal stress, brain health"


def test_the_last_verdict_stands_for_each_plane_alone(imaged: Laboratory) -> None:
    row = session(imaged)
    set_planes(imaged.lab, row, ["VISp_175", "VISp_300"])
    for aspect in OPERATORS[True]:
        judge(imaged.lab, row, aspect, Judgement.PASS, index=0, figure="")
        judge(imaged.lab, row, aspect, Judgement.PASS, index=1, figure="")
    judge(imaged.lab, row, Aspect.Z_DRIFT, Judgement.FAIL, index=1, figure="12 um from start to end")
    _, first, second = quality(imaged.lab, row.session_id)

    assert first.words() == "plane 0, VISp_175: passed"
    assert second.words() == "plane 1, VISp_300: FAILED, z-drift (12 um from start to end)"
    judge(imaged.lab, row, Aspect.Z_DRIFT, Judgement.PASS, index=1, figure="2 um, measured again")
    assert quality(imaged.lab, row.session_id)[2].words() == "plane 1, VISp_300: passed"


@pytest.mark.parametrize(
    ("containers", "says"),
    [
        ([], "1 to 8 planes, these are 0"),
        (["VISp_175"] * 9, "1 to 8 planes, these are 9"),
        (["VISp_175", "visp_175"], "a container is there twice"),
        (["VISp_999"], "M1 has no container VISp_999 .it has VISl_175, VISp_175, VISp_300."),
    ],
)
def test_planes_that_cannot_be_are_refused(imaged: Laboratory, containers: list[str], says: str) -> None:
    with pytest.raises(ImagingError, match=says):
        set_planes(imaged.lab, session(imaged), containers)


def test_a_plane_that_was_another_container_is_put_right_with_a_reason_alone(imaged: Laboratory) -> None:
    row = session(imaged)
    right = ["VISp_175", "VISp_300"]
    set_planes(imaged.lab, row, right)
    for other in (["VISl_175", "VISp_300"], ["VISp_175"]):
        with pytest.raises(ImagingError, match=r"plane \d is VISp_\d+ on record; if that was a mistake, say why"):
            set_planes(imaged.lab, row, other)
        assert [plane.container for plane in quality(imaged.lab, row.session_id)[1:]] == right

        set_planes(imaged.lab, row, other, why="read off the wrong line")
        assert [plane.container for plane in quality(imaged.lab, row.session_id)[1:]] == other
        set_planes(imaged.lab, row, right, why="it was right")
    assert [plane.container for plane in quality(imaged.lab, row.session_id)[1:]] == right


def test_a_container_that_was_mistyped_is_put_right_with_a_reason_alone(imaged: Laboratory) -> None:
    deep = Container(mouse="M1", name="visl_175", structure="VISl", depth_um=157.0)
    with pytest.raises(ImagingError, match="M1 has VISl_175 on record, VISl at 175 um; if that was a mistake, say why"):
        add_container(imaged.lab, deep)

    assert (add_container(imaged.lab, deep, why="measured again").name, deep.depth_um) == ("VISl_175", 157.0)
    (now,) = imaged.lab.rows(Container, mouse="M1", name="VISl_175")
    assert now.depth_um == 157.0
    add_container(imaged.lab, msgspec.structs.replace(deep, depth_um=175.0), why="it was right")


@pytest.mark.parametrize(
    ("aspect", "judgement", "index", "figure", "says"),
    [
        (Aspect.HARDWARE, Judgement.PASS, None, "", "the rig's to judge"),
        (Aspect.Z_DRIFT, Judgement.PASS, None, "", "judged of each plane; say which"),
        (Aspect.STRESS, Judgement.PASS, 0, "", "judged of the whole session"),
        (
            Aspect.MOTION,
            Judgement.PASS,
            7,
            "",
            "the session has no plane 7; it has 2, from 0 to 1",
        ),
        (Aspect.STRESS, Judgement.FAIL, None, " ", "say why it fails"),
    ],
)
def test_verdicts_that_cannot_be_are_refused(
    imaged: Laboratory, aspect: Aspect, judgement: Judgement, index: int | None, figure: str, says: str
) -> None:
    set_planes(imaged.lab, session(imaged), ["VISp_175", "VISp_300"])
    with pytest.raises(ImagingError, match=says):
        judge(imaged.lab, session(imaged), aspect, judgement, index=index, figure=figure)


def test_a_plane_of_a_session_without_any_is_refused_with_what_records_them(imaged: Laboratory) -> None:
    other = msgspec.structs.replace(session(imaged), session_id="00000000-0000-4000-8000-000000000009")
    with pytest.raises(ImagingError, match="no planes are on record for this session; record them with rig imaging"):
        judge(imaged.lab, other, Aspect.Z_DRIFT, Judgement.FAIL, index=2, figure="12 um")


@pytest.mark.parametrize(
    ("name", "structure", "depth_um", "says"),
    [
        (" ", "VISp", 175.0, "needs a name"),
        ("a", "", 175.0, "needs a name"),
        ("a", "VISp", 3000.0, "3000 um is no depth"),
    ],
)
def test_containers_that_cannot_be_are_refused(
    imaged: Laboratory, name: str, structure: str, depth_um: float, says: str
) -> None:
    with pytest.raises(ImagingError, match=says):
        add_container(imaged.lab, Container(mouse="M1", name=name, structure=structure, depth_um=depth_um))
