"""Clean received events: join the valid ones to interactions, and reject the others with a reason.

Every event belongs to one partition day. It is the day on which the event happened. If that day is unknown,
too old or in the future, it is the day on which the event was received.

A partition day is cleaned as a whole, so that late events join their day. Each event ends in exactly one
interaction or one reject. The rules that look at one event come first. The rest needs all events of a user.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

import polars as pl
import pyarrow.compute as pc

from core.config import CleanConfig
from core.storage import StoragePath, create_folder
from core.tables import BEHAVIOUR_EVENTS, INTERACTIONS, PLAYBACK_EVENTS, REJECTS
from spark_jobs.exchange import read_bucket
from spark_jobs.sentiment import with_sentiment
from spark_jobs.staging import stage_parquet

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

PLAYBACK_TYPES = tuple(PLAYBACK_EVENTS.values())
EVENT_TYPES = ("impression", "view", "like", "comment", "share", "follow", "dislike", *PLAYBACK_TYPES)
CONTEXT = ("device", "network", "utc_offset_minutes", "feed_position")
TEXT_FIELDS = ("event_id", "user_id", "video_id", "event_type", "device")  # of a rejected record
# Columns with few texts. Integer codes take less memory than texts.
REPEATED_TEXTS = ("event_type", "source_file", "device", "network")
USER_DAY = ("user_id", "partition_day")
# The order of events that have one id. Their source comes last, so that the rows do not depend on how events
# are split into files: of two equal events, either may be kept.
ORDER_OF_DUPLICATES = (
    "event_time",
    "video_id",
    "event_type",
    "watch_ms",
    "comment_text",
    *CONTEXT,
    "source_file",
    "source_line",
)
JSON_ESCAPES = {'"': r"\"", "\\": r"\\"} | {
    chr(code): {8: r"\b", 9: r"\t", 10: r"\n", 12: r"\f", 13: r"\r"}.get(code, f"\\u{code:04X}")
    for code in range(32)
}


@dataclass(frozen=True)
class CleanedBucket:
    """The staged files of a bucket, and the counts of their events.

    Attributes:
        interaction_paths, reject_paths: the files, each with the rows of one day.
        kept: events in the interactions.
        rejected: reason -> rejects.
    """

    interaction_paths: list[StoragePath]
    reject_paths: list[StoragePath]
    kept: int
    rejected: dict[str, int]


@dataclass(frozen=True)
class CleanFolders:
    """Where the tasks of one run find and put files.

    Attributes:
        exchange: the folder of the exchanged rows.
        interactions, rejects: the staging folders of the tables.
    """

    exchange: StoragePath
    interactions: StoragePath
    rejects: StoragePath

    @property
    def catalogue(self) -> StoragePath:
        """A Parquet file with `video_id` and `duration_ms` of all videos."""
        return self.exchange / "catalogue.parquet"

    @property
    def events(self) -> StoragePath:
        """The folder of the events, labelled by `label_events` and split by user."""
        return self.exchange / "events"

    @property
    def catalogue_entries(self) -> StoragePath:
        """The folder of the catalogue entries that the events of each bucket refer to."""
        return self.exchange / "catalogue_entries"


def label_events(
    events: pl.DataFrame, folders: CleanFolders, days: Collection[date], params: CleanConfig
) -> pl.DataFrame:
    """Return the events of some partition days, with the reason of the rules that look at one event.

    Args:
        events: rows of the table `events`.
        folders: has the file of the catalogue.
        days: the partition days.
        params: bounds of a plausible event.
    """
    dated = with_partition_day(events, params).filter(pl.col("partition_day").is_in(list(days)))
    labelled = with_row_reason(dated, pl.read_parquet(str(folders.catalogue)), params)
    return labelled.with_columns(pl.col(REPEATED_TEXTS).cast(pl.Categorical))


def clean_bucket(bucket: int, folders: CleanFolders, params: CleanConfig) -> CleanedBucket:
    """Write the interactions and rejects of the users of a bucket, and count the written events.

    Args:
        bucket: the number of the bucket.
        folders: the folders of the run.
        params: bounds of a plausible event, and the end of a viewing session.
    """
    events = read_bucket(folders.events, bucket, no_rows=pl.DataFrame())
    if events.is_empty():
        return CleanedBucket([], [], 0, {})
    events = with_user_reason(events, params)
    entries = events.select("partition_day", "video_id", "duration_ms", "in_catalogue").unique()
    create_folder(folders.catalogue_entries)
    entries.write_parquet(str(folders.catalogue_entries / f"{bucket:05d}.parquet"))
    is_valid = pl.col("reason").is_null()
    rejected, order = rejects(events.filter(~is_valid)), ["source_file", "source_line"]
    reject_paths = stage_parquet(rejected, REJECTS, order, folders.rejects, bucket)
    events = events.filter(is_valid)  # frees the memory of the others
    joined, order = interactions(events, params), ["user_id", "started_at", "video_id"]
    paths = stage_parquet(joined, INTERACTIONS, order, folders.interactions, bucket)
    return CleanedBucket(paths, reject_paths, _sum_events(paths), _count_reasons(reject_paths))


def with_partition_day(events: Frame, params: CleanConfig) -> Frame:
    """Replace the date `day` of received events by `received_day` and `partition_day`."""
    event_day = pl.col("event_time").dt.date()
    in_time = _days_late().is_between(0, params.late_days)
    return events.rename({"day": "received_day"}).with_columns(
        partition_day=pl.when(in_time).then(event_day).otherwise("received_day")
    )


def with_row_reason(events: pl.DataFrame, catalogue: pl.DataFrame, params: CleanConfig) -> pl.DataFrame:
    """Add the first reason to refuse an event that needs no other events, and the event's catalogue entry.

    Args:
        events: rows of `with_partition_day`.
        catalogue: `video_id` and `duration_ms`, one row for each video.
        params: bounds of a plausible event.

    Returns:
        The events with `reason` (null: none), `duration_ms`, and `in_catalogue`.
    """
    joined = events.join(catalogue.with_columns(in_catalogue=True), on="video_id", how="left")
    labelled = joined.with_columns(pl.col("in_catalogue").fill_null(False))
    return labelled.with_columns(reason=_first_reason(params))


def with_user_reason(events: pl.DataFrame, params: CleanConfig) -> pl.DataFrame:
    """Add the reasons that depend on other events of the user to events without a reason.

    Args:
        events: rows of `with_row_reason`, with all events of each user and partition day.
        params: bounds of a plausible event.
    """
    distinct = _with_reason_of_rows(events, "duplicate_event", _repeated_rows(events))
    return _with_reason_of_rows(distinct, "suspected_bot", _rows_of_bots(distinct, params))


def interactions(events: pl.DataFrame, params: CleanConfig) -> pl.DataFrame:
    """Join kept events to interactions, one for each user × video × viewing session.

    A session starts with an impression, with a view that does not follow an impression, or after a gap of
    more than `session_gap_minutes`. Other behaviours belong to the session before them. A pause, replay or
    swipe between an impression and its view does not separate them.

    No two interactions of a user and video start at the same instant. The first one takes such events.

    Args:
        events: rows of `with_user_reason` without a reason.
        params: the end of a viewing session.

    Returns:
        Rows of the table `interactions`.
    """
    numbered = _number_interactions(events, params)
    event_type = pl.col("event_type")
    behaviours = {name: (event_type == kind).any() for name, kind in BEHAVIOUR_EVENTS.items()}
    counts = {name: (event_type == kind).sum().cast(pl.Int32) for name, kind in PLAYBACK_EVENTS.items()}
    grouped = numbered.group_by("interaction", maintain_order=True).agg(
        pl.first("user_id", "video_id", "duration_ms"),
        pl.first("partition_day").alias("day"),
        pl.first("event_time").alias("started_at"),
        pl.max("watch_ms").alias("watched_ms"),
        pl.len().cast(pl.Int64).alias("events"),
        *[pl.col(name).drop_nulls().first() for name in CONTEXT],
        **behaviours,
        **counts,
    )
    watch_ratio = _quotient(grouped["watched_ms"], grouped["duration_ms"])
    return grouped.with_columns(watch_ratio=watch_ratio).join(
        _comments(numbered), on="interaction", how="left"
    )


def rejects(events: pl.DataFrame) -> pl.DataFrame:
    """Return rows of the table `rejects` from events of `with_user_reason` that have a reason."""
    return events.select(
        pl.col("partition_day").alias("day"),
        pl.lit("clean").alias("step"),
        "reason",
        "received_day",
        "source_file",
        "source_line",
        _record_json().alias("record"),
    )


def _days_late() -> pl.Expr:
    return (pl.col("received_day") - pl.col("event_time").dt.date()).dt.total_days()


def _first_reason(params: CleanConfig) -> pl.Expr:
    """Return the first reason to refuse an event that needs no other events."""
    event_time, received_day = pl.col("event_time"), pl.col("received_day")
    end_of_day = received_day.cast(pl.Datetime("us")).dt.replace_time_zone("UTC") + pl.duration(
        days=1, minutes=params.clock_skew_minutes
    )
    max_watch_ms = (pl.col("duration_ms") * float(params.max_replays)).fill_null(
        params.max_watch_minutes * 60_000
    )
    rules = {
        "missing_event_id": pl.col("event_id").is_null(),
        "missing_user": pl.col("user_id").is_null(),
        "missing_video": pl.col("video_id").is_null(),
        "missing_event_time": event_time.is_null(),
        "unknown_event_type": ~pl.col("event_type").is_in(EVENT_TYPES).fill_null(False),
        "event_time_in_future": event_time > end_of_day,
        "arrived_too_late": _days_late() > params.late_days,
        "unknown_video": ~pl.col("in_catalogue"),
        "impossible_watch_time": (pl.col("watch_ms") < 0) | (pl.col("watch_ms") > max_watch_ms),
    }
    return pl.coalesce(pl.when(condition).then(pl.lit(reason)) for reason, condition in rules.items())


def _with_reason_of_rows(events: pl.DataFrame, reason: str, rows: pl.Series) -> pl.DataFrame:
    """Set the reason of some rows, given by their numbers."""
    is_one = pl.int_range(pl.len()).is_in(rows.implode())
    return events.with_columns(reason=pl.when(is_one).then(pl.lit(reason)).otherwise("reason"))


def _valid_rows(events: pl.DataFrame) -> pl.LazyFrame:
    """Return the events without a reason, with the number `row`. The query reads only the needed columns."""
    return events.lazy().with_row_index("row").filter(pl.col("reason").is_null())


def _repeated_rows(events: pl.DataFrame) -> pl.Series:
    """Return the numbers of all but the first of the events that share user, partition day and id."""
    # An id that occurs once is no duplicate. So only a few rows are sorted.
    candidates = _valid_rows(events).filter(pl.col("event_id").is_duplicated())
    ordered = candidates.select("row", *USER_DAY, "event_id", *ORDER_OF_DUPLICATES).sort(ORDER_OF_DUPLICATES)
    return ordered.filter(~pl.struct(*USER_DAY, "event_id").is_first_distinct()).collect()["row"]


def _rows_of_bots(events: pl.DataFrame, params: CleanConfig) -> pl.Series:
    """Return the numbers of the events of users with too many events in an hour of the day."""
    valid = _valid_rows(events).select("row", *USER_DAY, "event_time")
    too_many = pl.col("len") > params.bot_events_per_hour
    # Most users have fewer events in all. So only a few rows are counted by hour.
    of_busy_users = valid.join(valid.group_by("user_id").len().filter(too_many), on="user_id", how="semi")
    in_hour = of_busy_users.group_by(*USER_DAY, pl.col("event_time").dt.truncate("1h")).len()
    return of_busy_users.join(in_hour.filter(too_many), on=USER_DAY, how="semi").collect()["row"]


def _number_interactions(events: pl.DataFrame, params: CleanConfig) -> pl.DataFrame:
    """Sort events by user, video, partition day and time, and add the number `interaction`.

    Events of one instant are in the order of `EVENT_TYPES`, whatever file or line they came from.
    """
    # Integer codes sort faster than text. Their order does not matter, because only groups are needed.
    ids = pl.col("user_id", "video_id").cast(pl.Categorical).to_physical().name.suffix("_code")
    group = ("user_id_code", "video_id_code", "partition_day")
    event_time, event_type = pl.col("event_time"), pl.col("event_type")
    new_group = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in group)
    after_gap = event_time - event_time.shift() > pl.duration(minutes=params.session_gap_minutes)
    unannounced_view = (event_type == "view") & ~_announces_view(pl.col("new_group") | after_gap).shift()
    starts = pl.col("new_group") | after_gap | (event_type == "impression") | unannounced_view
    rank = event_type.cast(pl.Enum(EVENT_TYPES)).to_physical()
    ordered = events.with_columns(ids).sort(*group, event_time, rank, "event_id")
    ordered = ordered.with_columns(new_group=new_group)
    marked = ordered.with_columns(
        new_instant=pl.col("new_group") | (event_time != event_time.shift()), starts=starts.cast(pl.Int64)
    )
    # Of the events at one instant, only the first that starts a session opens an interaction.
    started_before = pl.col("starts").cum_sum() - pl.col("starts")
    before_instant = pl.when("new_instant").then(started_before).forward_fill()
    opens = (pl.col("starts") == 1) & (started_before == before_instant)
    return marked.with_columns(interaction=opens.cum_sum()).drop(
        "user_id_code", "video_id_code", "new_group", "new_instant", "starts"
    )


def _announces_view(starts_session: pl.Expr) -> pl.Expr:
    """Return whether a view that follows an event belongs to the interaction of that event.

    A player can log pauses, replays and swipes before their view. They announce it if they start the session.
    Otherwise the event before them decides.

    Args:
        starts_session: whether an event follows no other event of its session.
    """
    is_playback = pl.col("event_type").is_in(PLAYBACK_TYPES)
    announces = (pl.col("event_type") == "impression") | (is_playback & starts_session)
    return pl.when(~is_playback | starts_session).then(announces).forward_fill()


def _quotient(dividend: pl.Series, divisor: pl.Series) -> pl.Series:
    """Return the quotients, correctly rounded.

    polars multiplies by the reciprocal if it knows that all divisors are equal. So its last bit would depend
    on the other rows.
    """
    dividends, divisors = (values.cast(pl.Float64).to_arrow() for values in (dividend, divisor))
    return pl.Series(pc.divide(dividends, divisors))


def _comments(events: pl.DataFrame) -> pl.DataFrame:
    """Return `interaction`, and the comments of the interaction as `comment_text` and `comment_sentiment`.

    The mean sentiment is a decimal number of eight places. It does not depend on the order of the rows.
    """
    written = events.filter(pl.col("comment_text") != "").select("interaction", "event_time", "comment_text")
    scored = with_sentiment(written).sort("interaction", "event_time", "comment_text")
    # A sum of whole numbers is exact. The last rounding corrects the quotient, which polars does not round.
    score = (pl.col("sentiment") * 1e8).round()
    mean = (score.mean().round(mode="half_away_from_zero") / 1e8).round(8)
    return scored.group_by("interaction", maintain_order=True).agg(
        pl.col("comment_text").str.join("\n"), mean.alias("comment_sentiment")
    )


def _record_json() -> pl.Expr:
    """Return an event as a JSON object of its fields without null."""
    text = {name: pl.col(name).cast(pl.String).str.replace_many(JSON_ESCAPES) for name in TEXT_FIELDS}
    text["event_time"] = pl.col("event_time").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    quoted = {name: pl.concat_str(pl.lit(f'"{name}":"'), text[name], pl.lit('"')) for name in text}
    watch_ms = pl.concat_str(pl.lit('"watch_ms":'), pl.col("watch_ms"))
    members = [*(quoted[name] for name in TEXT_FIELDS[:4]), quoted["event_time"], watch_ms, quoted["device"]]
    joined = pl.concat_str(members, separator=",", ignore_nulls=True)
    return pl.concat_str(pl.lit("{"), joined, pl.lit("}"))


def _sum_events(paths: list[StoragePath]) -> int:
    if not paths:
        return 0
    return pl.scan_parquet(list(map(str, paths))).select(pl.sum("events")).collect().item()


def _count_reasons(paths: list[StoragePath]) -> dict[str, int]:
    if not paths:
        return {}
    return dict(pl.scan_parquet(list(map(str, paths))).group_by("reason").len().collect().iter_rows())
