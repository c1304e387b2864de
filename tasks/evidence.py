"""What the gate decides from, read from the files that the steps before it left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from contracts.digests import of_file
from contracts.errors import InputError
from contracts.place import Night
from contracts.receipts import read_json, read_receipt

SLICE_USERS = 20  # of fewer people a slice says nothing that could be decided by
AGAIN = "run `python -m tasks.snapshot` again"
EVALUATION, MANIFEST = ("evaluate", "metrics.json"), ("snapshot", "manifest.json")


@dataclass(frozen=True)
class Evidence:
    """What the gate decides from.

    Attributes:
        metrics, digest: evaluate/metrics.json, and its sha256.
        champion: the champion's registered version, None when there is none.
        incumbent: the present champion's, where this night made it.
        weighable: whether some video has two modalities or more, and none is missing.
        completions: whether it is known of any of the test day's viewings if it was complete.
        checks: `facts.outcome` of the data checks' receipt, None when the checks did not complete.
    """

    metrics: Mapping[str, Any]
    digest: str
    champion: str | None
    incumbent: str | None
    weighable: bool
    completions: bool
    checks: str | None


def evidence_of(night: Night) -> Evidence:
    """Read it from the night's files.

    Raises:
        InputError: one is missing, or of another night.
    """
    digest = of_file(night.output(*EVALUATION))
    metrics = _tonight(night, *EVALUATION, "bundles")
    manifest = _tonight(night, *MANIFEST, "champion", "incumbent", "modalities")
    views = _completed(night)
    return Evidence(
        metrics=metrics,
        digest=digest,
        champion=manifest["champion"],
        incumbent=manifest["incumbent"],
        weighable=_weighable(night, list(manifest["modalities"])),
        completions=views.null_count < len(views),
        checks=_checks_outcome(night),
    )


def _tonight(night: Night, step_name: str, file: str, *needs: str) -> dict[str, Any]:
    """A JSON file of an earlier step with these keys, which must have been made for this night."""
    path = night.output(step_name, file)
    remedy = f"run `python -m tasks.{step_name} --night {night.day}` in this workspace"
    found = read_json(path, remedy, ("test_day", *needs))
    if found["test_day"] != str(night.day):
        raise InputError(f"{path}: test_day is {found['test_day']}, not {night.day}; {remedy}")
    return found


def _completed(night: Night) -> pa.ChunkedArray:
    path = night.output("snapshot", "test_views.parquet")
    try:
        return pq.read_table(path, columns=["completed"])["completed"]
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} cannot be read as Parquet ({error}); {AGAIN}") from None


def _weighable(night: Night, modalities: list[str]) -> bool:
    path = night.output("snapshot", "features.safetensors")
    try:
        with safe_open(path, "numpy") as features:
            masks = [features.get_tensor(f"{name}.mask").astype(bool) for name in modalities]
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as tensors ({error}); {AGAIN}") from None
    return len(masks) > 1 and bool(np.logical_and.reduce(masks).any())


def _checks_outcome(night: Night) -> str | None:
    if not (night.receipts / "check.json").exists():
        return None
    receipt = read_receipt(night.receipts, "check")
    return receipt["facts"].get("outcome") if receipt["night"] == str(night.day) else None
