"""Build the sequences of all users from their interactions."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from core.tables import BEHAVIOURS


def build_sequences(interactions: DataFrame, days: Sequence[date], max_length: int) -> DataFrame:
    """Return each user's newest interactions at the end of each day, oldest first.

    A row holds no interaction of a later day. Impressions without any behaviour are left out. Spark's
    `max_by` keeps only `max_length` rows in memory for each user.

    Args:
        interactions: rows of the table `interactions`.
        days: the days.
        max_length: most interactions of a sequence.

    Returns:
        Rows of the table `sequences`, one for each user and day with an interaction.
    """
    spark = interactions.sparkSession
    cutoffs = spark.createDataFrame([(day,) for day in days], "cutoff_day date")
    engaged = interactions.where(" OR ".join(BEHAVIOURS))
    before_cutoff = engaged.join(F.broadcast(cutoffs), F.col("day") <= F.col("cutoff_day"))
    interaction = F.struct(
        "started_at",
        "video_id",
        "watch_ratio",
        _behaviour_bits().alias("bits"),
        "comment_sentiment",
        "utc_offset_minutes",
        "device",
        "network",
    )
    latest = F.max_by(interaction, F.struct("started_at", "video_id"), max_length)
    users = before_cutoff.groupBy("user_id", "cutoff_day").agg(F.array_sort(latest).alias("interactions"))
    return users.select(
        "user_id",
        F.col("cutoff_day").alias("day"),
        F.col("interactions.video_id").alias("video_ids"),
        F.col("interactions.started_at").alias("started_at"),
        F.col("interactions.watch_ratio").alias("watch_ratios"),
        F.col("interactions.bits").alias("behaviours"),
        F.col("interactions.comment_sentiment").alias("comment_sentiments"),
        F.col("interactions.utc_offset_minutes").alias("utc_offset_minutes"),
        F.col("interactions.device").alias("devices"),
        F.col("interactions.network").alias("networks"),
    )


def _behaviour_bits() -> Column:
    """Return the behaviours of an interaction as an integer, with bit i for `BEHAVIOURS[i]`."""
    bits = F.lit(0)
    for position, name in enumerate(BEHAVIOURS):
        bits = bits + F.when(F.col(name), 1 << position).otherwise(0)
    return bits.cast("int")
