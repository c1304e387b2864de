"""Landing files: where they lie and how they are read. What a record must look like: contracts/records.py.

Nothing of a file is held beyond one record or one small batch, and what a file may hold is bounded, so that
no file, however made, fills the memory or never ends.
"""

import difflib
import gzip
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any

from contracts.errors import InputError
from contracts.parquet import parquet_records
from contracts.place import parse_day
from contracts.records import KINDS, Kind, Refused, row_of

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
BOM = b"\xef\xbb\xbf"  # what some editors put before UTF-8 text
SEVERAL = re.compile(rb"\}\s*,?\s*\{|^\s*\[\s*\{|\}\s*,\s*$")
NEXT_OBJECT = re.compile(r"\}\s*,?\s*\{")
BETWEEN = re.compile(r"[\s,\[\]]*")  # what may stand between objects
KIB, MIB = 1 << 10, 1 << 20

Raw = bytes | Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """What a landing file may hold, in bytes as they are without compression."""

    record_bytes: int = MIB
    file_bytes: int = 8192 * MIB


def check_kinds(root: Path) -> None:
    """See that no folder of days bears a name that nothing reads.

    Raises:
        InputError: one does; names the likely spelling.
    """
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.name not in KINDS and folder.is_dir() and any(folder.glob("dt=*")):
            close = difflib.get_close_matches(folder.name, KINDS, n=1)
            if close:
                raise InputError(f"{folder} is read by nothing; rename it (did you mean {close[0]}?)")


def days(root: Path, kind: str) -> list[date]:
    """The days for which folders of a kind are there, oldest first.

    Raises:
        InputError: something else than `dt=YYYY-MM-DD` lies there.
    """
    folder = root / kind
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise InputError(f"{folder} must be a folder of dt=YYYY-MM-DD folders; move the file into one")
    found = []
    for entry in sorted(folder.iterdir()):
        if _ignored(entry):
            continue
        if not entry.name.startswith("dt=") or not entry.is_dir():
            raise InputError(f"{_shown(entry)} is not a folder dt=YYYY-MM-DD; rename it or move it away")
        found.append(parse_day(entry.name.removeprefix("dt="), _shown(entry)))
    return found


def files(root: Path, kind: str, day: date) -> list[Path]:
    """The landing files of one kind and day, by name; also those in folders as Spark writes them.

    Raises:
        InputError: something there is not a readable landing file; names it.
    """
    folder = root / kind / f"dt={day}"
    return _files(folder) if folder.is_dir() else []


def read(
    path: Path, kind: Kind, limits: Limits = Limits()
) -> Iterator[tuple[int, Raw, dict[str, Any] | Refused]]:
    """Every record of a file: (its number, the record as it came, its row or why it is refused).

    The number is the line's or row's, from 1; objects on one line count as lines of their own.

    Raises:
        InputError: the file itself cannot be read (not Parquet, a gzip stream that breaks), or holds more
            than `limits`.
    """
    records = _parquet(path, limits) if path.name.endswith(".parquet") else _json(path, limits)
    for number, raw in enumerate(records, 1):
        if isinstance(raw, Refused):
            yield number, b"", raw
        elif raw:
            yield number, raw, row_of(raw, kind)


def size(raw: Raw) -> int:
    """About how many bytes a record takes."""
    if isinstance(raw, bytes):
        return len(raw)
    return sum(len(value) if isinstance(value, str | bytes) else 8 for value in raw.values())


def as_text(raw: Raw, limit: int = 65536) -> str:
    """A refused record as it came, for the `rejects` table."""
    if isinstance(raw, bytes):
        return raw[:limit].decode("utf-8", errors="replace").rstrip("\r\n")
    return json.dumps(raw, default=str)[:limit]


def _ignored(path: Path) -> bool:
    """Names of files that are not whole yet, and of what Spark writes beside its files."""
    return path.name.startswith((".", "_"))


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.iterdir()):
        if _ignored(path):
            continue
        if path.is_dir() and not path.is_symlink() and ("=" in path.name or path.name.endswith(SUFFIXES)):
            found += _files(path)
        else:
            found.append(_landing_file(path))
    return found


def _landing_file(path: Path) -> Path:
    """The path, if it is a regular file with a name of ours; opening anything else could block for ever."""
    try:
        path.name.encode()
        mode = path.stat().st_mode
    except UnicodeEncodeError:
        raise InputError(f"{_shown(path)}: its name is not UTF-8; rename it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); deliver it again or remove it") from None
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path}: landing files end in {', '.join(SUFFIXES)}; rename or remove it")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is not a regular file; remove it")
    return path


def _shown(path: Path) -> str:
    """A path that can be printed, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _parquet(path: Path, limits: Limits) -> Iterator[Mapping[str, Any] | Refused]:
    return parquet_records(path, limits.record_bytes, limits.file_bytes)


def _json(path: Path, limits: Limits) -> Iterator[bytes | Refused]:
    """The objects of a file, in their order; an empty line is empty."""
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            for line in _lines(path, file, limits):  # type: ignore[arg-type]  # a GzipFile reads bytes, too
                yield from [line] if isinstance(line, Refused) else _objects(line)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); deliver the file again") from None


def _lines(path: Path, file: IO[bytes], limits: Limits) -> Iterator[bytes | Refused]:
    """The lines of a file; one that is too long is refused."""
    number = held = 0
    while line := file.readline(limits.record_bytes + 1):
        number += 1
        held += len(line)
        if number == 1:
            line = line.removeprefix(BOM)
        if len(line) > limits.record_bytes and not line.endswith(b"\n"):
            told = f"is longer than ingest.max_record_kib, {limits.record_bytes // KIB} KiB"
            if _several(line):
                raise InputError(f"{path}: line {number} {told}, and holds several objects; write one a line")
            held += _skip_line(file, limits.file_bytes - held)
            yield Refused("too_long", f"the line {told}")
        else:
            yield line.strip()
        if held > limits.file_bytes:
            raise InputError(
                f"{path} holds more than {limits.file_bytes // MIB} MiB without compression, which is"
                " ingest.max_file_mib in params.yaml; split the file, or raise the bound"
            )


def _skip_line(file: IO[bytes], most: int) -> int:
    """Read to the end of a line, but not much further than `most` bytes; returns how many were read."""
    skipped = 0
    while skipped <= most and (piece := file.readline(MIB)):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _several(line: bytes) -> bool:
    """Whether a first object ends within the line and another follows."""
    text = line.decode("utf-8", errors="surrogateescape")
    try:
        end = json.JSONDecoder().raw_decode(text, _after(text, 0))[1]
    except (ValueError, RecursionError):
        return False
    return text[_after(text, end) :][:1] == "{"


def _after(text: str, at: int) -> int:
    """Where the next object may begin: behind what may stand between two, which may be nothing."""
    between = BETWEEN.match(text, at)
    return between.end() if between else at


def _objects(line: bytes) -> list[bytes]:
    """The JSON objects of a line: one, or several that stand there one after the other or in an array.

    What cannot be read up to the next object is a piece of its own, to be refused with its reason.
    """
    if not SEVERAL.search(line):
        return [line]
    text, decoder = line.decode("utf-8", errors="surrogateescape"), json.JSONDecoder()
    found, at = [], _after(text, 0)
    while at < len(text):
        try:
            end = decoder.raw_decode(text, at)[1]
        except (ValueError, RecursionError):
            broken = NEXT_OBJECT.search(text, at)
            end = broken.start() + 1 if broken else len(text)
        found.append(text[at:end].encode("utf-8", errors="surrogateescape"))
        at = _after(text, end)
    return found or [line]
