"""Receipts: what a step read, wrote, counted and cost. Written last; its existence means: complete."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import InputError


class LostRowsError(RuntimeError):
    """Rows were lost or made up on the way: a bug of ours."""


@dataclass(frozen=True)
class Rows:
    """The rows that a step was given, and what became of them: rows in = kept + rejected, by reason.

    Raises:
        LostRowsError: the counts do not add up.
    """

    rows_in: int
    kept: int
    rejected: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refused = sum(self.rejected.values())
        if self.rows_in != self.kept + refused:
            told = f"{self.kept} kept + {refused} rejected {dict(self.rejected)}"
            raise LostRowsError(f"{self.rows_in} rows in, but {told}")


@dataclass(frozen=True)
class Receipt:
    """What a step tells of itself. The command line adds parameters, commit, seconds and peak memory.

    Attributes:
        reads, writes: table name -> Iceberg snapshot id (None: the table was still empty).
        rows: rows in = kept + rejected, where the step handles rows.
        digests: output name -> sha256, the same for the same inputs, parameters and seed.
        facts: whatever else a reader of the night wants to know; JSON values only.
    """

    reads: Mapping[str, int | None] = field(default_factory=dict)
    writes: Mapping[str, int | None] = field(default_factory=dict)
    rows: Rows | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the whole file or none."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the whole of it or none (temporary name, then rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_json(
    path: Path, remedy: str, needs: Sequence[str] = (), kind: type[dict] | type[list] = dict
) -> Any:
    """JSON from a file: an object with at least these keys, or a list.

    Raises:
        InputError: it holds something else; ends with the remedy.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); {remedy}") from None
    if not isinstance(found, kind):
        raise InputError(f"{path} holds no JSON {kind.__name__}; {remedy}")
    for key in needs:
        if key not in found:
            raise InputError(f"{path}: key {key!r} is missing; {remedy}")
    return found


def write_receipt(folder: Path, step: str, receipt: Receipt, stamp: Mapping[str, Any]) -> Path:
    """Write `<folder>/<step>.json`; `stamp` holds what the command line knows."""
    path = folder / f"{step}.json"
    write_json(path, {"step": step, **stamp, **asdict(receipt)})
    return path


def read_receipt(folder: Path, step: str) -> dict[str, Any]:
    """Read a step's receipt.

    Raises:
        InputError: the step has not completed.
    """
    path = folder / f"{step}.json"
    if not path.exists():
        raise InputError(
            f"{path} is missing: the step {step!r} has not completed; run `python -m tasks.{step}`"
        )
    return read_json(path, f"run `python -m tasks.{step}` again", ("facts",))
