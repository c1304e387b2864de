"""Landing files: where they lie, what a record must look like, and why a line is refused.

The text of the contract is docs/data-contract.md; this file is its form in code.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import InputError
from contracts.tables import EVENTS, FEATURES, USERS, VIDEOS, WHOLE_VIDEO, TableSpec

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
LANDED = "landed"  # the encoder fingerprint of ready-made vectors

Id = str | int | None
Instant = str | int | float | None


class Refused(Exception):  # noqa: N818 - a counted outcome of a line
    """A line that is not taken, with the reason that is counted and a detail for whoever mends it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Context(msgspec.Struct):
    device: str | None = None
    network: str | None = None
    utc_offset_minutes: int | None = None
    feed_position: int | None = None


class Event(msgspec.Struct):
    event_id: Id = None
    user_id: Id = None
    video_id: Id = None
    event_type: str | None = None
    event_time: Instant = None
    watch_ms: int | None = None
    comment_text: str | None = None
    context: Context | None = None

    def row(self) -> dict[str, Any]:
        context = self.context or Context()
        return {
            "event_id": _id(self.event_id),
            "user_id": _id(self.user_id),
            "video_id": _id(self.video_id),
            "event_type": self.event_type,
            "event_time": _instant("event_time", self.event_time),
            "watch_ms": _bounded("watch_ms", self.watch_ms, 63),
            "comment_text": self.comment_text,
            "device": context.device,
            "network": context.network,
            "utc_offset_minutes": _bounded("context.utc_offset_minutes", context.utc_offset_minutes, 31),
            "feed_position": _bounded("context.feed_position", context.feed_position, 31),
        }


class Video(msgspec.Struct):
    video_id: Id = None
    author_id: Id = None
    caption: str | None = None
    hashtags: list[str] | None = None
    music_title: str | None = None
    duration_ms: int | None = None
    upload_time: Instant = None
    category: Id = None
    media_uri: str | None = None

    def row(self) -> dict[str, Any]:
        if self.duration_ms is not None and self.duration_ms <= 0:
            raise Refused("wrong_type", f"duration_ms is {self.duration_ms}; it must be positive")
        return {
            "video_id": _required("video_id", self.video_id),
            "author_id": _id(self.author_id),
            "caption": said(self.caption),
            "hashtags": self.hashtags,
            "music_title": said(self.music_title),
            "duration_ms": _bounded("duration_ms", self.duration_ms, 63),
            "upload_time": _instant("upload_time", self.upload_time),
            "category": _id(self.category),
            "media_uri": said(self.media_uri),
        }


class Feature(msgspec.Struct):
    video_id: Id = None
    modality: str | None = None
    vector: list[float] | None = None

    def row(self) -> dict[str, Any]:
        if self.modality not in ("visual", "text", "audio"):
            raise Refused("wrong_type", f"modality is {self.modality!r}; it must be visual, text or audio")
        if not self.vector:
            raise Refused("wrong_type", "vector is missing or empty")
        return {
            "video_id": _required("video_id", self.video_id),
            "modality": self.modality,
            "segment": WHOLE_VIDEO,
            "start_ms": 0,
            "vector": self.vector,
            "fingerprint": LANDED,
        }


@dataclass
class User:
    """A user record: an id, a registration time, and whatever other columns make up the profile."""

    fields: dict[str, Any]

    def row(self) -> dict[str, Any]:
        fields = dict(self.fields)
        user_id = fields.pop("user_id", None)
        if not isinstance(user_id, Id):
            raise Refused("wrong_type", f"user_id is {user_id!r}; it must be a string")
        registered = fields.pop("registration_time", None)
        if not isinstance(registered, Instant):
            raise Refused("wrong_type", f"registration_time is {registered!r}; it must be a time")
        profile = [(name, _text(value)) for name, value in sorted(fields.items()) if value is not None]
        return {
            "user_id": _required("user_id", user_id),
            "registration_time": _instant("registration_time", registered),
            "profile": profile,
        }


@dataclass(frozen=True)
class Kind:
    """One kind of landing file: its records' type and the table that takes them."""

    name: str
    record: type
    table: TableSpec


KINDS = {
    kind.name: kind
    for kind in (
        Kind("users", User, USERS),
        Kind("videos", Video, VIDEOS),
        Kind("features", Feature, FEATURES),
        Kind("events", Event, EVENTS),
    )
}


def days(root: Path, kind: str) -> list[date]:
    """The days for which files of a kind have landed, oldest first.

    Raises:
        InputError: a folder beside the `dt=…` ones whose date cannot be read.
    """
    found = []
    for folder in sorted((root / kind).glob("dt=*")):
        try:
            found.append(date.fromisoformat(folder.name.removeprefix("dt=")))
        except ValueError:
            raise InputError(f"{folder}: {folder.name!r} is not dt=YYYY-MM-DD; rename the folder") from None
    return found


def files(root: Path, kind: str, day: date) -> list[Path]:
    """The landing files of one kind and day, by name.

    Raises:
        InputError: a file that is neither JSON Lines nor Parquet.
    """
    found = []
    for path in sorted((root / kind / f"dt={day}").glob("*")):
        if path.name.startswith((".", "_")) or path.is_dir():
            continue
        if not path.name.endswith(SUFFIXES):
            raise InputError(f"{path}: landing files end in {', '.join(SUFFIXES)}; rename or remove it")
        found.append(path)
    return found


def read(path: Path, kind: Kind) -> Iterator[tuple[int, bytes | dict, dict[str, Any] | Refused]]:
    """Every record of a file: (line from 1, the record as it came, its row or why it is refused).

    Raises:
        InputError: the file itself cannot be read (not Parquet, a gzip stream that breaks).
    """
    lines = _parquet_rows(path) if path.name.endswith(".parquet") else _json_lines(path)
    for number, raw in lines:
        try:
            yield number, raw, _record(raw, kind.record).row()
        except Refused as refused:
            yield number, raw, refused


def as_text(raw: bytes | dict, limit: int = 65536) -> str:
    """A refused record as it came, for the `rejects` table."""
    if isinstance(raw, dict):
        return json.dumps(raw, default=str)[:limit]
    return raw[:limit].decode("utf-8", errors="replace").rstrip("\r\n")


def _json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    opener = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}); deliver the file again") from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict]]:
    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path} is not a readable Parquet file ({first}); deliver the file again") from None


def _record(raw: bytes | dict, kind: type) -> Any:
    try:
        if kind is User:
            return User(msgspec.json.decode(raw, type=dict[str, Any]) if isinstance(raw, bytes) else raw)
        if isinstance(raw, bytes):
            return msgspec.json.decode(raw, type=kind)
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise Refused("wrong_type", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("malformed_json", str(error)) from None


def _id(value: Id) -> str | None:
    return None if value is None or value == "" else str(value)


def _required(field: str, value: Id) -> str:
    text = _id(value)
    if text is None:
        raise Refused("missing_id", f"{field} is missing")
    return text


def said(text: str | None) -> str | None:
    """The text as it came; None where it is empty or blank, which says nothing."""
    return text if text and not text.isspace() else None


def _bounded(field: str, value: int | None, bits: int) -> int | None:
    if value is not None and not -(2**bits) <= value < 2**bits:
        raise Refused("wrong_type", f"{field} is {value}; it does not fit {bits + 1} bits")
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _instant(field: str, value: Instant) -> datetime | None:
    """UTC time from RFC 3339 text (no offset: UTC) or epoch milliseconds."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise Refused("wrong_type", f"{field} is {value!r}; write RFC 3339 or epoch milliseconds") from None
