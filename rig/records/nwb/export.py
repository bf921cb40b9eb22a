"""Writes a session's NWB file: whole under its own name, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

import h5py
import hdmf
import pynwb
from pynwb import NWBHDF5IO, NWBFile

import rig
from hardware.events import Verdict
from rig.log.reader import SessionLog
from rig.records.alignment import Alignment, alignment_of, with_alignment
from rig.records.folds import Folds
from rig.records.monitor_delay import MonitorDelay, nominal_delay
from rig.records.nwb import FILE, NwbError, sections
from rig.records.nwb.about import About
from rig.records.nwb.checks import refuse_contradictions, stand_ins
from rig.records.nwb.running import running_of
from rig.records.nwb.sections import StimulusTemplates
from rig.records.nwb.tables import stimulus_set, tables_of
from rig.records.performance import with_performance
from rig.records.summary import Summary, in_words
from rig.records.whole import in_the_way, write_whole

SUFFIX = ".nwb"


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was made."""

    path: Path
    delay: MonitorDelay
    flags: list[str]
    """What is odd in it, or not known; the file's provenance has the same."""


def export_nwb(
    log: SessionLog,
    *,
    about: About | None = None,
    delay: MonitorDelay | None = None,
    templates: StimulusTemplates | None = None,
    path: Path | None = None,
) -> Exported:
    """Write a session's NWB file, and return where it is and what is odd in it.

    Parameters
    ----------
    delay
        The monitor's; without it what the session's photodiode measured, else what the session's rig file said.
    templates
        The pictures as shown; without them the file has none.
    path
        Instead of ``session.nwb`` in the session's folder.

    Raises
    ------
    NwbError
        The record contradicts itself or has not a single flip, its rig's delay can't be, something else has the name,
        or the file can't be written: then none is there under its name, unless there was one before.
    """
    about = about or About()
    path = path or log.folder / FILE
    if why := in_the_way(path, suffix=SUFFIX):
        raise NwbError(f"{path}: {why}; give another name with --out")
    nominal = _nominal(log)  # refused here if it can't be, whatever was measured
    alignment = alignment_of(log)
    delay = delay or alignment.delay or nominal
    if not len(log.flips):
        raise NwbError(f"{log.folder}: not one flip reached the disk; there is nothing to make a file of")
    flags = [*refuse_contradictions(log), *sections.failed_checks(log), *stand_ins(log)]
    if about.born is None:
        flags.append("the mouse's age is not known; the file says 0 days")
    if delay.spread_s is None:
        flags.append(f"the monitor's delay was not measured: {delay.words()}")
    flags += [
        f"{found.name}: {found.figure}; {found.remedy}"
        for found in (stream.finding() for stream in alignment.streams)
        if found.verdict is not Verdict.PASS
    ]
    file = nwb_file(log, about=about, delay=delay, alignment=alignment, templates=templates, flags=flags)
    _write(file, path)
    return Exported(path=path, delay=delay, flags=flags)


def nwb_file(
    log: SessionLog,
    *,
    about: About,
    delay: MonitorDelay,
    alignment: Alignment,
    templates: StimulusTemplates | None,
    flags: list[str],
) -> NWBFile:
    """Return the file's contents."""
    started = log.started
    folds = Folds.of(log.entries)
    summary: Summary = with_performance(
        with_alignment(folds.summary.summary(), alignment, delay=delay),
        folds.trials.rows,
        stage_parameters=started.stage_parameters,
    )
    tables = tables_of(log, delay_s=delay.delay_s)
    file = NWBFile(
        session_description=started.stage,
        identifier=str(UUID(started.session_id).int),
        session_start_time=datetime.fromisoformat(started.started_at),
        session_id=started.session_id,
        experiment_description="Visual Behavior change detection in a head-fixed mouse"
        + (", simulated." if started.simulated else "."),
        keywords=["visual behavior", "change detection", "mouse", *(["simulated"] if started.simulated else [])],
        notes=in_words(summary, damage=log.damage),
        experimenter=about.experimenter or None,
        lab=about.lab,
        institution=about.institution,
        source_script=f"open-vision-rig {rig.__version__}",
        source_script_file_name="rig export nwb",
    )
    sections.add_subject(file, log, about)
    sections.add_metadata(file, log, about, summary=summary, delay=delay)
    sections.add_task_parameters(file, log, tables)
    sections.add_provenance(
        file,
        log,
        exported_by=f"open-vision-rig {rig.__version__}",
        versions={"pynwb": pynwb.__version__, "hdmf": hdmf.__version__, "h5py": version("h5py")},
        flags=flags,
    )
    sections.add_devices(file, log)
    timestamps = sections.add_timestamps(file, log)
    sections.add_running(file, log, running_of(log.flips, refresh_hz=started.refresh_hz), timestamps)
    sections.add_licks(file, tables)
    sections.add_rewards(file, tables)
    sections.add_trials(file, tables)
    sections.add_presentations(file, tables)
    sections.add_templates(file, stimulus_set(started.stimuli) or "gray", templates)
    sections.add_record(file, log)
    sections.add_edges(file, log)
    return file


def _nominal(log: SessionLog) -> MonitorDelay:
    try:
        return nominal_delay(log.started.rig_parameters)
    except (TypeError, ValueError) as error:
        raise NwbError(
            f"{log.folder}: monitor_delay_s of the rig in its log can't be ({error}); was the log changed by hand?"
        ) from error


def _write(file: NWBFile, path: Path) -> None:
    """Write the file, whole or not at all: made in memory, and written in one go.

    Raises
    ------
    NwbError
        The disk is full, or the folder is gone or may not be written.
    """
    image = _image(file, name=path.name)
    try:
        write_whole(path, image)
    except OSError as error:
        raise NwbError(
            f"{path}: can't be written ({error.strerror or error}); make room or give another place with --out, then "
            "run rig export nwb again: the log is untouched"
        ) from error


def _image(file: NWBFile, *, name: str) -> bytes:
    """Return the bytes of the file."""
    with h5py.File(name, "w", driver="core", backing_store=False) as memory, NWBHDF5IO(file=memory, mode="w") as io:
        io.write(file)
        memory.flush()
        return bytes(memory.id.get_file_image())
