"""Item features: numbers of a video that the ranking heads may read in addition to its embedding."""

from collections.abc import Mapping
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from lake.client import Lake, up_to_day


def comment_features(lake: Lake, video_ids: pa.ChunkedArray, until: date) -> dict[str, pa.Array]:
    """Compute the mean comment sentiment and the number of commented interactions of each video.

    Only interactions up to the day `until` with a known sentiment count.

    Returns:
        `comment_sentiment` (null without comments) and `comments`, in the order of `video_ids`.
    """
    comments = lake.scan("interactions", up_to_day(until), ("video_id", "comment_sentiment"))
    # A mean depends on the order of its terms, and a scan returns rows in any order.
    comments = comments.filter(pc.is_valid(comments["comment_sentiment"])).sort_by(
        [("video_id", "ascending"), ("comment_sentiment", "ascending")]
    )
    grouped = comments.group_by("video_id", use_threads=False)
    statistics = grouped.aggregate([("comment_sentiment", "mean"), ("comment_sentiment", "count")])
    position = pc.index_in(video_ids, statistics["video_id"].combine_chunks())
    return {
        "comment_sentiment": statistics["comment_sentiment_mean"].take(position),
        "comments": pc.fill_null(statistics["comment_sentiment_count"].take(position), 0),
    }


def add_columns(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Return the table with these columns appended."""
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table
