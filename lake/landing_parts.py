"""Divide large landing files into parts, so that several tasks read a file.

Only uncompressed JSON is divided. A gzip stream has no place but its start from which it can be read. A
Parquet file stays whole.

The number of a record depends on all records before it. So the records of the parts are counted first. To
count is cheap: it splits lines, and parses nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from core.errors import InputError
from core.storage import file_status
from lake.json_records import WHOLE_FILE, ByteRange
from lake.landing import LandingLimits
from lake.landing_batches import count_json_records
from lake.landing_digests import LandingFile

Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]  # applies a function to each item, in order


@dataclass(frozen=True)
class FilePart:
    """Consecutive records of a landing file.

    Attributes:
        file: the file.
        byte_range: the bytes in which the records begin.
        first_line: the number of the first record in the file. It is 1 until `number_parts` has set it.
    """

    file: LandingFile
    byte_range: ByteRange = WHOLE_FILE
    first_line: int = 1

    @property
    def size(self) -> int:
        """Its size in bytes."""
        start, end = self.byte_range
        return (self.file.size if end is None else end) - start


def divide_file(file: LandingFile, part_bytes: int) -> list[FilePart]:
    """Divide a file into parts of at most `part_bytes`, or into one part if it cannot be divided."""
    if not file.path.name.endswith(".jsonl") or file.size <= part_bytes:
        return [FilePart(file)]
    starts = range(0, file.size, part_bytes)
    # The last range ends with the file, even if the file has grown.
    return [FilePart(file, ByteRange(*ends)) for ends in pairwise([*starts, None])]


def number_parts(
    parts: Sequence[FilePart], limits: LandingLimits, batch_rows: int, run: Run
) -> list[FilePart]:
    """Set the number of the first record of each part.

    Args:
        parts: all parts of some files. Those of a file follow each other.
        limits: limits of a file.
        batch_rows: records in memory at a time.
        run: runs the tasks that count.

    Raises:
        InputError: a file cannot be read or is too large.
    """
    counted = [part for part, following in pairwise(parts) if following.byte_range.start]
    counts = run(partial(_count_records, limits=limits, batch_rows=batch_rows), counted)
    numbered, counts_in_order = list[FilePart](), iter(counts)
    for part in parts:
        if part.byte_range.start:
            part = replace(part, first_line=numbered[-1].first_line + next(counts_in_order))
        numbered.append(part)
    return numbered


def _count_records(part: FilePart, limits: LandingLimits, batch_rows: int) -> int:
    return count_json_records(part.file.path, limits, batch_rows, part.byte_range)


def require_unchanged(parts: Sequence[FilePart]) -> None:
    """Check that no divided file was replaced while its parts were read.

    Otherwise some rows could be of the old file, and some of the new one.

    Raises:
        InputError: a file was replaced, or it cannot be read any more.
    """
    for file in {part.file.name: part.file for part in parts if part.byte_range.start}.values():
        try:
            is_unchanged = file_status(file.path).version == file.version
        except OSError:
            is_unchanged = False
        if not is_unchanged:
            raise InputError(f"{file.path} was replaced while it was read; run the step again")
