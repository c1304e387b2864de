"""What the gate decides from, read from the files that the steps before it left."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors import safe_open

from contracts.errors import InputError
from contracts.place import Night
from contracts.receipts import read_receipt

SLICE_USERS = 20  # of fewer people a slice says nothing that could be decided by
EVALUATION, MANIFEST = ("evaluate", "metrics.json"), ("snapshot", "manifest.json")


@dataclass(frozen=True)
class Evidence:
    """What the gate decides from.

    Attributes:
        metrics: evaluate/metrics.json.
        champion: the champion's registered version, None when there is none.
        weighable: whether some video has two modalities or more, and none is missing.
        completions: whether it is known of any of the test day's viewings if it was complete.
        checks: `facts.outcome` of the data checks' receipt, None when the checks did not complete.
    """

    metrics: Mapping[str, Any]
    champion: str | None
    weighable: bool
    completions: bool
    checks: str | None


def evidence_of(night: Night) -> Evidence:
    """Read it from the night's files.

    Raises:
        InputError: one is missing, or of another night.
    """
    metrics, manifest = (_tonight(night, *file) for file in (EVALUATION, MANIFEST))
    views = pq.read_table(night.output("snapshot", "test_views.parquet"), columns=["completed"])["completed"]
    return Evidence(
        metrics=metrics,
        champion=manifest["champion"],
        weighable=_weighable(night, list(manifest["modalities"])),
        completions=views.null_count < len(views),
        checks=_checks_outcome(night),
    )


def _tonight(night: Night, step_name: str, file: str) -> dict[str, Any]:
    """A JSON file of an earlier step, which must have been made for this night."""
    path = night.output(step_name, file)
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("test_day") != str(night.day):
        raise InputError(
            f"{path}: test_day is {found.get('test_day')}, not {night.day}; "
            f"run `python -m tasks.{step_name} --night {night.day}` in this workspace"
        )
    return found


def _weighable(night: Night, modalities: list[str]) -> bool:
    with safe_open(night.output("snapshot", "features.safetensors"), "numpy") as features:
        masks = [features.get_tensor(f"{name}.mask").astype(bool) for name in modalities]
    return len(masks) > 1 and bool(np.logical_and.reduce(masks).any())


def _checks_outcome(night: Night) -> str | None:
    if not (night.receipts / "check.json").exists():
        return None
    receipt = read_receipt(night.receipts, "check")
    return receipt["facts"].get("outcome") if receipt["night"] == str(night.day) else None
