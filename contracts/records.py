"""The records of landing files: what one must look like, the row that it becomes, and why it is refused.

The text of the contract is docs/data-contract.md; this file is its form in code.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from contracts.tables import EVENTS, FEATURES, USERS, VIDEOS, WHOLE_VIDEO, TableSpec

LANDED = "landed"  # the encoder fingerprint of ready-made vectors
LONGEST_ID = 512  # characters
EXACT_FLOAT = 2**53  # from here on a float no longer tells whole numbers apart
FIRST_MILLISECOND = 10**11  # in 1973; a smaller number is a time in seconds
LARGEST_FLOAT = 3.4e38  # of 32 bits
DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")

Number = int | float | None
Id = str | int | float | None
Instant = str | int | float | None


class Refused(Exception):  # noqa: N818 - a counted outcome of a line
    """A record that is not taken, with the reason that is counted and a detail for whoever repairs it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Context(msgspec.Struct):
    device: str | None = None
    network: str | None = None
    utc_offset_minutes: Number = None
    feed_position: Number = None


class Event(msgspec.Struct):
    event_id: Id = None
    user_id: Id = None
    video_id: Id = None
    event_type: str | None = None
    event_time: Instant = None
    watch_ms: Number = None
    comment_text: str | None = None
    context: Context | None = None

    def row(self) -> dict[str, Any]:
        context = self.context or Context()
        return {
            "event_id": _id("event_id", self.event_id),
            "user_id": _id("user_id", self.user_id),
            "video_id": _id("video_id", self.video_id),
            "event_type": self.event_type,
            "event_time": _instant("event_time", self.event_time),
            "watch_ms": _whole("watch_ms", self.watch_ms, 63),
            "comment_text": self.comment_text,
            "device": context.device,
            "network": context.network,
            "utc_offset_minutes": _whole("context.utc_offset_minutes", context.utc_offset_minutes, 31),
            "feed_position": _whole("context.feed_position", context.feed_position, 31),
        }


class Video(msgspec.Struct):
    video_id: Id = None
    author_id: Id = None
    caption: str | None = None
    hashtags: list[str] | None = None
    music_title: str | None = None
    duration_ms: Number = None
    upload_time: Instant = None
    category: Id = None
    media_uri: str | None = None

    def row(self) -> dict[str, Any]:
        duration = _whole("duration_ms", self.duration_ms, 63) or None  # 0: not known
        if duration is not None and duration < 0:
            raise Refused("wrong_type", f"duration_ms is {duration}; it must be positive, or 0 for unknown")
        return {
            "video_id": _required("video_id", self.video_id),
            "author_id": _id("author_id", self.author_id),
            "caption": text_or_none(self.caption),
            "hashtags": self.hashtags,
            "music_title": text_or_none(self.music_title),
            "duration_ms": duration,
            "upload_time": _instant("upload_time", self.upload_time),
            "category": _id("category", self.category),
            "media_uri": text_or_none(self.media_uri),
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
        longest = max(map(abs, self.vector))
        if not 0 < longest < LARGEST_FLOAT:
            raise Refused("wrong_type", f"vector's largest number is {longest}; it must be finite, and not 0")
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
        if not isinstance(user_id, Id) or isinstance(user_id, bool):
            raise Refused("wrong_type", f"user_id is {user_id!r}; it must be a string")
        registered = fields.pop("registration_time", None)
        if not isinstance(registered, Instant) or isinstance(registered, bool):
            raise Refused("wrong_type", f"registration_time is {registered!r}; it must be a time")
        profile = [(name, _text(name, value)) for name, value in sorted(fields.items()) if value is not None]
        return {
            "user_id": _required("user_id", user_id),
            "registration_time": _instant("registration_time", registered),
            "profile": profile,
        }


@dataclass(frozen=True)
class Kind:
    """One kind of landing file: its records' type and the table that takes them.

    happened: a record is something that happened, so the same file under another day adds nothing. Else it
        tells a state, and the same file on a later day says that the state is so again.
    """

    name: str
    record: type
    table: TableSpec
    happened: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("users", User, USERS),
        Kind("videos", Video, VIDEOS),
        Kind("features", Feature, FEATURES),
        Kind("events", Event, EVENTS, happened=True),
    )
}


def row_of(raw: bytes | Mapping[str, Any], kind: Kind) -> dict[str, Any] | Refused:
    """The row that a record becomes, or why it is refused.

    Args:
        raw: a JSON object as it stands in the file, or a record of a Parquet file.
    """
    try:
        return _record(raw, kind.record).row()
    except Refused as refused:
        return refused
    except msgspec.ValidationError as error:
        return Refused("wrong_type", str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refused("malformed_json", str(error))
    except RecursionError:
        return Refused("malformed_json", "it is nested too deeply")


def _record(raw: bytes | Mapping[str, Any], kind: type) -> Any:
    if kind is User:
        return User(msgspec.json.decode(raw, type=dict[str, Any]) if isinstance(raw, bytes) else dict(raw))
    return msgspec.json.decode(raw, type=kind) if isinstance(raw, bytes) else msgspec.convert(raw, kind)


def text_or_none(text: str | None) -> str | None:
    """The text, or None if it is empty or blank."""
    return text if text and not text.isspace() else None


def _id(field: str, value: Id) -> str | None:
    """An id as text. A whole number that came as a float (5.0, as pandas writes it) is that number."""
    if isinstance(value, float):
        value = _whole(field, value, 53)
    if value is None or value == "":
        return None
    text = str(value)
    if "\0" in text or len(text) > LONGEST_ID:
        why = "holds a NUL character" if "\0" in text else f"has more than {LONGEST_ID} characters"
        raise Refused("wrong_type", f"{field} {why}; ids are short text")
    return text


def _required(field: str, value: Id) -> str:
    text = _id(field, value)
    if text is None:
        raise Refused("missing_id", f"{field} is missing")
    return text


def _whole(field: str, value: Number, bits: int) -> int | None:
    """A whole number of `bits` bits and a sign; 8000.0 is one, NaN is a missing one."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and not value.is_integer():
        raise Refused("wrong_type", f"{field} is {value}; it must be a whole number")
    if not -(2**bits) <= value < 2**bits:
        raise Refused("wrong_type", f"{field} is {value}; it does not fit {bits + 1} bits")
    return int(value)


def _text(field: str, value: Any) -> str:
    """A profile value as text: text as it is, numbers and structures as JSON."""
    if isinstance(value, bytes):
        raise Refused("wrong_type", f"{field} is not UTF-8 text")
    if isinstance(value, str):
        return value
    known = isinstance(value, bool | int | float | list | dict)
    return json.dumps(value, sort_keys=True, default=str) if known else str(value)


def _instant(field: str, value: Instant) -> datetime | None:
    """UTC time from RFC 3339 text (no offset: UTC) or epoch milliseconds; 0 and NaN: not known."""
    if value is None or value == "" or value == 0 or value != value:
        return None
    wrong = Refused("wrong_type", f"{field} is {value!r}; write RFC 3339 or epoch milliseconds")
    if isinstance(value, int | float) and abs(value) < FIRST_MILLISECOND:
        raise Refused("wrong_type", f"{field} is {value!r}, which looks like seconds; write milliseconds")
    if isinstance(value, str) and not DATE.match(value):
        raise wrong
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise wrong from None
