"""Record types of the landing files: their fields, their rows in the lake, and the reasons for a reject.

This file implements the contract of docs/data-contract.md.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from core.tables import EVENTS, FEATURES, MODALITIES, USERS, VIDEOS, WHOLE_VIDEO, TableSpec

LANDED_FINGERPRINT = "landed"  # in place of an encoder fingerprint, for vectors that the platform delivered
MAX_ID_LENGTH = 512  # characters
MAX_EXACT_FLOAT = 2**53  # above it, two whole numbers can be the same float
MIN_EPOCH_MILLISECONDS = 10**11  # in 1973; a smaller number is a time in seconds
MIN_FLOAT32, MAX_FLOAT32 = 1.2e-38, 3.4e38
VALIDATION_PATH = re.compile(r"`\$\.([^`\[]+)")  # where msgspec says that a value has another type
DATE_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")

Number = int | float | None
Id = str | int | float | None
Timestamp = str | int | float | None


class RecordRejected(Exception):  # noqa: N818 - an expected outcome, not an error
    """A record is refused.

    Attributes:
        reason: the reason by which rejects are counted.
        field: the field that is wrong, None if the record as a whole is.
    """

    def __init__(self, reason: str, detail: str, field: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.field = field


class Context(msgspec.Struct, gc=False):
    """The circumstances of an event. All fields are optional."""

    device: str | None = None
    network: str | None = None
    utc_offset_minutes: Number = None
    feed_position: Number = None


class Event(msgspec.Struct, gc=False):
    """A logged event. The cleaning step refuses events without ids or time, so that it can count them."""

    event_id: Id = None
    user_id: Id = None
    video_id: Id = None
    event_type: str | None = None
    event_time: Timestamp = None
    watch_ms: Number = None
    comment_text: str | None = None
    context: Context | None = None

    def row(self) -> dict[str, Any]:
        """Return the row of the table `events`.

        Raises:
            RecordRejected: a value cannot be stored.
        """
        context = self.context or Context()
        return {
            "event_id": _parse_id("event_id", self.event_id),
            "user_id": _parse_id("user_id", self.user_id),
            "video_id": _parse_id("video_id", self.video_id),
            "event_type": self.event_type,
            "event_time": _parse_timestamp("event_time", self.event_time),
            "watch_ms": _parse_int("watch_ms", self.watch_ms, 63),
            "comment_text": self.comment_text,
            "device": context.device,
            "network": context.network,
            "utc_offset_minutes": _parse_int("context.utc_offset_minutes", context.utc_offset_minutes, 31),
            "feed_position": _parse_int("context.feed_position", context.feed_position, 31),
        }


class Video(msgspec.Struct, gc=False):
    """A catalogue entry of a video."""

    video_id: Id = None
    author_id: Id = None
    caption: str | None = None
    hashtags: list[str] | None = None
    music_title: str | None = None
    duration_ms: Number = None
    upload_time: Timestamp = None
    expires_at: Timestamp = None
    category: Id = None
    media_uri: str | None = None

    def row(self) -> dict[str, Any]:
        """Return the row of the table `videos`.

        Raises:
            RecordRejected: the id is missing or a value cannot be stored.
        """
        duration = _parse_int("duration_ms", self.duration_ms, 63) or None  # 0 means unknown
        if duration is not None and duration < 0:
            raise RecordRejected(
                "wrong_type",
                f"duration_ms is {duration}; it must be positive, or 0 for unknown",
                "duration_ms",
            )
        return {
            "video_id": _parse_required_id("video_id", self.video_id),
            "author_id": _parse_id("author_id", self.author_id),
            "caption": text_or_none(self.caption),
            "hashtags": self.hashtags,
            "music_title": text_or_none(self.music_title),
            "duration_ms": duration,
            "upload_time": _parse_timestamp("upload_time", self.upload_time),
            "expires_at": _parse_timestamp("expires_at", self.expires_at),
            "category": _parse_id("category", self.category),
            "media_uri": text_or_none(self.media_uri),
        }


class Feature(msgspec.Struct, gc=False):
    """A vector of one modality of a whole video, computed by the platform."""

    video_id: Id = None
    modality: str | None = None
    vector: list[float] | None = None

    def row(self) -> dict[str, Any]:
        """Return the row of the table `features`.

        Raises:
            RecordRejected: the id or modality is wrong, or the vector is empty, zero or not finite.
        """
        if self.modality not in MODALITIES:
            raise RecordRejected(
                "wrong_type", f"modality is {self.modality!r}; it must be visual, text or audio", "modality"
            )
        if not self.vector:
            raise RecordRejected("wrong_type", "vector is missing or empty", "vector")
        length = math.hypot(*self.vector)  # NaN if any number is NaN
        if not MIN_FLOAT32 < length < MAX_FLOAT32:
            raise RecordRejected(
                "wrong_type",
                f"the length of vector is {length}; it must be from {MIN_FLOAT32} to {MAX_FLOAT32}",
                "vector",
            )
        return {
            "video_id": _parse_required_id("video_id", self.video_id),
            "modality": self.modality,
            "segment": WHOLE_VIDEO,
            "start_ms": 0,
            "vector": self.vector,
            "fingerprint": LANDED_FINGERPRINT,
        }


STRUCTS = (Event, Video)  # records whose unknown fields are kept in `other_fields`


@dataclass
class User:
    """A user record: an id, a registration time and any other columns, which form the profile."""

    fields: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """Return the row of the table `users`.

        Raises:
            RecordRejected: the id is missing or a value cannot be stored.
        """
        fields = dict(self.fields)
        user_id = fields.pop("user_id", None)
        if not isinstance(user_id, Id) or isinstance(user_id, bool):
            raise RecordRejected("wrong_type", f"user_id is {user_id!r}; it must be a string", "user_id")
        registered = fields.pop("registration_time", None)
        if not isinstance(registered, Timestamp) or isinstance(registered, bool):
            raise RecordRejected(
                "wrong_type", f"registration_time is {registered!r}; it must be a time", "registration_time"
            )
        profile = [
            (name, _parse_text(name, value)) for name, value in sorted(fields.items()) if value is not None
        ]
        return {
            "user_id": _parse_required_id("user_id", user_id),
            "registration_time": _parse_timestamp("registration_time", registered),
            "profile": profile,
        }


@dataclass(frozen=True)
class LandingType:
    """One type of landing file.

    Attributes:
        name: the name of its folder.
        record: the class of its records.
        table: the table that stores their rows.
        required: the fields that every record must have.
        is_event_log: whether a record is an event. The same event file under another day adds nothing. Other
            records describe a state. The same file on a later day says that the state holds again.
    """

    name: str
    record: type
    table: TableSpec
    required: tuple[str, ...]
    is_event_log: bool = False


EVENT_FIELDS = ("event_id", "user_id", "video_id", "event_type", "event_time")

LANDING_TYPES = {
    landing_type.name: landing_type
    for landing_type in (
        LandingType("users", User, USERS, ("user_id",)),
        LandingType("videos", Video, VIDEOS, ("video_id",)),
        LandingType("features", Feature, FEATURES, ("video_id", "modality", "vector")),
        LandingType("events", Event, EVENTS, EVENT_FIELDS, is_event_log=True),
    )
}


def parse_record(
    raw: bytes | Mapping[str, Any], landing_type: LandingType
) -> dict[str, Any] | RecordRejected:
    """Convert a record to a table row.

    Args:
        raw: the bytes of a JSON object, or a record of a Parquet file.
        landing_type: the type of its landing file.

    Returns:
        The row, or the `RecordRejected` that explains why the record is refused.
    """
    try:
        row = _decode_record(raw, landing_type.record).row()
        if landing_type.record in STRUCTS:
            row["other_fields"] = other_fields(raw, landing_type.record)
        return row
    except RecordRejected as rejected:
        return rejected
    except msgspec.ValidationError as error:
        path = VALIDATION_PATH.search(str(error))
        return RecordRejected("wrong_type", str(error), path[1] if path else None)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return RecordRejected("malformed_json", str(error))
    except RecursionError:
        return RecordRejected("malformed_json", "the record is nested too deeply")


def _decode_record(raw: bytes | Mapping[str, Any], record_type: type) -> Any:
    if record_type is User:
        return User(msgspec.json.decode(raw, type=dict[str, Any]) if isinstance(raw, bytes) else dict(raw))
    return (
        msgspec.json.decode(raw, type=record_type)
        if isinstance(raw, bytes)
        else msgspec.convert(raw, record_type)
    )


def other_fields(raw: bytes | Mapping[str, Any], record_type: type) -> list[tuple[str, str]] | None:
    """Return the fields of an event or video that the contract does not name, as text sorted by name.

    A field of the context has the name `context.<field>`. None if there are no such fields.

    Args:
        raw: a valid record, as for `parse_record`.
        record_type: `Event` or `Video`.
    """
    record = msgspec.json.decode(raw, type=dict[str, Any]) if isinstance(raw, bytes) else raw
    known = {field.name for field in msgspec.structs.fields(record_type)}
    fields = {name: record[name] for name in record.keys() - known}
    if record_type is Event and (context := record.get("context")):
        unknown = context.keys() - set(Context.__struct_fields__)
        fields |= {f"context.{name}": context[name] for name in unknown}
    texts = [(name, _other_text(value)) for name, value in sorted(fields.items()) if value is not None]
    return texts or None


def _other_text(value: Any) -> str:
    """Return any value as text. Bytes that are no text do not reject a record that is valid without them."""
    return value.decode(errors="replace") if isinstance(value, bytes) else _parse_text("", value)


def text_or_none(text: str | None) -> str | None:
    """Return the text, or None if it is empty or blank."""
    return text if text and not text.isspace() else None


def _parse_id(field: str, value: Id) -> str | None:
    """Return an id as text. The float 5.0, as pandas writes it, is the id "5"."""
    if isinstance(value, float):
        value = _parse_int(field, value, 53)
    if value is None or value == "":
        return None
    text = str(value)
    if "\0" in text or len(text) > MAX_ID_LENGTH:
        problem = "holds a NUL character" if "\0" in text else f"has more than {MAX_ID_LENGTH} characters"
        raise RecordRejected("wrong_type", f"{field} {problem}; an id must be a short text", field)
    return text


def _parse_required_id(field: str, value: Id) -> str:
    text = _parse_id(field, value)
    if text is None:
        raise RecordRejected("missing_id", f"{field} is missing", field)
    return text


def _parse_int(field: str, value: Number, bits: int) -> int | None:
    """Return a whole number of `bits` bits and a sign. 8000.0 is accepted, and NaN is missing."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and not value.is_integer():
        raise RecordRejected("wrong_type", f"{field} is {value}; it must be a whole number", field)
    if not -(2**bits) <= value < 2**bits:
        raise RecordRejected("wrong_type", f"{field} is {value}; it does not fit {bits + 1} bits", field)
    return int(value)


def _parse_text(field: str, value: Any) -> str:
    """Return a profile value as text. Numbers and structures become JSON."""
    if isinstance(value, bytes):
        raise RecordRejected("wrong_type", f"{field} is not UTF-8 text", field)
    if isinstance(value, str):
        return value
    is_json = isinstance(value, bool | int | float | list | dict)
    return json.dumps(value, sort_keys=True, default=str) if is_json else str(value)


def _parse_timestamp(field: str, value: Timestamp) -> datetime | None:
    """Parse RFC 3339 text (without offset: UTC) or epoch milliseconds. 0 and NaN are unknown."""
    if value is None or value == "" or value == 0 or value != value:
        return None
    rejected = RecordRejected(
        "wrong_type", f"{field} is {value!r}; write RFC 3339 or epoch milliseconds", field
    )
    if isinstance(value, int | float) and abs(value) < MIN_EPOCH_MILLISECONDS:
        raise RecordRejected(
            "wrong_type", f"{field} is {value!r}, which looks like seconds; write milliseconds", field
        )
    if isinstance(value, str) and not DATE_PATTERN.match(value):
        raise rejected
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise rejected from None
