"""One builder a section of the file: puts plain columns where readers look for them (see the package's docstring)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
from pynwb import H5DataIO, NWBFile, TimeSeries
from pynwb.core import VectorData, VectorIndex
from pynwb.epoch import TimeIntervals
from pynwb.image import GrayscaleImage

from hardware.arrays import AnyArray, FloatArray
from hardware.clock import TICKS_PER_S
from hardware.events import DeviceIdentified, Finding, MicroscopeState, Verdict
from hardware.lines import Line
from rig.log.reader import SessionLog
from rig.records.alignment import frame_groups, frame_times_s, frames_expected, plane_groups, said_of_recording
from rig.records.card_lines import CardLines
from rig.records.monitor_delay import MonitorDelay
from rig.records.nwb import extension
from rig.records.nwb.about import About
from rig.records.nwb.running import CUT_OFF_HZ, Running
from rig.records.nwb.tables import TRIAL_COLUMNS, Tables, ragged, stimulus_set
from rig.records.summary import Summary
from stimuli.spec import Gabor, Grating

LIVE = ", live"
"""Ends the names of findings on streams while the session ran: of the whole record there are better ones."""
PREVIEW_STEP = 8
PREVIEW = "The warped frame, every eighth pixel: the core's Images must hold some."
_BITS_OF_ID = 53
"""A float holds whole numbers of so many bits exactly; some readers make one of it."""


@dataclass(frozen=True, slots=True, eq=False)
class StimulusTemplates:
    """Pictures as they were on the screen, and before the warp.

    ``warped`` is uint8 (n, rows, columns), ``unwarped`` float32 (n, rows, columns) with NaN where nothing was visible.
    """

    names: Sequence[str]
    warped: AnyArray
    unwarped: AnyArray


PRESENTATION_COLUMNS = {
    "start_time": "Start, in seconds.",
    "stop_time": "End, in seconds.",
    "duration": "Seconds on the screen.",
    "start_frame": "The flip it came on with.",
    "end_frame": "The first flip without it.",
    "stimulus_name": "What kind of stimulus.",
    "stimulus_block": "Number of the session's block, from 0.",
    "stimulus_block_name": "Name of the block.",
    "movie_repeat": "How often the movie had been shown before; -99 for what is no movie.",
    "movie_frame_index": "Frame of the movie, from 0.",
    "image_name": "Name of the picture or grating; 'omitted' for a flash that was left out.",
    "image_index": "Its place among the session's pictures; their number for an omitted flash.",
    "image_set": "The set of pictures.",
    "omitted": "1 for a flash that was left out. A float: readers join the tables and need a missing value.",
    "is_change": "1 where the picture changed. A float, as omitted.",
    "x_position": "Azimuth of the patch's middle in degrees, right is positive.",
    "y_position": "Altitude of the patch's middle in degrees, up is positive.",
    "orientation": "Degrees.",
    "spatial_frequency": "Cycles per degree.",
    "temporal_frequency": "Hertz.",
    "contrast": "0 to 1.",
    "size": "Diameter in degrees.",
}


def add_subject(file: NWBFile, log: SessionLog, about: About) -> None:
    """Add the mouse; an age that nobody gave is written as 0 days, since AllenSDK opens no file without one."""
    age_days = about.age_days(datetime.fromisoformat(log.started.started_at).date())
    known = [] if age_days is not None else ["Its age is not known."]
    if log.started.simulated:
        known.append("A model mouse, or a real one on a simulated rig.")
    more = {"strain": about.strain} if about.strain is not None else {}
    file.subject = extension.Subject(
        subject_id=log.started.mouse,
        age=f"P{age_days or 0}D",
        sex=about.sex,
        species=about.species,
        genotype=about.genotype,
        description=" ".join(known) or "A mouse.",
        driver_line=about.driver_line or ["None"],
        reporter_line=about.reporter_line or "None",
        **more,
    )


def add_metadata(file: NWBFile, log: SessionLog, about: About, *, summary: Summary, delay: MonitorDelay) -> None:
    """Add who, what, where and how it ended."""
    started = log.started
    uuid = UUID(started.session_id)
    file.add_lab_meta_data(
        extension.Metadata(
            name="metadata",
            behavior_session_id=np.int64(uuid.int & ((1 << _BITS_OF_ID) - 1)),
            behavior_session_uuid=str(uuid),
            stimulus_frame_rate=float(started.refresh_hz),
            session_type=started.stage,
            equipment_name=started.rig,
            project_code=about.project_code,
            simulated=started.simulated,
            ended=summary.ended,
            ended_why=summary.why or "-",
            monitor_delay_s=delay.delay_s,
            monitor_delay_origin=delay.origin.value,
            monitor_delay_spread_s=math.nan if delay.spread_s is None else delay.spread_s,
        )
    )


def add_task_parameters(file: NWBFile, log: SessionLog, tables: Tables) -> None:
    """Add the task in AllenSDK's words."""
    p = log.started.stage_parameters
    presentation = p.get("presentation") or {}
    gray_s = float(presentation.get("gray_s", 0.0))
    stimuli = log.started.stimuli
    kind = "images"
    if any(isinstance(stimulus, Grating) for stimulus in stimuli):
        kind = "grating"
    elif any(isinstance(stimulus, Gabor) for stimulus in stimuli):
        kind = "gabor"
    file.add_lab_meta_data(
        extension.TaskParameters(
            name="task_parameters",
            session_type=log.started.stage,
            stimulus=kind,
            stimulus_name=stimulus_set(stimuli) or "gray",
            stimulus_distribution=(p.get("change") or {}).get("kind", "geometric"),
            task="change detection" if "sweep" not in p else "receptive field mapping",
            response_window_sec=[float(edge_s) for edge_s in p.get("response_window_s") or (math.nan, math.nan)],
            blank_duration_sec=[gray_s, gray_s],
            reward_volume=float(p.get("reward_volume_ul", 0.0)) / 1000,
            auto_reward_volume=float(p.get("auto_reward_volume_ul", 0.0)) / 1000,
            stimulus_duration_sec=float(presentation.get("flash_s", math.nan)),
            omitted_flash_fraction=float(p.get("omission_probability") or math.nan),
            n_stimulus_frames=np.int64(tables.n_stimulus_frames),
        )
    )


