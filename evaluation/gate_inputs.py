"""Read the gate inputs from the files of earlier steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from core.errors import InputError
from core.hashing import hash_file
from core.paths import Night
from core.run_manifests import read_json, read_manifest

MIN_SLICE_USERS = 20  # the gate does not judge a slice with fewer users
RERUN_SNAPSHOT = "run `python -m tasks.snapshot` again"
DETAILS_FILE, MANIFEST_FILE = ("evaluate", "details.json"), ("snapshot", "manifest.json")


@dataclass(frozen=True)
class GateInputs:
    """What the gate decides from.

    Attributes:
        metrics: The content of `evaluate/details.json`.
        metrics_digest: The sha256 of that file.
        champion: The registered version of the champion. None if there is none.
        incumbent: The registered version of the present champion, if this night made it.
        has_multimodal_items: Whether there are two modalities or more, and some video has all of them.
        has_completion_labels: Whether `completed` is known for any interaction of the test day.
        checks_outcome: `facts.outcome` in the run manifest of `check`. None if `check` did not complete.
    """

    metrics: Mapping[str, Any]
    metrics_digest: str
    champion: str | None
    incumbent: str | None
    has_multimodal_items: bool
    has_completion_labels: bool
    checks_outcome: str | None


def read_gate_inputs(night: Night) -> GateInputs:
    """Read the gate inputs of a night.

    Raises:
        InputError: A file is missing, unreadable or of another night.
    """
    digest = hash_file(night.require_output(*DETAILS_FILE))
    metrics = _read_night_json(night, *DETAILS_FILE, "bundle_digests")
    manifest = _read_night_json(night, *MANIFEST_FILE, "champion", "incumbent", "modalities")
    completed = _read_completed(night)
    return GateInputs(
        metrics=metrics,
        metrics_digest=digest,
        champion=manifest["champion"],
        incumbent=manifest["incumbent"],
        has_multimodal_items=_has_multimodal_items(night, list(manifest["modalities"])),
        has_completion_labels=completed.null_count < len(completed),
        checks_outcome=_checks_outcome(night),
    )


def _read_night_json(night: Night, step_name: str, file: str, *required_keys: str) -> dict[str, Any]:
    """Read a JSON file of an earlier step. It must have these keys and belong to this night."""
    path = night.require_output(step_name, file)
    remedy = f"run `python -m tasks.{step_name} --night {night.day}` in this workspace"
    content = read_json(path, remedy, ("test_day", *required_keys))
    if content["test_day"] != str(night.day):
        raise InputError(f"{path}: test_day is {content['test_day']}, not {night.day}; {remedy}")
    return content


def _read_completed(night: Night) -> pa.ChunkedArray:
    path = night.require_output("snapshot", "interactions_test.parquet")
    try:
        return pq.read_table(path, columns=["completed"])["completed"]
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} cannot be read as Parquet ({error}); {RERUN_SNAPSHOT}") from None


def _has_multimodal_items(night: Night, modalities: list[str]) -> bool:
    path = night.require_output("snapshot", "features.safetensors")
    try:
        with safe_open(path, "numpy") as features:
            masks = [features.get_tensor(f"{name}.mask").astype(bool) for name in modalities]
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as tensors ({error}); {RERUN_SNAPSHOT}") from None
    return len(masks) > 1 and bool(np.logical_and.reduce(masks).any())


def _checks_outcome(night: Night) -> str | None:
    if not (night.run_manifests / "check.json").exists():
        return None
    manifest = read_manifest(night.run_manifests, "check")
    return manifest["facts"].get("outcome") if manifest["night"] == str(night.day) else None
