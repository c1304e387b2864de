"""Events as received → what can be trusted, and why the rest cannot.

Every event belongs to one *work day*: the day it happened, or, where that cannot be (no time, too late, from
the future), the day it was received. A work day is cleaned as a whole, so that late events join the day they
belong to; each event ends in exactly one of the two: an interaction or a reject.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the community's name for it

from contracts.params import Clean
from spark_jobs.sentiment import with_sentiment

EVENT_TYPES = ("impression", "view", "like", "comment", "share", "follow", "dislike")
MARKS = {
    "viewed": "view",
    "liked": "like",
    "commented": "comment",
    "shared": "share",
    "followed": "follow",
    "disliked": "dislike",
}
# A line may hold several events; then their content decides.
BY_TIME = ("event_time", "source_file", "source_line", "event_id", "event_type", "watch_ms", "comment_text")


def with_work_day(events: DataFrame, p: Clean) -> DataFrame:
    """Adds `work_day` (date) and `received_day` (date) to events as received."""
    happened = F.to_date("event_time")
    lateness = F.datediff(F.col("day"), happened)
    in_time = lateness.between(0, p.late_days)
    return events.withColumns(
        {"received_day": F.col("day"), "work_day": F.when(in_time, happened).otherwise(F.col("day"))}
    )


def judge(events: DataFrame, videos: DataFrame, p: Clean) -> DataFrame:
    """Adds `reason` (null: kept) and `duration_ms` to events that have a work day.

    Args:
        events: rows of `with_work_day`.
        videos: `video_id`, `duration_ms`: the catalogue, one row a video.
    """
    known = videos.select("video_id", "duration_ms", F.lit(True).alias("known"))
    judged = events.join(F.broadcast(known), "video_id", "left").withColumn("reason", _row_reason(p))
    sane, refused = judged.where("reason IS NULL"), judged.where("reason IS NOT NULL")
    return _mark_repeats_and_bots(sane, p).unionByName(refused).drop("known")


def interactions(kept: DataFrame, p: Clean) -> DataFrame:
    """One row a person × video × viewing from kept events.

    A viewing starts with an impression, with a view that no impression announced, or after
    `viewing_gap_minutes` of silence; behaviours belong to the viewing they follow. No two viewings of a
    person and video start at the same instant: the first one takes what would start another.
    """
    numbered = _number_viewings(with_sentiment(kept), p)
    marks = {
        mark: F.coalesce(F.bool_or(F.col("event_type") == kind), F.lit(False)) for mark, kind in MARKS.items()
    }
    context = {
        c: F.min_by(c, F.when(F.col(c).isNotNull(), _position()))
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
        # As a decimal: the mean then does not depend on the order that the rows come in.
        "comment_sentiment": F.avg(F.col("sentiment").cast("decimal(5, 4)")).cast("double"),
        **marks,
        **context,
    }
    grouped = numbered.groupBy("user_id", "video_id", "work_day", "viewing").agg(
        *[column.alias(name) for name, column in columns.items()]
    )
    return grouped.withColumns(
        {
            "watch_ratio": F.col("watched_ms") / F.col("duration_ms"),
            "comment_text": F.when(F.size("comments") > 0, F.array_join("comments.comment_text", "\n")),
            "day": F.col("work_day"),
        }
    ).drop("viewing", "work_day", "duration_ms", "comments")


def rejects(refused: DataFrame) -> DataFrame:
    """Rows of the `rejects` table from judged events that have a reason."""
    fields = ("event_id", "user_id", "video_id", "event_type", "event_time", "watch_ms", "device")
    return refused.select(
        F.col("work_day").alias("day"),
        F.lit("clean").alias("step"),
        "reason",
        "received_day",
        "source_file",
        "source_line",
        F.to_json(F.struct(*fields)).alias("record"),
    )


def _row_reason(p: Clean) -> Column:
    """The first thing that is wrong with an event by itself."""
    end_of_day = F.col("received_day").cast("timestamp") + F.expr(
        f"INTERVAL 1 DAY + INTERVAL {p.clock_skew_minutes} MINUTES"
    )
    longest = F.coalesce(F.col("duration_ms") * p.max_loops, F.lit(p.max_watch_minutes * 60_000))
    rules = {
        "missing_event_id": F.col("event_id").isNull(),
        "missing_user": F.col("user_id").isNull(),
        "missing_video": F.col("video_id").isNull(),
        "missing_event_time": F.col("event_time").isNull(),
        "unknown_event_type": ~F.coalesce(F.col("event_type").isin(*EVENT_TYPES), F.lit(False)),
        "from_the_future": F.col("event_time") > end_of_day,
        "too_late": F.datediff("received_day", F.to_date("event_time")) > p.late_days,
        "unknown_video": F.col("known").isNull(),
        "impossible_watch_time": (F.col("watch_ms") < 0) | (F.col("watch_ms") > longest),
    }
    return F.coalesce(*[F.when(wrong, F.lit(reason)) for reason, wrong in rules.items()])


def _mark_repeats_and_bots(events: DataFrame, p: Clean) -> DataFrame:
    """What is wrong with an event in the company of the user's others. One shuffle, by user."""
    by_user = events.repartition("user_id")
    same = Window.partitionBy("user_id", "work_day", "event_id").orderBy(*BY_TIME)
    repeated = by_user.withColumn("repeat", F.row_number().over(same) > 1)
    hour = Window.partitionBy("user_id", "work_day", F.date_trunc("hour", "event_time"))
    day = Window.partitionBy("user_id", "work_day")
    distinct = F.sum(F.when(~F.col("repeat"), 1).otherwise(0))
    busiest = repeated.withColumn("busy", distinct.over(hour)).withColumn("busiest", F.max("busy").over(day))
    reason = F.when(F.col("repeat"), "duplicate").when(F.col("busiest") > p.bot_events_per_hour, "bot")
    return busiest.withColumn("reason", reason).drop("repeat", "busy", "busiest")


def _number_viewings(kept: DataFrame, p: Clean) -> DataFrame:
    """Adds `viewing`: 1, 2, … within person × video × work day."""
    in_order = Window.partitionBy("user_id", "video_id", "work_day").orderBy(*BY_TIME)
    silence = F.unix_micros("event_time") - F.unix_micros(F.lag("event_time").over(in_order))
    gap = silence > p.viewing_gap_minutes * 60_000_000
    unannounced = (F.col("event_type") == "view") & (F.lag("event_type").over(in_order) != "impression")
    begins = gap | (F.col("event_type") == "impression") | unannounced
    marked = kept.withColumn("begins", (silence.isNull() | begins).cast("int"))
    instant = Window.partitionBy("user_id", "video_id", "work_day", "event_time").orderBy(*BY_TIME)
    before = F.sum("begins").over(instant.rowsBetween(Window.unboundedPreceding, -1))
    first = F.col("begins") * (F.coalesce(before, F.lit(0)) == 0).cast("int")
    started = marked.withColumn("starts", first)
    return started.withColumn("viewing", F.sum("starts").over(in_order)).drop("starts", "begins")


def _position() -> Column:
    return F.struct(*BY_TIME[:4])
