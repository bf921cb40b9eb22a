"""The table of presentations."""

from __future__ import annotations

import numpy as np
import pytest

from rig.records.folds import Folds
from rig.records.presentations import with_stops
from tests.builders import GRATINGS, IMAGES, run, stage


@pytest.mark.parametrize("name", ["TRAINING_1_gratings", GRATINGS, IMAGES])
def test_each_sham_change_has_a_row_that_begins_with_it_and_is_no_change(name: str) -> None:
    ran = run(stage(name, task_duration_min=15.0, warm_up_trials=0, response_window_s=(0.15, 0.75)), seed=4)
    folds = Folds.of(ran.log.entries)
    trials, shown = folds.trials.table(), with_stops(folds.presentations.table(), ran.log.all_flips())
    sham = shown[shown["is_sham_change"]]
    assert len(sham) == trials["catch"].sum() > 5
    assert not sham["is_change"].any()
    assert sham["start_time_s"].tolist() == trials.loc[trials["catch"], "change_time_s"].tolist()
    assert sham["trial"].tolist() == trials.loc[trials["catch"], "trial"].tolist()
    in_task = shown[shown["flash"] >= 0]
    assert (in_task["stop_flip"].to_numpy()[:-1] <= in_task["start_flip"].to_numpy()[1:]).all()
    assert np.isfinite(in_task["stop_time_s"]).all()
