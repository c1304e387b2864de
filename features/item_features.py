"""Item statistics: numbers of a video that are counted from its interactions."""

from collections.abc import Mapping
from datetime import date

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, NotNull

from lake.client import Lake, up_to_day
from lake.key_ranges import divide_keys

MAX_COMMENTS = 1 << 20  # comments that are in memory at a time, some 50 MiB


def item_statistics(lake: Lake, video_ids: pa.ChunkedArray, days: Mapping[str, date]) -> dict[str, pa.Table]:
    """Count the interactions of each video, and the sentiment of its comments, up to the end of some days.

    Args:
        lake: The lake.
        video_ids: The videos.
        days: Name -> day.

    Returns:
        Name -> table with a row for each video: `num_interactions` (with a view), `comment_sentiment` (the
        mean, null without comments) and `comments`.
    """
    counts = _count_views(lake, video_ids, days)
    sentiments = _comment_sentiments(lake, days)
    tables = {}
    for name in days:
        row = pc.index_in(video_ids, sentiments[name]["video_id"].combine_chunks())
        tables[name] = pa.table(
            {
                "num_interactions": counts[name].to_arrow(),
                "comment_sentiment": sentiments[name]["comment_sentiment_mean"].take(row),
                "comments": pc.fill_null(sentiments[name]["comment_sentiment_count"].take(row), 0),
            }
        )
    return tables


def _count_views(lake: Lake, video_ids: pa.ChunkedArray, days: Mapping[str, date]) -> pl.DataFrame:
    """Return the number of interactions with a view up to the end of each day, in the order of the videos."""
    viewed = lake.lazy_scan("interactions", up_to_day(max(days.values()))).filter("viewed")
    known = [(pl.col("day") <= day).sum().cast(pl.Int32).alias(name) for name, day in days.items()]
    counts = viewed.group_by("video_id").agg(known).collect(engine="streaming")
    videos = pl.DataFrame({"video_id": video_ids})
    return videos.join(counts, on="video_id", how="left", maintain_order="left").fill_null(0)


def _comment_sentiments(lake: Lake, days: Mapping[str, date]) -> dict[str, pa.Table]:
    """Return `video_id`, mean and count of the known sentiments up to the end of each day."""
    until, columns = up_to_day(max(days.values())), ("video_id", "day", "comment_sentiment")
    commented = lake.lazy_scan("interactions", until).filter(pl.col("comment_sentiment").is_not_null())
    parts: dict[str, list[pa.Table]] = {name: [] for name in days}
    for videos in divide_keys(commented, "video_id", MAX_COMMENTS):
        is_known = NotNull("comment_sentiment")  # type: ignore[call-arg, arg-type]
        comments = lake.scan("interactions", And(until, is_known, videos.filter()), columns)
        for name, day in days.items():
            parts[name].append(_mean_sentiments(comments.filter(pc.less_equal(comments["day"], day))))
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def _mean_sentiments(comments: pa.Table) -> pa.Table:
    # A mean depends on the order of its terms, and a scan returns rows in any order.
    ordered = comments.sort_by([("video_id", "ascending"), ("comment_sentiment", "ascending")])
    return ordered.group_by("video_id", use_threads=False).aggregate(
        [("comment_sentiment", "mean"), ("comment_sentiment", "count")]
    )
