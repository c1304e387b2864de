"""Clean received events: join the valid ones to interactions, and reject the others with a reason.

Every event belongs to one partition day. It is the day on which the event happened. If that day is unknown,
too old or in the future, it is the day on which the event was received.

A partition day is cleaned as a whole, so that late events join their day. Each event ends in exactly one
interaction or one reject.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the usual name in Spark code

from core.config import CleanConfig
from spark_jobs.sentiment import with_sentiment

EVENT_TYPES = ("impression", "view", "like", "comment", "share", "follow", "dislike")
BEHAVIOUR_EVENTS = {
    "viewed": "view",
    "liked": "like",
    "commented": "comment",
    "shared": "share",
    "followed": "follow",
    "disliked": "dislike",
}
# The order of events with the same time. Events on one line are ordered by content.
EVENT_ORDER = (
    "event_time",
    "source_file",
    "source_line",
    "event_id",
    "event_type",
    "watch_ms",
    "comment_text",
)


def with_partition_day(events: DataFrame, params: CleanConfig) -> DataFrame:
    """Add the dates `partition_day` and `received_day` to received events."""
    event_day = F.to_date("event_time")
    lateness = F.datediff(F.col("day"), event_day)
    in_time = lateness.between(0, params.late_days)
    return events.withColumns(
        {"received_day": F.col("day"), "partition_day": F.when(in_time, event_day).otherwise(F.col("day"))}
    )


def with_reject_reason(events: DataFrame, videos: DataFrame, params: CleanConfig) -> DataFrame:
    """Add `reason` (null: the event is kept) and `duration_ms` to events.

    Args:
        events: rows of `with_partition_day`.
        videos: `video_id` and `duration_ms` of the catalogue, one row for each video.
        params: bounds of a plausible event.
    """
    catalogue = videos.select("video_id", "duration_ms", F.lit(True).alias("known"))
    labelled = events.join(F.broadcast(catalogue), "video_id", "left").withColumn(
        "reason", _row_reason(params)
    )
    valid, rejected = labelled.where("reason IS NULL"), labelled.where("reason IS NOT NULL")
    return _mark_duplicates_and_bots(valid, params).unionByName(rejected).drop("known")


def interactions(events: DataFrame, params: CleanConfig) -> DataFrame:
    """Join kept events to interactions, one for each user × video × viewing session.

    A session starts with an impression, with a view that does not follow an impression, or after a pause of
    more than `session_gap_minutes`. Other behaviours belong to the session before them.

    No two interactions of a user and video start at the same instant. The first one takes such events.
    """
    numbered = _number_interactions(with_sentiment(events), params)
    behaviours = {
        behaviour: F.coalesce(F.bool_or(F.col("event_type") == event_type), F.lit(False))
        for behaviour, event_type in BEHAVIOUR_EVENTS.items()
    }
    context = {
        c: F.min_by(c, F.when(F.col(c).isNotNull(), _event_order()))
        for c in ("device", "network", "utc_offset_minutes", "feed_position")
    }
    comments = F.array_sort(
        F.collect_list(F.when(F.col("comment_text") != "", F.struct("event_time", "comment_text")))
    )
    columns = {
        "started_at": F.min("event_time"),
        "watched_ms": F.max("watch_ms"),
        "duration_ms": F.first("duration_ms"),
        "events": F.count("*"),
        "comments": comments,
        # The mean of decimals does not depend on the order of the rows.
        "comment_sentiment": F.avg(F.col("sentiment").cast("decimal(5, 4)")).cast("double"),
        **behaviours,
        **context,
    }
    grouped = numbered.groupBy("user_id", "video_id", "partition_day", "interaction_number").agg(
        *[column.alias(name) for name, column in columns.items()]
    )
    return grouped.withColumns(
        {
            "watch_ratio": F.col("watched_ms") / F.col("duration_ms"),
            "comment_text": F.when(F.size("comments") > 0, F.array_join("comments.comment_text", "\n")),
            "day": F.col("partition_day"),
        }
    ).drop("interaction_number", "partition_day", "duration_ms", "comments")


def rejects(events: DataFrame) -> DataFrame:
    """Return rows of the table `rejects` from events of `with_reject_reason` that have a reason."""
    fields = ("event_id", "user_id", "video_id", "event_type", "event_time", "watch_ms", "device")
    return events.select(
        F.col("partition_day").alias("day"),
        F.lit("clean").alias("step"),
        "reason",
        "received_day",
        "source_file",
        "source_line",
        F.to_json(F.struct(*fields)).alias("record"),
    )


def _row_reason(params: CleanConfig) -> Column:
    """Return the first reason to refuse an event that needs no other events."""
    end_of_day = F.col("received_day").cast("timestamp") + F.expr(
        f"INTERVAL 1 DAY + INTERVAL {params.clock_skew_minutes} MINUTES"
    )
    max_watch_ms = F.coalesce(
        F.col("duration_ms") * params.max_replays, F.lit(params.max_watch_minutes * 60_000)
    )
    rules = {
        "missing_event_id": F.col("event_id").isNull(),
        "missing_user": F.col("user_id").isNull(),
        "missing_video": F.col("video_id").isNull(),
        "missing_event_time": F.col("event_time").isNull(),
        "unknown_event_type": ~F.coalesce(F.col("event_type").isin(*EVENT_TYPES), F.lit(False)),
        "event_time_in_future": F.col("event_time") > end_of_day,
        "arrived_too_late": F.datediff("received_day", F.to_date("event_time")) > params.late_days,
        "unknown_video": F.col("known").isNull(),
        "impossible_watch_time": (F.col("watch_ms") < 0) | (F.col("watch_ms") > max_watch_ms),
    }
    return F.coalesce(*[F.when(condition, F.lit(reason)) for reason, condition in rules.items()])


def _mark_duplicates_and_bots(events: DataFrame, params: CleanConfig) -> DataFrame:
    """Add the reasons that depend on other events of the user. It takes one shuffle, by user."""
    by_user = events.repartition("user_id")
    same_event = Window.partitionBy("user_id", "partition_day", "event_id").orderBy(*EVENT_ORDER)
    with_duplicates = by_user.withColumn("repeat", F.row_number().over(same_event) > 1)
    hour = Window.partitionBy("user_id", "partition_day", F.date_trunc("hour", "event_time"))
    day = Window.partitionBy("user_id", "partition_day")
    num_distinct = F.sum(F.when(~F.col("repeat"), 1).otherwise(0))
    busiest = with_duplicates.withColumn("events_in_hour", num_distinct.over(hour)).withColumn(
        "max_events_per_hour", F.max("events_in_hour").over(day)
    )
    reason = F.when(F.col("repeat"), "duplicate_event").when(
        F.col("max_events_per_hour") > params.bot_events_per_hour, "suspected_bot"
    )
    return busiest.withColumn("reason", reason).drop("repeat", "events_in_hour", "max_events_per_hour")


def _number_interactions(events: DataFrame, params: CleanConfig) -> DataFrame:
    """Add `interaction_number`, which counts from 1 within user × video × partition day."""
    in_order = Window.partitionBy("user_id", "video_id", "partition_day").orderBy(*EVENT_ORDER)
    time_gap = F.unix_micros("event_time") - F.unix_micros(F.lag("event_time").over(in_order))
    session_gap = time_gap > params.session_gap_minutes * 60_000_000
    unannounced_view = (F.col("event_type") == "view") & (F.lag("event_type").over(in_order) != "impression")
    starts_session = session_gap | (F.col("event_type") == "impression") | unannounced_view
    marked = events.withColumn("starts_session", (time_gap.isNull() | starts_session).cast("int"))
    same_instant = Window.partitionBy("user_id", "video_id", "partition_day", "event_time").orderBy(
        *EVENT_ORDER
    )
    started_before = F.sum("starts_session").over(same_instant.rowsBetween(Window.unboundedPreceding, -1))
    first = F.col("starts_session") * (F.coalesce(started_before, F.lit(0)) == 0).cast("int")
    started = marked.withColumn("opens_interaction", first)
    return started.withColumn("interaction_number", F.sum("opens_interaction").over(in_order)).drop(
        "opens_interaction", "starts_session"
    )


def _event_order() -> Column:
    return F.struct(*EVENT_ORDER[:4])
