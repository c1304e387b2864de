"""The tables of the lake, each declared as an Arrow schema. The Iceberg and Spark schemas derive from it.

docs/data-contract.md describes the landing files. This file describes what the lake stores.
"""

import hashlib
from dataclasses import dataclass

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
TEXT_BY_NAME = pa.map_(pa.string(), pa.string())
MODALITIES = ("visual", "text", "audio")
WHOLE_VIDEO = -1  # `features.segment` of a vector of the whole video

# Context of an interaction that sequences keep -> its column in `sequences`.
CONTEXT_COLUMNS = {"device": "devices", "network": "networks"}

BEHAVIOUR_EVENTS = {  # behaviour -> the event type that logs it
    "viewed": "view",
    "liked": "like",
    "commented": "comment",
    "shared": "share",
    "followed": "follow",
    "disliked": "dislike",
}
BEHAVIOURS = tuple(BEHAVIOUR_EVENTS)  # the first bits of `sequences.behaviours`, in this order

PLAYBACK_EVENTS = {  # column of `interactions` that counts them -> the optional event type
    "pauses": "pause",
    "replays": "replay",
    "swipes": "swipe",
}
PLAYBACK_SIGNALS = tuple(PLAYBACK_EVENTS)  # the next bits of `sequences.behaviours`: whether there was one


@dataclass(frozen=True)
class TableSpec:
    """The declaration of a table.

    Attributes:
        name: its name.
        description: what one row holds.
        schema: its columns.
        partition: the columns that it is partitioned by, each by identity.
    """

    name: str
    description: str
    schema: pa.Schema
    partition: tuple[str, ...]

    @property
    def schema_digest(self) -> str:
        """A digest of columns and partition. A lake that was created under another digest is refused."""
        text = f"{self.schema.to_string(show_field_metadata=False)}|{self.partition}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def spark_schema(self):  # type: ignore[no-untyped-def]  # its type would import pyspark
        """Return the columns as a Spark StructType."""
        from pyspark.sql.pandas.types import from_arrow_schema

        return from_arrow_schema(self.schema)


def _table(name: str, description: str, partition: tuple[str, ...], **columns: pa.DataType) -> TableSpec:
    return TableSpec(name, description, pa.schema(list(columns.items())), partition)


EVENTS = _table(
    "events",
    "one logged event, as received; `day` is the day received; `other_fields` are those that the contract"
    " does not name, as text",
    ("day",),
    event_id=pa.string(),
    user_id=pa.string(),
    video_id=pa.string(),
    event_type=pa.string(),
    event_time=TIMESTAMP,
    watch_ms=pa.int64(),
    comment_text=pa.string(),
    device=pa.string(),
    network=pa.string(),
    utc_offset_minutes=pa.int32(),
    feed_position=pa.int32(),
    other_fields=TEXT_BY_NAME,
    day=pa.date32(),
    source_file=pa.string(),
    source_line=pa.int64(),
)

USERS = _table(
    "users",
    "a user's profile as received on `day`; the newest row is the current one",
    ("day",),
    user_id=pa.string(),
    registration_time=TIMESTAMP,
    profile=TEXT_BY_NAME,
    day=pa.date32(),
    source_file=pa.string(),
    source_line=pa.int64(),
)

VIDEOS = _table(
    "videos",
    "a video's catalogue entry as received on `day`; the newest row is the current one; `other_fields` as in"
    " `events`",
    ("day",),
    video_id=pa.string(),
    author_id=pa.string(),
    caption=pa.string(),
    hashtags=pa.list_(pa.string()),
    music_title=pa.string(),
    duration_ms=pa.int64(),
    upload_time=TIMESTAMP,
    expires_at=TIMESTAMP,
    category=pa.string(),
    media_uri=pa.string(),
    other_fields=TEXT_BY_NAME,
    day=pa.date32(),
    source_file=pa.string(),
    source_line=pa.int64(),
)