def add_provenance(
    file: NWBFile, log: SessionLog, *, exported_by: str, versions: dict[str, str], flags: Sequence[str]
) -> None:
    """Add what the session and the file were made from and by."""
    started = log.started
    both = {"session": started.versions, "export": versions}
    file.add_lab_meta_data(
        extension.Provenance(
            name="provenance",
            code_version=started.code_version,
            exported_by=exported_by,
            schema_version=np.int64(started.schema_version),
            seed=str(started.seed),
            log_sha256=log.sha256(),
            stage_parameters=_json(started.stage_parameters),
            rig_parameters=_json(started.rig_parameters | {"policies": started.policies}),
            versions=_json(both),
            damage="\n".join(log.damage) or "none",
            flags="\n".join(flags) or "none",
        )
    )


def add_devices(file: NWBFile, log: SessionLog) -> None:
    """Add each device that said what it is; one of several parts, as a card is, says so several times."""
    said: dict[str, list[str]] = {}
    for entry in log.entries:
        if isinstance(device := entry.event, DeviceIdentified):
            details = "".join(f", {name} {value}" for name, value in device.details.items())
            serial = f", serial number {device.serial}" if device.serial else ""
            said.setdefault(device.device, []).append(f"{device.model}{serial}{details}")
    for name, parts in said.items():
        file.create_device(name=name.replace("/", "-"), description="; ".join(dict.fromkeys(parts)))


def failed_checks(log: SessionLog) -> list[str]:
    """Return what the session's own checks of its devices warned of."""
    return [
        f"check of {e.event.name}: {e.event.figure}; {e.event.remedy}"
        for e in log.entries
        if isinstance(e.event, Finding) and e.event.verdict is not Verdict.PASS and not e.event.name.endswith(LIVE)
    ]


def add_timestamps(file: NWBFile, log: SessionLog) -> TimeSeries:
    """Add the flips' times, which all other series of one value a flip share; return the series."""
    times_s = log.flips["time_s"].astype(np.float64)
    series = TimeSeries(
        name="timestamps",
        description="Time of each flip, without the monitor's delay.",
        data=_packed(times_s),
        timestamps=_packed(times_s),
        unit="s",
    )
    file.create_processing_module("stimulus", "What was on the screen, and when.").add(series)
    return series


