"""Find and read landing files. core/records.py checks the records."""

import difflib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from core.config import IngestConfig
from core.errors import InputError
from core.paths import parse_day
from core.records import LANDING_TYPES, LandingType, RecordRejected, parse_record
from core.storage import StoragePath, is_local, list_folder
from lake.json_records import read_json_blocks
from lake.parquet_records import read_parquet_batches, to_records

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8
USER_ID_FIELD = re.compile(r'"user_id"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[\d.]+)')
BLOCK_ROWS = 1024
KIB, MIB = 1 << 10, 1 << 20

RawRecord = bytes | Mapping[str, Any]


@dataclass(frozen=True)
class LandingLimits:
    """Limits of a landing file, in bytes without compression.

    Attributes:
        max_record_bytes: limit of one record.
        max_file_bytes: limit of the file.
    """

    max_record_bytes: int = MIB
    max_file_bytes: int = 8192 * MIB

    @classmethod
    def from_params(cls, params: IngestConfig) -> "LandingLimits":
        """Return the limits of section `ingest` of params.yaml."""
        return cls(params.max_record_kib * KIB, params.max_file_mib * MIB)


def check_folder_names(root: StoragePath) -> None:
    """Check that every folder with landing files is of a landing type.

    Raises:
        InputError: a folder is not. The message names the likely spelling.
    """
    for folder in list_folder(root):
        if folder.name in LANDING_TYPES or _is_ignored(folder) or not folder.is_dir():
            continue
        days = [entry for entry in list_folder(folder) if entry.name.startswith("dt=")]
        close_matches = difflib.get_close_matches(folder.name, LANDING_TYPES, n=1)
        if days and (close_matches or _holds_landing_files(days[-1])):
            meant = f"did you mean {close_matches[0]}?" if close_matches else "or move it out of this folder"
            raise InputError(
                f"{_printable(folder)} is not a landing type, one of {', '.join(LANDING_TYPES)}; rename it"
                f" ({meant})"
            )


def _holds_landing_files(folder: StoragePath) -> bool:
    return any(entry.name.endswith(SUFFIXES) for entry in list_folder(folder))


def list_days(root: StoragePath, landing_type: str) -> list[date]:
    """Return the days that have a folder of a landing type, oldest first.

    Args:
        root: the landing folder.
        landing_type: the name of the landing type.

    Raises:
        InputError: an entry is not a folder named `dt=YYYY-MM-DD`.
    """
    folder = root / landing_type
    if is_local(folder) and folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} must be a folder of dt=YYYY-MM-DD folders; move the file into one")
    listed_days = []
    for entry in list_folder(folder):
        if _is_ignored(entry):
            continue
        if not entry.name.startswith("dt=") or not entry.is_dir():
            raise InputError(f"{_printable(entry)} is not a folder dt=YYYY-MM-DD; rename it or move it away")
        listed_days.append(parse_day(entry.name.removeprefix("dt="), _printable(entry)))
    return listed_days


def list_files(root: StoragePath, landing_type: str, day: date) -> list[StoragePath]:
    """Return the landing files of a landing type and day, sorted by name.

    Files in sub-folders count if Spark could have written the folders (`hour=05/`, `part.parquet/`).

    Args:
        root: the landing folder.
        landing_type: the name of the landing type.
        day: the day.

    Raises:
        InputError: an entry is not a readable landing file. The message names it.
    """
    return _list_landing_files(root / landing_type / f"dt={day}")


def read_records(
    path: StoragePath, landing_type: LandingType, limits: LandingLimits = LandingLimits()
) -> Iterator[tuple[int, RawRecord, dict[str, Any] | RecordRejected]]:
    """Read all records of a landing file with the strict parser, one after the other.

    `lake.landing_batches` reads the same rows and rejects faster, as columns.

    Args:
        path: the file.
        landing_type: its landing type.
        limits: limits of its size.

    Yields:
        The number of the line or row (from 1), the unparsed record, and its table row or reject. Several
        objects on a line count as several lines.

    Raises:
        InputError: the file cannot be read (not Parquet, a broken gzip stream) or is beyond `limits`.
    """
    for number, raw in enumerate(_read_raw_records(path, limits), 1):
        if isinstance(raw, RecordRejected):
            yield number, b"", raw
        elif raw:
            yield number, raw, parse_record(raw, landing_type)


def record_text(raw: RawRecord, max_chars: int = 65536) -> str:
    """Return the text of a refused record, for the table `rejects`.

    A longer text is cut, and the ids of users in it follow. So the reject can be forgotten with its user.
    """
    text = (
        raw.decode("utf-8", errors="replace").rstrip("\r\n")
        if isinstance(raw, bytes)
        else json.dumps(raw, default=str)
    )
    if len(text) <= max_chars:
        return text
    return " ".join([text[:max_chars] + "…", *dict.fromkeys(USER_ID_FIELD.findall(text))])


def _read_raw_records(path: StoragePath, limits: LandingLimits) -> Iterator[RawRecord | RecordRejected]:
    if path.name.endswith(".parquet"):
        for batch in read_parquet_batches(path, BLOCK_ROWS, limits.max_file_bytes):
            yield from to_records(path, batch, limits.max_record_bytes)
    else:
        for block in read_json_blocks(path, BLOCK_ROWS, limits.max_record_bytes, limits.max_file_bytes):
            yield from block


def _is_ignored(path: StoragePath) -> bool:
    """Return whether a name belongs to an unfinished file or to a marker file of Spark."""
    return path.name.startswith((".", "_"))


def _list_landing_files(folder: StoragePath) -> list[StoragePath]:
    paths = []
    for path in list_folder(folder):
        if _is_ignored(path):
            continue
        if path.is_dir() and not path.is_symlink() and ("=" in path.name or path.name.endswith(SUFFIXES)):
            paths += _list_landing_files(path)
        else:
            paths.append(_check_landing_file(path))
    return paths


def _check_landing_file(path: StoragePath) -> StoragePath:
    """Check that a path is a regular file with a known suffix. To open anything else could block forever."""
    if UNPRINTABLE.search(str(path)):
        raise InputError(f"the name of {_printable(path)} is not printable UTF-8 text; rename it")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); deliver it again or remove it") from None
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path}: landing files end in {', '.join(SUFFIXES)}; rename or remove it")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is not a regular file; remove it")
    return path


def _printable(path: StoragePath) -> str:
    """Return a path as text that can be printed on one line, whatever bytes its name has."""
    text = os.fsencode(str(path)).decode("utf-8", errors="backslashreplace")
    return UNPRINTABLE.sub(lambda character: ascii(character[0])[1:-1], text)