LANDINGS = _table(
    "landings",
    "one landing file that was taken in, identified by its content",
    ("day", "kind"),
    kind=pa.string(),
    day=pa.date32(),
    path=pa.string(),
    digest=pa.string(),
    rows=pa.int64(),
    kept=pa.int64(),
    rejected=pa.int64(),
)

LANDING_DIGESTS = _table(
    "landing_digests",
    "the digest of a landing file, valid while its size and its version are unchanged",
    ("day", "kind"),
    kind=pa.string(),
    day=pa.date32(),
    path=pa.string(),
    size=pa.int64(),
    version=pa.string(),
    digest=pa.string(),
)

AUDITS = _table(
    "audits",
    "the last outcome of the data checks of night `day` (passed, warned or blocked), and a digest of the"
    " event files that were checked",
    ("day",),
    day=pa.date32(),
    outcome=pa.string(),
    events=pa.string(),
)

REJECTS = _table(
    "rejects",
    "one refused record; `day` is the day that was processed, `received_day` the day of the landing folder",
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
    "one user × video × viewing session; `day` is the day of its first event, `events` their number;"
    " `pauses`, `replays` and `swipes` count optional events, null: cleaned before they were accepted",
    ("day",),
    user_id=pa.string(),
    video_id=pa.string(),
    started_at=TIMESTAMP,
    watched_ms=pa.int64(),
    watch_ratio=pa.float64(),
    viewed=pa.bool_(),
    liked=pa.bool_(),
    commented=pa.bool_(),
    shared=pa.bool_(),
    followed=pa.bool_(),
    disliked=pa.bool_(),
    pauses=pa.int32(),
    replays=pa.int32(),
    swipes=pa.int32(),
    comment_text=pa.string(),
    comment_sentiment=pa.float64(),
    device=pa.string(),
    network=pa.string(),
    utc_offset_minutes=pa.int32(),
    feed_position=pa.int32(),
    events=pa.int64(),
    day=pa.date32(),
)

ITEM_STATISTICS = _table(
    "item_statistics",
    "what the interactions of `day` tell about a video: how many have a view, and the known sentiments of"
    " comments in rising order",
    ("day",),
    video_id=pa.string(),
    num_interactions=pa.int64(),
    comment_sentiments=pa.list_(pa.float64()),
    day=pa.date32(),
)

SEQUENCES = _table(
    "sequences",
    "a user's newest `max_length` interactions up to the end of `day`, oldest first",
    ("day",),
    user_id=pa.string(),
    day=pa.date32(),
    video_ids=pa.list_(pa.string()),
    started_at=pa.list_(TIMESTAMP),
    watch_ratios=pa.list_(pa.float64()),
    behaviours=pa.list_(pa.int32()),
    comment_sentiments=pa.list_(pa.float64()),
    utc_offset_minutes=pa.list_(pa.int32()),
    devices=pa.list_(pa.string()),
    networks=pa.list_(pa.string()),
)

FEATURES = _table(
    "features",
    "video × modality × segment (−1: the whole video): a vector, its encoder fingerprint, and a digest of its"
    " input (of a landed vector: its file and line)",
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
    for spec in (
        EVENTS,
        USERS,
        VIDEOS,
        LANDINGS,
        LANDING_DIGESTS,
        AUDITS,
        REJECTS,
        INTERACTIONS,
        ITEM_STATISTICS,
        SEQUENCES,
        FEATURES,
    )
}

# Table -> the Parquet columns with a dictionary; other tables have one for all columns. Values that seldom
# repeat make it useless: without it, files are at least a sixth smaller, and are written faster.
_SEQUENCE_LISTS = ("video_ids", "behaviours", "utc_offset_minutes", "devices", "networks")
DICTIONARY_COLUMNS = {
    EVENTS.name: [name for name in EVENTS.schema.names if name not in ("event_id", "source_line")],
    SEQUENCES.name: [f"{name}.list.element" for name in _SEQUENCE_LISTS],
}
