"""A recorded camstim session: read without running code, and run again through our task."""

from __future__ import annotations

import gzip
import os
import pickle
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rig.cli import app
from rig.records.camstim import CamstimError
from rig.records.camstim.reader import Recording, read_camstim
from rig.records.camstim.replay import Comparison, replay_camstim
from stages.events import EndReason, Outcome
from tests.builders import RECORDED_SESSION, recorded, recorded_session


@pytest.fixture(scope="module")
def recording() -> Recording:
    return recorded_session()


@pytest.fixture(scope="module")
def compared(recording: Recording) -> Comparison:
    return replay_camstim(recording)


def test_the_recording_is_what_the_fact_sheet_says(recording: Recording) -> None:
    outcomes = [trial.outcome for trial in recording.trials]
    counts = {outcome: outcomes.count(outcome) for outcome in Outcome}
    assert counts == {
        Outcome.ABORTED: 838,
        Outcome.HIT: 81,
        Outcome.MISS: 13,
        Outcome.CORRECT_REJECT: 10,
        Outcome.FALSE_ALARM: 6,
        Outcome.AUTO_REWARDED: 5,
        Outcome.INCOMPLETE: 0,
    }
    assert (len(recording.frame_times_s), len(recording.lick_frames)) == (270_072, 2_908)
    assert sum(len(trial.rewards) for trial in recording.trials) == 86
    assert sum(volume_ul for trial in recording.trials for _, volume_ul in trial.rewards) == pytest.approx(592.0)
    assert len(recording.onset_frames) == len(recording.off_frames) == 4_789
    assert len(recording.images) == 8


def test_every_start_abort_change_and_end_falls_on_the_recorded_refresh(compared: Comparison) -> None:
    assert len(compared.trials) == 953
    off = compared.off_refreshes
    assert dict(off["start"]) == {0: 953}
    assert dict(off["abort"]) == {0: 838}
    assert dict(off["change"]) == {0: 115}
    assert set(off["end"]) <= {-1, 0, 1}
    assert sum(off["end"].values()) == 953
    assert set(off["reward"]) <= {-1, 0, 1}


def test_outcomes_and_rewards_agree_but_for_two_trials_with_their_reasons(compared: Comparison) -> None:
    assert {difference.trial for difference in compared.differences} == {776, 807}
    assert compared.unexplained == []
    outcomes = {d.trial: (d.camstim, d.ours) for d in compared.differences if d.what == "outcome"}
    assert outcomes == {776: ("false_alarm", "correct_reject"), 807: ("hit", "miss")}
    assert sum(trial.reward_frame >= 0 for trial in compared.trials) == 85
    assert compared.ended is not None
    assert compared.ended.reason is EndReason.TIME


def test_the_command_says_so_and_succeeds() -> None:
    result = CliRunner().invoke(app, ["replay", "--camstim", str(recorded(RECORDED_SESSION))])
    assert result.exit_code == 0, result.output
    assert "Trial 776" in result.output
    assert "Trial 807" in result.output
    assert "953" in result.output


def test_the_command_fails_at_a_difference_without_a_known_reason(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifted = recording.trials[2]
    doctored = replace(recording, trials=[*recording.trials[:2], replace(shifted, outcome=Outcome.MISS)])
    monkeypatch.setattr("rig.records.camstim.reader.read_camstim", lambda _: doctored)
    result = CliRunner().invoke(app, ["replay", "--camstim", "any.pkl"])
    assert result.exit_code == 1
    assert "NO REASON KNOWN" in result.output


def test_what_camstim_drew_is_what_our_draws_would_allow(recording: Recording) -> None:
    trials = recording.trials
    drawn = [(t.change_after, t.catch, t.auto_rewarded) for t in trials]
    given_up = Counter[int]()  # by the length of the run of equal parameters that an abort ended
    attempts = 1
    for (earlier, later), (before, after) in zip(pairwise(trials), pairwise(drawn), strict=True):
        if earlier.outcome is not Outcome.ABORTED:
            attempts = 1
            continue
        assert earlier.catch == later.catch, "the walk stands still while trials are aborted"
        if before != after:
            given_up[attempts] += 1
        attempts = attempts + 1 if before == after else 1
    assert given_up[6] == 86
    assert all(length % 6 == 0 for length in given_up), "six attempts; a fresh draw may be the same again by chance"
    assert {t.change_after for t in trials} == set(range(4, 12))


def test_an_omitted_flash_keeps_its_place_in_the_count(recording: Recording) -> None:
    """One flash a trial left out, as if it had been omitted: everything else stays where it was."""
    onsets, offs = recording.onset_frames, recording.off_frames
    left_out = [
        int(np.searchsorted(onsets, trial.start_frame)) + 1
        for trial in recording.trials
        if trial.change_frame >= 0 and trial.change_after >= 5
    ]
    assert len(left_out) > 50
    doctored = replace(
        recording,
        onset_frames=np.delete(onsets, left_out),
        off_frames=np.delete(offs, left_out),
        omitted_frames=onsets[left_out],
    )
    compared = replay_camstim(doctored)
    assert {difference.trial for difference in compared.differences} == {776, 807}


@pytest.mark.parametrize(
    ("params", "what"), [({"response_window": None}, "not those of a flashed"), ({}, "lack 'periodic_flash'")]
)
def test_parameters_of_another_kind_of_session_are_refused(
    recording: Recording, params: dict[str, object], what: str
) -> None:
    kept = {name: value for name, value in recording.params.items() if params or name != "periodic_flash"}
    with pytest.raises(CamstimError, match=what):
        replay_camstim(replace(recording, params={**kept, **params}))


class _Spell:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch cast",)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"not a pickle", "is no pickle"),
        (gzip.compress(b"nor this"), "is no pickle"),
        (b"\x1f\x8bbroken", "is no pickle"),
        (b"", "is no pickle"),
        (pickle.dumps({"items": {}}), "has not the parts of a camstim session"),
        (pickle.dumps([1, 2]), "has not the parts of a camstim session"),
        (pickle.dumps(_Spell()), "which no camstim session needs"),
    ],
    ids=["text", "zipped text", "torn gzip", "empty", "no behavior", "a list", "a pickle that runs a program"],
)
def test_what_is_no_camstim_session_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "session.pkl"
    file.write_bytes(content)
    with pytest.raises(CamstimError, match=what):
        read_camstim(file)
    assert not (tmp_path / "cast").exists()
    result = CliRunner().invoke(app, ["replay", "--camstim", str(file)])
    assert result.exit_code == 1
    assert what in " ".join(result.output.split())
