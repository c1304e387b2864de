"""Item statistics: numbers of a video that are counted from its interactions."""

from collections.abc import Mapping
from datetime import date

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And

from lake.client import Lake, up_to_day
from lake.key_ranges import KeyRange, divide_keys

MAX_COMMENTS = 1 << 20  # comments that are in memory at a time, some 50 MiB
ALL_VIDEOS = KeyRange("video_id")


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
    counts = _sum_interactions(lake, video_ids, days)
    sentiments = _mean_sentiments(lake, days)
    tables = {}
    for name in days:
        row = pc.index_in(video_ids, sentiments[name]["video_id"].combine_chunks())
        tables[name] = pa.table(
            {
                "num_interactions": counts[name].to_arrow(),
                "comment_sentiment": sentiments[name]["sentiment_mean"].take(row),
                "comments": pc.fill_null(sentiments[name]["sentiment_count"].take(row), 0),
            }
        )
    return tables


def _sum_interactions(lake: Lake, video_ids: pa.ChunkedArray, days: Mapping[str, date]) -> pl.DataFrame:
    """Return the number of interactions with a view up to the end of each day, in the order of the videos."""
    counted_days = lake.lazy_scan("item_statistics", up_to_day(max(days.values())))
    known = [
        (pl.col("num_interactions") * (pl.col("day") <= day)).sum().cast(pl.Int32).alias(name)
        for name, day in days.items()
    ]
    counts = counted_days.group_by("video_id").agg(known).collect(engine="streaming")
    videos = pl.DataFrame({"video_id": video_ids})
    return videos.join(counts, on="video_id", how="left", maintain_order="left").fill_null(0)


def _mean_sentiments(lake: Lake, days: Mapping[str, date]) -> dict[str, pa.Table]:
    """Return `video_id`, mean and count of the known sentiments up to the end of each day."""
    until = max(days.values())
    parts: dict[str, list[pa.Table]] = {name: [] for name in days}
    for videos in divide_keys(_comments(lake, until), "video_id", MAX_COMMENTS):
        # A mean depends on the order of its terms, and a scan returns rows in any order.
        ordered = _comments(lake, until, videos).sort("video_id", "sentiment")
        comments = ordered.collect(engine="streaming").to_arrow()
        for name, day in days.items():
            known = comments.filter(pc.less_equal(comments["day"], day)).group_by(
                "video_id", use_threads=False
            )
            parts[name].append(known.aggregate([("sentiment", "mean"), ("sentiment", "count")]))
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def _comments(lake: Lake, until: date, videos: KeyRange = ALL_VIDEOS) -> pl.LazyFrame:
    """Return `video_id`, `day` and `sentiment` of the comments of a range of videos up to a day."""
    counted_days = lake.lazy_scan("item_statistics", And(up_to_day(until), videos.filter()))
    comments = counted_days.select("video_id", "day", sentiment="comment_sentiments").explode("sentiment")
    return comments.filter(pl.col("sentiment").is_not_null())
