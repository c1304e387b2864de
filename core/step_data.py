"""What each step reads and writes, for people. Tests compare it with dvc.yaml and with real run manifests."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class StepData:
    """What a step reads and writes, in addition to the run manifests.

    A name that ends in `/` is a folder of the night's workspace. The names in `STORES` are outside of it. All
    other names are tables of the lake.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]


STORES = ("landing files", "media files", "registry", "record")

STEP_DATA: Mapping[str, StepData] = MappingProxyType(
    {
        "ingest": StepData(
            ("landing files",), ("events", "users", "videos", "features", "rejects", "landings")
        ),
        "clean": StepData(("events", "videos", "landings"), ("interactions", "rejects")),
        "embed": StepData(("videos", "media files"), ("features", "rejects")),
        "check": StepData(
            (
                "events",
                "interactions",
                "features",
                "videos",
                "users",
                "sequences",
                "rejects",
                "landings",
            ),
            ("audits", "check/"),
        ),
        "sequences": StepData(("interactions",), ("sequences", "item_statistics")),
        "snapshot": StepData(
            (
                "users",
                "videos",
                "interactions",
                "item_statistics",
                "sequences",
                "features",
                "registry",
            ),
            ("snapshot/",),
        ),
        "align": StepData(("snapshot/",), ("align/",)),
        "train": StepData(("snapshot/", "align/"), ("train/",)),
        "evaluate": StepData(("snapshot/", "train/"), ("evaluate/",)),
        "gate": StepData(("snapshot/", "evaluate/"), ("gate/",)),
        "promote": StepData(("snapshot/", "train/", "evaluate/", "gate/"), ("registry",)),
        "record": StepData(("check/", "snapshot/", "align/", "train/", "evaluate/", "gate/"), ("record",)),
        "report": StepData(("snapshot/", "align/", "train/", "evaluate/", "gate/"), ("report/",)),
    }
)