def add_running(file: NWBFile, log: SessionLog, running: Running, timestamps: TimeSeries) -> None:
    """Add running speed, filtered and not, and the encoder's voltages."""
    module = file.create_processing_module("running", "The wheel.")
    for name, data, unit, what in (
        ("speed", running.speed_cm_s, "cm/s", f"Low-passed: Butterworth, order 3, both ways, {CUT_OFF_HZ:g} Hz."),
        ("speed_unfiltered", running.speed_unfiltered_cm_s, "cm/s", "NaN where there is no reading."),
        ("dx", running.turned_deg, "degrees", "Turn of the wheel since the flip before."),
    ):
        module.add(TimeSeries(name=name, description=what, data=_packed(data), timestamps=timestamps, unit=unit))
    for name, field, what in (
        ("v_sig", "signal_v", "The encoder's signal, one turn from 0 to its supply."),
        ("v_in", "supply_v", "The encoder's supply."),
    ):
        data = log.flips[field].astype(np.float64)
        file.add_acquisition(
            TimeSeries(name=name, description=what, data=_packed(data), timestamps=timestamps, unit="V")
        )


def add_licks(file: NWBFile, tables: Tables) -> None:
    """Add licks, if there were any."""
    licks = tables.licks
    if len(licks):
        module = file.create_processing_module("licking", "The lick sensor.")
        module.add(
            TimeSeries(
                name="licks",
                description="Rising edges of the lick line; the data are the flips on which the session saw them.",
                data=_packed(licks["frame"].to_numpy(np.int64)),
                timestamps=_packed(licks["timestamps"].to_numpy()),
                unit="N/A",
            )
        )


def add_rewards(file: NWBFile, tables: Tables) -> None:
    """Add rewards, if there were any."""
    rewards = tables.rewards
    if len(rewards):
        module = file.create_processing_module("rewards", "Water.")
        volume = TimeSeries(
            name="volume",
            description="Water given, at the time the valve opened.",
            data=rewards["volume"].to_numpy(),
            timestamps=rewards["timestamps"].to_numpy(),
            unit="mL",
        )
        module.add(volume)
        module.add(
            TimeSeries(
                name="autorewarded",
                description="Whether it was given without a lick: automatic rewards, and the operator's free ones.",
                data=rewards["auto_rewarded"].to_numpy(bool),
                timestamps=volume,
                unit="N/A",
            )
        )


def add_trials(file: NWBFile, tables: Tables) -> None:
    """Add trials, and those cut short to a table of their own."""
    if len(tables.trials):
        file.trials = _intervals("trials", "Trials that came to their end.", tables.trials, TRIAL_COLUMNS)
    if len(tables.cut_trials):
        what = "Trials that a stop or the end of the record cut short; they count in nothing."
        file.add_time_intervals(_intervals("cut_trials", what, tables.cut_trials, TRIAL_COLUMNS))


def add_presentations(file: NWBFile, tables: Tables) -> None:
    """Add one table a kind of stimulus; times are those on the screen."""
    for name, table in tables.presentations.items():
        what = f"When {name} was on the screen, monitor's delay included."
        file.add_time_intervals(_intervals(f"{name}_presentations", what, table, PRESENTATION_COLUMNS))


def add_templates(file: NWBFile, name: str, templates: StimulusTemplates | None) -> None:
    """Add the pictures, if they are at hand."""
    if templates is not None:
        file.add_stimulus_template(
            extension.Templates(
                name=name,
                description="Frames as they were shown, linear grey before gamma, and before the warp.",
                data=_packed(templates.warped),
                unwarped=_packed(templates.unwarped.astype(np.float32)),
                control_description=list(templates.names),
                images=[
                    GrayscaleImage(name=name, data=frame[::PREVIEW_STEP, ::PREVIEW_STEP], description=PREVIEW)
                    for name, frame in zip(templates.names, templates.warped, strict=True)
                ],
            )
        )


