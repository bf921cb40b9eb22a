"""The types of our own namespace, ``ndx-open-vision-rig``, whose schema stands in ``spec``."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

from pynwb import get_class, load_namespaces

NAMESPACE = "ndx-open-vision-rig"

with as_file(files("rig.records.nwb") / "spec") as _spec:
    load_namespaces(str(_spec / f"{NAMESPACE}.namespace.yaml"))

Subject: Any = get_class("VisionRigSubject", NAMESPACE)
Metadata: Any = get_class("VisionRigMetadata", NAMESPACE)
TaskParameters: Any = get_class("VisionRigTaskParameters", NAMESPACE)
Provenance: Any = get_class("VisionRigProvenance", NAMESPACE)
EventLog: Any = get_class("VisionRigEventLog", NAMESPACE)
Flips: Any = get_class("VisionRigFlips", NAMESPACE)
CardEdges: Any = get_class("VisionRigCardEdges", NAMESPACE)
Templates: Any = get_class("VisionRigTemplates", NAMESPACE)
