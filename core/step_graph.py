"""The step graph: each step of a night and the steps that it waits for, in an order that can run.

dags/nightly.py is built from it. A test checks that dvc.yaml has the same graph.
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

# The steps that write the lake. The others, the model half, read the files of one snapshot.
LAKE_HALF = ("ingest", "clean", "embed", "check", "sequences")
