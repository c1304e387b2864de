"""Read the JSON objects of a landing file in blocks.

Only one block is in memory at a time, and the size of a file is limited. So no file can fill the memory or
take forever.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from core.errors import InputError
from core.records import RecordRejected
from core.storage import StoragePath, open_stream

BOM = b"\xef\xbb\xbf"  # byte order mark, which some editors put before UTF-8 text
NEXT_OBJECT_OF_LINE = re.compile(rb"\}[^\S\n]*,?[^\S\n]*\{")
MULTIPLE_OBJECTS = re.compile(rb"\}\s*,?\s*\{|^\s*\[\s*\{|\}\s*,\s*$")
NEXT_OBJECT = re.compile(r"\}\s*,?\s*\{")
SEPARATOR = re.compile(r"[\s,\[\]]*")  # text that may stand between two objects
KIB, MIB = 1 << 10, 1 << 20
BLOCK_BYTES = 64 * MIB

JsonRecord = bytes | RecordRejected


class ByteRange(NamedTuple):
    """The lines of a file that begin in a range of its bytes. The last line may end after the range.

    Attributes:
        start: the first byte. A compressed file has one range only, which starts at 0.
        end: the byte after the last one. None: the range ends with the file.
    """

    start: int
    end: int | None


WHOLE_FILE = ByteRange(0, None)


def read_json_blocks(
    path: StoragePath,
    block_rows: int,
    max_record_bytes: int,
    max_file_bytes: int,
    byte_range: ByteRange = WHOLE_FILE,
) -> Iterator[list[JsonRecord]]:
    """Read the JSON objects of a file in order, in blocks.

    Args:
        path: the file; `.gz` is decompressed.
        block_rows: lines of a block. A block with long lines has fewer.
        max_record_bytes: a longer line becomes a reject.
        max_file_bytes: limit of the file, without compression.
        byte_range: the lines to read.

    Yields:
        The objects of a block. Several objects on a line are separate. A blank line is an empty record.

    Raises:
        InputError: the file cannot be read or is too large.
    """
    with open_json(path, byte_range.start) as file:
        lines = _read_lines(path, file, max_record_bytes, max_file_bytes, byte_range)
        for block in _group_lines(lines, block_rows):
            yield _split_block(block)


@contextmanager
def open_json(path: StoragePath, start: int = 0) -> Iterator[IO[bytes]]:
    """Open a landing file of JSON. `.gz` is decompressed.

    Args:
        path: the file.
        start: the byte from which the caller reads. The encoding is checked only if this is 0.

    Raises:
        InputError: the file is not UTF-8, or cannot be read, here or in the block.
    """
    try:
        with open_stream(path) as stored, _decompressed(path, stored) as file:
            if start == 0:
                _require_utf_8(path, file)
            yield file
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}); deliver the file again") from None


def _decompressed(path: StoragePath, stored: io.BufferedReader) -> io.BufferedReader:
    return io.BufferedReader(gzip.open(stored, "rb"), MIB) if path.name.endswith(".gz") else stored


def _require_utf_8(path: StoragePath, file: io.BufferedReader) -> None:
    """Refuse UTF-16 and UTF-32. Only they have a NUL among the first four bytes of JSON (RFC 4627, 3)."""
    if b"\0" in file.peek(4)[:4]:
        raise InputError(
            f"{path} has a NUL byte at its start, as UTF-16 and UTF-32 have; write it as UTF-8 and deliver it"
            " again"
        )


def _group_lines(lines: Iterable[JsonRecord], block_rows: int) -> Iterator[list[JsonRecord]]:
    block: list[JsonRecord] = []
    block_bytes = 0
    for line in lines:
        block.append(line)
        if isinstance(line, bytes):
            block_bytes += len(line)
        if len(block) >= block_rows or block_bytes >= BLOCK_BYTES:
            yield block
            block, block_bytes = [], 0
    if block:
        yield block


def _split_block(block: list[JsonRecord]) -> list[JsonRecord]:
    """Split the lines with several objects.

    One search of the whole block is much cheaper than one of each line, and few blocks have such lines.
    """
    text = b"\n".join([b"", *(line for line in block if isinstance(line, bytes)), b""])
    if b"\n[" not in text and b",\n" not in text and not NEXT_OBJECT_OF_LINE.search(text):
        return block
    objects: list[JsonRecord] = []
    for line in block:
        objects += _split_objects(line) if isinstance(line, bytes) else [line]
    return objects


def _read_lines(
    path: StoragePath, file: IO[bytes], max_record_bytes: int, max_file_bytes: int, byte_range: ByteRange
) -> Iterator[JsonRecord]:
    """Read the lines of a range. A line that is too long becomes a reject."""
    end = max_file_bytes + 1 if byte_range.end is None else byte_range.end
    position = _seek_line(file, byte_range.start, end)
    while position < end and (line := file.readline(max_record_bytes + 1)):
        start, position = position, position + len(line)
        is_too_long = len(line) > max_record_bytes and not line.endswith(b"\n")
        if start == 0:
            line = line.removeprefix(BOM)
        if is_too_long:
            message = f"is longer than ingest.max_record_kib, {max_record_bytes // KIB} KiB"
            if _holds_multiple_objects(line):
                raise InputError(
                    f"{path}: the line at byte {start} {message}, and holds several objects; write one object"
                    " per line"
                )
            position += _skip_line(file, max_file_bytes - position)
            yield RecordRejected("too_long", f"the line {message}")
        else:
            yield line.strip()
        if position > max_file_bytes:
            raise InputError(
                f"{path} holds more than {max_file_bytes // MIB} MiB without compression, which is"
                " ingest.max_file_mib in params.yaml; split the file or raise the limit"
            )


def _seek_line(file: IO[bytes], start: int, end: int) -> int:
    """Go to the first line that begins at `start` or later. Return its position, or one from `end` on."""
    if start == 0:
        return 0
    file.seek(start - 1)  # a line begins at `start` if the byte before it ends one
    return start - 1 + _skip_line(file, end - start)


def _skip_line(file: IO[bytes], max_bytes: int) -> int:
    """Read to the end of a line, or until more than `max_bytes` are read. Return the number of bytes."""
    skipped = 0
    while skipped <= max_bytes and (chunk := file.readline(MIB)):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped


def _holds_multiple_objects(line: bytes) -> bool:
    """Return whether a line holds a complete object and the start of another."""
    text = line.decode("utf-8", errors="surrogateescape")
    try:
        end = json.JSONDecoder().raw_decode(text, _next_object_start(text, 0))[1]
    except (ValueError, RecursionError):
        return False
    return text[_next_object_start(text, end) :][:1] == "{"


def _next_object_start(text: str, position: int) -> int:
    """Return the position after the separator, where the next object may begin."""
    separator = SEPARATOR.match(text, position)
    return separator.end() if separator else position


def _split_objects(line: bytes) -> list[bytes]:
    """Split a line into its JSON objects, which may follow each other or form an array.

    Unreadable text up to the next object becomes a piece of its own. It is refused later, with its reason.
    """
    if not MULTIPLE_OBJECTS.search(line):
        return [line]
    text, decoder = line.decode("utf-8", errors="surrogateescape"), json.JSONDecoder()
    objects, position = [], _next_object_start(text, 0)
    while position < len(text):
        try:
            end = decoder.raw_decode(text, position)[1]
        except (ValueError, RecursionError):
            next_object = NEXT_OBJECT.search(text, position)
            end = next_object.start() + 1 if next_object else len(text)
        objects.append(text[position:end].encode("utf-8", errors="surrogateescape"))
        position = _next_object_start(text, end)
    return objects or [line]
