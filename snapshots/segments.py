"""The vectors of video segments, as tensors of the snapshot (`models.data.segments.build_segment_table`)."""

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from models.data.segment_grid import MAX_SEGMENTS, SEGMENT_MS_KEY


def segment_tensors(
    vectors: Mapping[str, Iterable[pl.DataFrame]], video_ids: pa.ChunkedArray, segment_ms: int
) -> dict[str, np.ndarray]:
    """Return the vectors of the first `MAX_SEGMENTS` segments of each video, by video and segment.

    Args:
        vectors: Modality -> batches of `video_id`, `segment` and `vector`, in any order. Videos that are not
            in the catalogue are left out.
        video_ids: Of the catalogue.
        segment_ms: Length of a segment in milliseconds.

    Returns:
        `<modality>.segments` [N, F] and `<modality>.segment_rows` [N, 2], the catalogue row and the segment
        of each. Without modalities that have no vector. `SEGMENT_MS_KEY` holds the length of a segment.
    """
    row_of_video = pl.DataFrame({"video_id": video_ids}).with_row_index("row")
    is_read = pl.col("segment").is_between(0, MAX_SEGMENTS - 1)
    tensors = {SEGMENT_MS_KEY: np.array([segment_ms], np.int64)}
    for modality, batches in vectors.items():
        known = [batch.filter(is_read).join(row_of_video, on="video_id") for batch in batches]
        rows = pl.concat(known).sort("row", "segment") if known else pl.DataFrame()
        if len(rows):
            x_NF = rows["vector"].explode().to_numpy().reshape(len(rows), -1)
            rows_N2 = rows.select(pl.col("row", "segment").cast(pl.Int32)).to_numpy()
            tensors |= {
                f"{modality}.segments": np.ascontiguousarray(x_NF, np.float32),
                f"{modality}.segment_rows": np.ascontiguousarray(rows_N2),
            }
    return tensors
