"""Item features: numbers of a video that the ranking heads may read in addition to its embedding."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.tables import SYNCHRONY, WHOLE_VIDEO
from lake.client import Lake, up_to_day

SYNCHRONY_COLUMNS = ("synchrony", "best_synchrony", "sync_delay_ms")  # order of the stored vector


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


def synchrony_features(
    lake: Lake, video_ids: pa.ChunkedArray, fingerprint: str | None
) -> dict[str, pa.Array]:
    """Read the values of `media.clip.Synchrony` of each video.

    Args:
        lake: The lake.
        video_ids: The videos.
        fingerprint: Fingerprint of the method. Without it, all values are null.

    Returns:
        One column for each of SYNCHRONY_COLUMNS, in the order of `video_ids`. Unknown values are null.
    """
    synchrony_V3 = np.full((len(video_ids), len(SYNCHRONY_COLUMNS)), np.nan)
    if fingerprint is not None:
        where = f"fingerprint = '{fingerprint}' and modality = '{SYNCHRONY}' and segment = {WHOLE_VIDEO}"
        stored = lake.scan("features", where, ("video_id", "vector"))
        position = pc.index_in(stored["video_id"], video_ids.combine_chunks())
        matched = stored.append_column("row", position).filter(pc.is_valid(position))
        if matched.num_rows:
            synchrony_V3[matched["row"].to_numpy()] = np.stack(matched["vector"].to_numpy())
    return {
        name: pa.array(column, pa.float64(), from_pandas=True)
        for name, column in zip(SYNCHRONY_COLUMNS, synchrony_V3.T, strict=True)
    }


def add_columns(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Return the table with these columns appended."""
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table
