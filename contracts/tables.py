"""The lake's tables, each declared once as an Arrow schema; the Iceberg and Spark forms derive from it.

`docs/data-contract.md` tells what comes in; this file tells what is kept.
"""

import hashlib
from dataclasses import dataclass

import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")
WHOLE_VIDEO = -1  # `features.segment` of a vector that stands for the whole video
# `features.modality` of how well sound and motion fit: (together, best, delay in ms), NaN where unknown.
SYNCHRONY = "synchrony"

# Context of a viewing that a history keeps -> its column in `sequences`.
CONTEXTS = {"device": "devices", "network": "networks"}

# The bits of `sequences.behaviours`, in this order.
BEHAVIOURS = ("viewed", "liked", "commented", "shared", "followed", "disliked")


@dataclass(frozen=True)
class TableSpec:
    """A table's name, what a row is, its columns, and the columns it is partitioned by (identity)."""

    name: str
    row: str
    schema: pa.Schema
    partition: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Changes when the declaration does; a lake made under another digest is refused."""
        text = f"{self.schema.to_string(show_field_metadata=False)}|{self.partition}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def spark_schema(self):  # type: ignore[no-untyped-def]  # pyspark must not be imported to declare this
        """The same columns as a Spark StructType."""
        from pyspark.sql.pandas.types import from_arrow_schema

        return from_arrow_schema(self.schema)


def _table(name: str, row: str, partition: tuple[str, ...], **columns: pa.DataType) -> TableSpec:
    return TableSpec(name, row, pa.schema(list(columns.items())), partition)


EVENTS = _table(
    "events",
    "one logged event, as received; `day` is the day received",
    ("day",),
    event_id=pa.string(),
    user_id=pa.string(),
    video_id=pa.string(),
    event_type=pa.string(),
    event_time=INSTANT,
    watch_ms=pa.int64(),
    comment_text=pa.string(),
    device=pa.string(),
    network=pa.string(),
    utc_offset_minutes=pa.int32(),
    feed_position=pa.int32(),
    day=pa.date32(),
    source_file=pa.string(),
    source_line=pa.int64(),
)

USERS = _table(
    "users",
    "a user's profile as received on `day`; the newest row is the current one",
    ("day",),
    user_id=pa.string(),
    registration_time=INSTANT,
    profile=pa.map_(pa.string(), pa.string()),
    day=pa.date32(),
    source_file=pa.string(),
    source_line=pa.int64(),
)

VIDEOS = _table(
    "videos",
    "a video's catalogue entry as received on `day`; the newest row is the current one",
    ("day",),
    video_id=pa.string(),
    author_id=pa.string(),
    caption=pa.string(),
    hashtags=pa.list_(pa.string()),
    music_title=pa.string(),
    duration_ms=pa.int64(),
    upload_time=INSTANT,
    category=pa.string(),
    media_uri=pa.string(),
    day=pa.date32(),
    source_file=pa.string(),
    source_line=pa.int64(),
)

LANDINGS = _table(
    "landings",
    "one landing file that was taken in, known by its content",
    ("day", "kind"),
    kind=pa.string(),
    day=pa.date32(),
    path=pa.string(),
    digest=pa.string(),
    rows=pa.int64(),
    kept=pa.int64(),
    rejected=pa.int64(),
)

AUDITS = _table(
    "audits",
    "what the data checks last said of the night that took in `day` (passed, warned or blocked), and a digest"
    " of the event files that they said it of",
    ("day",),
    day=pa.date32(),
    outcome=pa.string(),
    events=pa.string(),
)

REJECTS = _table(
    "rejects",
    "one refused record; `day` is the day whose processing refused it, `received_day` the landing folder's",
    ("day", "step"),
    day=pa.date32(),
    step=pa.string(),
    reason=pa.string(),
    received_day=pa.date32(),
    source_file=pa.string(),
    source_line=pa.int64(),
    record=pa.string(),
)

INTERACTIONS = _table(
    "interactions",
    "one person × video × viewing; `day` is the day of its first event, `events` how many events it joins",
    ("day",),
    user_id=pa.string(),
    video_id=pa.string(),
    started_at=INSTANT,
    watched_ms=pa.int64(),
    watch_ratio=pa.float64(),
    viewed=pa.bool_(),
    liked=pa.bool_(),
    commented=pa.bool_(),
    shared=pa.bool_(),
    followed=pa.bool_(),
    disliked=pa.bool_(),
    comment_text=pa.string(),
    comment_sentiment=pa.float64(),
    device=pa.string(),
    network=pa.string(),
    utc_offset_minutes=pa.int32(),
    feed_position=pa.int32(),
    events=pa.int64(),
    day=pa.date32(),
)

SEQUENCES = _table(
    "sequences",
    "a person's newest `max_length` viewings up to the end of `day`, oldest first",
    ("day",),
    user_id=pa.string(),
    day=pa.date32(),
    video_ids=pa.list_(pa.string()),
    started_at=pa.list_(INSTANT),
    watch_ratios=pa.list_(pa.float64()),
    behaviours=pa.list_(pa.int32()),
    comment_sentiments=pa.list_(pa.float64()),
    utc_offset_minutes=pa.list_(pa.int32()),
    devices=pa.list_(pa.string()),
    networks=pa.list_(pa.string()),
)

FEATURES = _table(
    "features",
    "video × modality × segment (−1: the whole video): a vector, its encoder, and a digest of what it is of "
    "(of a landed one, its file and line)",
    ("fingerprint", "day"),
    video_id=pa.string(),
    modality=pa.string(),
    segment=pa.int32(),
    start_ms=pa.int64(),
    vector=pa.list_(pa.float32()),
    fingerprint=pa.string(),
    source=pa.string(),
    day=pa.date32(),
)

TABLES = {
    spec.name: spec
    for spec in (EVENTS, USERS, VIDEOS, LANDINGS, AUDITS, REJECTS, INTERACTIONS, SEQUENCES, FEATURES)
}
