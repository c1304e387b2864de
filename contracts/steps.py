"""The steps of a night and their edges, in the order they can run: step -> the steps it waits for.

The one place that says so: dags/nightly.py is built from it, and a test holds dvc.yaml equal to it.
"""

from collections.abc import Mapping
from types import MappingProxyType

STEPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ingest": (),
        "clean": ("ingest",),
        "embed": ("ingest",),
        "check": ("clean", "embed"),
        "sequences": ("check",),
        "snapshot": ("sequences", "embed"),
        "align": ("snapshot",),
        "train": ("align",),
        "evaluate": ("train",),
        "gate": ("evaluate",),
        "promote": ("gate",),
        "record": ("promote",),
        "report": ("record",),
    }
)
