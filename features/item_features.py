"""Item statistics: numbers of a video that are counted from its interactions."""

from collections.abc import Mapping
from datetime import date

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lake.client import Lake, up_to_day


def item_statistics(lake: Lake, video_ids: pa.ChunkedArray, days: Mapping[str, date]) -> dict[str, pa.Table]:
    """Sum the item statistics of all days up to the end of some days.

    Args:
        lake: The lake, with the table `item_statistics`.
        video_ids: The videos.
        days: Name -> day.

    Returns:
        Name -> table with a row for each video: `num_interactions` (with a view), `comment_sentiment` (the
        mean, null without comments) and `comments`.
    """
    counted_days = lake.lazy_scan("item_statistics", up_to_day(max(days.values())))
    counts = _sum_interactions(counted_days, video_ids, days)
    comments = _comments(counted_days)
    tables = {}
    for name, day in days.items():
        sentiments = _mean_sentiments(comments.filter(pc.less_equal(comments["day"], day)))
        row = pc.index_in(video_ids, sentiments["video_id"].combine_chunks())
        tables[name] = pa.table(
            {
                "num_interactions": counts[name].to_arrow(),
                "comment_sentiment": sentiments["sentiment_mean"].take(row),
                "comments": pc.fill_null(sentiments["sentiment_count"].take(row), 0),
            }
        )
    return tables


def _sum_interactions(
    counted_days: pl.LazyFrame, video_ids: pa.ChunkedArray, days: Mapping[str, date]
) -> pl.DataFrame:
    """Return the number of interactions with a view up to the end of each day, in the order of the videos."""
    known = [
        (pl.col("num_interactions") * (pl.col("day") <= day)).sum().cast(pl.Int32).alias(name)
        for name, day in days.items()
    ]
    counts = counted_days.group_by("video_id").agg(known).collect(engine="streaming")
    videos = pl.DataFrame({"video_id": video_ids})
    return videos.join(counts, on="video_id", how="left", maintain_order="left").fill_null(0)


def _comments(counted_days: pl.LazyFrame) -> pa.Table:
    """Return `video_id`, `day` and `sentiment` of the comments, some 20 bytes each, sorted by sentiment.

    A mean depends on the order of its terms, and a scan returns rows in any order.
    """
    comments = counted_days.select("video_id", "day", sentiment="comment_sentiments").explode("sentiment")
    known = comments.filter(pl.col("sentiment").is_not_null()).sort("video_id", "sentiment")
    return known.collect(engine="streaming").to_arrow()


def _mean_sentiments(comments: pa.Table) -> pa.Table:
    """Return `video_id`, mean and count of the sentiments."""
    return comments.group_by("video_id", use_threads=False).aggregate(
        [("sentiment", "mean"), ("sentiment", "count")]
    )
