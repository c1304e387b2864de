"""Interactions → what a person's past looked like at the end of a day."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from contracts.tables import BEHAVIOURS


def histories(interactions: DataFrame, days: Sequence[date], max_length: int) -> DataFrame:
    """Each person's newest `max_length` viewings as of the end of each day, oldest first.

    A viewing of a later day than the row's is never in it: no look-ahead. Impressions that led to nothing are
    left out. `max_by` keeps `max_length` rows a person, however long the past.
    """
    spark = interactions.sparkSession
    ends = spark.createDataFrame([(day,) for day in days], "as_of date")
    engaged = interactions.where(" OR ".join(BEHAVIOURS))
    known = engaged.join(F.broadcast(ends), F.col("day") <= F.col("as_of"))
    viewing = F.struct(
        "started_at",
        "video_id",
        "watch_ratio",
        _bits().alias("bits"),
        "comment_sentiment",
        "utc_offset_minutes",
        "device",
        "network",
    )
    newest = F.max_by(viewing, F.struct("started_at", "video_id"), max_length)
    people = known.groupBy("user_id", "as_of").agg(F.array_sort(newest).alias("past"))
    return people.select(
        "user_id",
        F.col("as_of").alias("day"),
        F.col("past.video_id").alias("video_ids"),
        F.col("past.started_at").alias("started_at"),
        F.col("past.watch_ratio").alias("watch_ratios"),
        F.col("past.bits").alias("behaviours"),
        F.col("past.comment_sentiment").alias("comment_sentiments"),
        F.col("past.utc_offset_minutes").alias("utc_offset_minutes"),
        F.col("past.device").alias("devices"),
        F.col("past.network").alias("networks"),
    )


def _bits() -> Column:
    """The behaviours of a viewing as an integer, bit i for BEHAVIOURS[i]."""
    bits = F.lit(0)
    for position, name in enumerate(BEHAVIOURS):
        bits = bits + F.when(F.col(name), 1 << position).otherwise(0)
    return bits.cast("int")
