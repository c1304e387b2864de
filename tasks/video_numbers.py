"""What is known of each video beside its content, as numbers that the ranking heads may read."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.lake import Lake, up_to
from contracts.tables import SYNCHRONY, WHOLE_VIDEO

SYNCHRONY_COLUMNS = ("synchrony", "best_synchrony", "sync_delay_ms")  # in the order of the stored vector


def comment_numbers(lake: Lake, videos: pa.ChunkedArray, until: date) -> dict[str, pa.Array]:
    """By video id: the mean sentiment of the viewings commented on up to `until`, and how many they are.

    Only comments of known sentiment count.
    """
    said = lake.scan("interactions", up_to(until), ("video_id", "comment_sentiment"))
    # Sorted, because a mean depends on the order of its terms and a scan has none.
    said = said.filter(pc.is_valid(said["comment_sentiment"])).sort_by(
        [("video_id", "ascending"), ("comment_sentiment", "ascending")]
    )
    grouped = said.group_by("video_id", use_threads=False)
    found = grouped.aggregate([("comment_sentiment", "mean"), ("comment_sentiment", "count")])
    place = pc.index_in(videos, found["video_id"].combine_chunks())
    return {
        "comment_sentiment": found["comment_sentiment_mean"].take(place),
        "comments": pc.fill_null(found["comment_sentiment_count"].take(place), 0),
    }


def synchrony_numbers(lake: Lake, videos: pa.ChunkedArray, fingerprint: str | None) -> dict[str, pa.Array]:
    """By video id: the figures of `media.clip.Synchrony`, null where unknown (without a fingerprint: all)."""
    figures_V3 = np.full((len(videos), len(SYNCHRONY_COLUMNS)), np.nan)
    if fingerprint is not None:
        where = f"fingerprint = '{fingerprint}' and modality = '{SYNCHRONY}' and segment = {WHOLE_VIDEO}"
        found = lake.scan("features", where, ("video_id", "vector"))
        place = pc.index_in(found["video_id"], videos.combine_chunks())
        mine = found.append_column("place", place).filter(pc.is_valid(place))
        if mine.num_rows:
            figures_V3[mine["place"].to_numpy()] = np.stack(mine["vector"].to_numpy())
    return {
        name: pa.array(column, pa.float64(), from_pandas=True)
        for name, column in zip(SYNCHRONY_COLUMNS, figures_V3.T, strict=True)
    }


def add_columns(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """The table with these columns at its end."""
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table
