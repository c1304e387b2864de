"""Count what the interactions of a day tell about each video.

The rows of a day are a function of the day's data files, which never change. So a day is counted again only
if it has other files than before. The rows of other days do not matter.
"""

from collections.abc import Sequence

import polars as pl

from core.storage import StoragePath
from core.tables import ITEM_STATISTICS
from spark_jobs.staging import stage_parquet


def count_items(interactions: pl.LazyFrame) -> pl.LazyFrame:
    """Return rows of the table `item_statistics` from rows of the table `interactions`."""
    counts = interactions.group_by("day", "video_id").agg(
        pl.col("viewed").sum().cast(pl.Int64).alias("num_interactions"),
        pl.col("comment_sentiment").drop_nulls().sort().alias("comment_sentiments"),
    )
    has_comments = pl.col("comment_sentiments").list.len() > 0
    return counts.filter((pl.col("num_interactions") > 0) | has_comments)


def stage_item_statistics(files: Sequence[str], folder: StoragePath) -> list[StoragePath]:
    """Write the item statistics of a day.

    Args:
        files: all files of the day's interactions.
        folder: the staging folder of the table.

    Returns:
        The path of the staged file. It is missing if no interaction has a view or a comment.
    """
    rows = count_items(pl.scan_parquet(list(files))).collect(engine="streaming")
    return stage_parquet(rows, ITEM_STATISTICS, ["video_id"], folder, bucket=0)