def add_record(file: NWBFile, log: SessionLog) -> None:
    """Add the record itself: every line of the log, every flip, every edge of the card."""
    entries = log.entries
    file.add_acquisition(
        extension.EventLog(
            name="event_log",
            flip=_packed(np.array([entry.flip for entry in entries])),
            refresh=_packed(np.array([entry.refresh for entry in entries])),
            event=[type(entry.event).__name__ for entry in entries],
            line=[line.decode() for line in log.lines],
        )
    )
    flips = log.flips
    file.add_acquisition(
        extension.Flips(
            name="flips",
            stimuli=[msgspec.json.encode(stimulus).decode() for stimulus in log.started.stimuli],
            **{field: _packed(flips[field]) for field in ("refresh", "n_missed", "stimulus", "movie_frame")},
        )
    )


def add_edges(file: NWBFile, log: SessionLog) -> None:
    """Add the card's clock and edges, and the lines that imaging pipelines look for, where a card recorded any."""
    lines = CardLines.of(log)
    if not len(lines.edges):
        return
    labels = ["-"] * 32
    for line in Line:
        labels[line] = line.label
    file.add_acquisition(
        extension.CardEdges(
            name="card_edges",
            ticks_per_s=np.int64(TICKS_PER_S),
            zero_ticks=np.int64(-1 if lines.zero is None else lines.zero),
            state_before=np.int64(lines.before),
            line_labels=labels,
            ticks=_packed(lines.edges["ticks"]),
            state=_packed(lines.edges["state"]),
        )
    )
    if lines.zero is None:
        return
    _add_frames(file, log, lines)
    times_s, levels = lines.changes_s(Line.STIM_PHOTODIODE)
    what = f"Level of {Line.STIM_PHOTODIODE.label} from each edge on."
    _add_series(file, "stim_photodiode", what, times_s, levels.astype(np.int8))


def _add_frames(file: NWBFile, log: SessionLog, lines: CardLines) -> None:
    """Add the 2-photon frames: pulses since the trigger that are wide enough to be frames (NWB_CONTRACT 9)."""
    times_s = frame_times_s(lines)
    n_groups = plane_groups(log.started.rig_parameters)
    group = frame_groups(lines, times_s, n_groups)
    events = said_of_recording(log)
    said = [event for event in events if isinstance(event, MicroscopeState)]
    is_one = np.array_equal(group, np.arange(len(times_s)) % n_groups)
    about = {
        "plane_groups": n_groups,
        "frames_of_plane_group_g": f"[g::{n_groups}]" if is_one else "where control is g",
        "frame_rate_hz_of_a_plane": next((state.rate_hz for state in reversed(said) if state.rate_hz), None),
        "frames_by_the_microscope": frames_expected(events),
        "files": list(dict.fromkeys(file for state in said for file in state.files)),
    }
    _add_series(
        file,
        "ophys_frame_times",
        f"2-photon frames: rising edges of {Line.VSYNC_2P.label} since the trigger; the data count them. "
        "The plane groups take turns, `control` says which one a frame is of.",
        times_s,
        np.arange(len(times_s)),
        comments=_json(about),
        control=_packed(group.astype(np.uint8)),
        control_description=[f"plane group {g}" for g in range(n_groups)],
    )


def _add_series(file: NWBFile, name: str, what: str, times_s: FloatArray, data: AnyArray, **more: Any) -> None:  # noqa: ANN401
    if len(times_s):
        series = TimeSeries(
            name=name, description=what, data=_packed(data), timestamps=_packed(times_s), unit="N/A", **more
        )
        file.add_acquisition(series)


def _intervals(name: str, what: str, table: pd.DataFrame, descriptions: dict[str, str]) -> TimeIntervals:
    columns: list[Any] = []
    for column in table.columns:
        if column == "lick_times":
            flat, ends = ragged(list(table[column]))
            values = VectorData(name=column, description=descriptions[column], data=flat)
            columns += [values, VectorIndex(name=f"{column}_index", target=values, data=ends)]
        else:
            columns.append(_column(column, descriptions[column], table[column].tolist()))
    return TimeIntervals(name=name, description=what, columns=columns, colnames=list(table.columns))


def _column(name: str, what: str, values: list[Any]) -> VectorData:
    data = values if values and isinstance(values[0], str) else np.array(values)
    return VectorData(name=name, description=what, data=data)


def _packed(data: AnyArray) -> H5DataIO:
    """Return an array that is written compressed; the bytes' order is what makes times and counts small."""
    if not data.size:
        return data
    return H5DataIO(np.ascontiguousarray(data), compression="gzip", compression_opts=1, shuffle=True)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
