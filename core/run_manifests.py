"""Run manifests: the record that a step leaves of its inputs, outputs, row counts and cost.

The manifest is written last. So its existence means that the step is complete.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.errors import InputError


class RowCountError(RuntimeError):
    """A step lost or invented rows, which is a bug."""


@dataclass(frozen=True)
class RowCounts:
    """How many rows a step read, kept and rejected. Rows in = kept + rejected.

    Attributes:
        rows_in: rows that the step read.
        kept: rows that it kept.
        rejected: reason -> rows that it rejected.

    Raises:
        RowCountError: the counts do not add up.
    """

    rows_in: int
    kept: int
    rejected: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        num_rejected = sum(self.rejected.values())
        if self.rows_in != self.kept + num_rejected:
            counts = f"{self.kept} kept + {num_rejected} rejected {dict(self.rejected)}"
            raise RowCountError(f"{self.rows_in} rows in, but {counts}")


@dataclass(frozen=True)
class RunManifest:
    """What a step reports of its run. The step CLI adds parameters, commit, seconds and peak memory.

    Attributes:
        reads, writes: table name -> Iceberg snapshot id, or None while the table is empty.
        row_counts: the row counts, if the step handles rows.
        digests: output name -> sha256. Equal inputs, parameters and seeds give equal digests.
        facts: other facts about the run, as JSON values.
    """

    reads: Mapping[str, int | None] = field(default_factory=dict)
    writes: Mapping[str, int | None] = field(default_factory=dict)
    row_counts: RowCounts | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a file. A reader sees the whole file or no file."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text to a temporary file and rename it. A reader sees the whole file or no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_json(
    path: Path, remedy: str, required_keys: Sequence[str] = (), expected_type: type[dict] | type[list] = dict
) -> Any:
    """Read JSON from a file and check its type and keys.

    Args:
        path: the file.
        remedy: what the user can do; every error message ends with it.
        required_keys: keys that the object must have.
        expected_type: dict or list.

    Raises:
        InputError: the file is not JSON, or has another type, or lacks a key.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); {remedy}") from None
    if not isinstance(value, expected_type):
        raise InputError(f"{path} holds no JSON {expected_type.__name__}; {remedy}")
    for key in required_keys:
        if key not in value:
            raise InputError(f"{path}: key {key!r} is missing; {remedy}")
    return value


def write_manifest(folder: Path, step: str, manifest: RunManifest, run_info: Mapping[str, Any]) -> Path:
    """Write `<folder>/<step>.json` and return its path. `run_info` holds what the step CLI adds."""
    path = folder / f"{step}.json"
    write_json(path, {"step": step, **run_info, **asdict(manifest)})
    return path


def read_manifest(folder: Path, step: str) -> dict[str, Any]:
    """Read the run manifest of a step.

    Raises:
        InputError: the step has not completed, or its manifest is damaged.
    """
    path = folder / f"{step}.json"
    if not path.exists():
        raise InputError(
            f"{path} is missing: the step {step!r} has not completed; run `python -m tasks.{step}`"
        )
    return read_json(path, f"run `python -m tasks.{step}` again", ("facts",))
