"""The vectors of video segments in the snapshot."""

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from models.data.segment_grid import MAX_SEGMENTS, SEGMENT_MS_KEY
from snapshots.segments import segment_tensors

VIDEO_IDS = pa.chunked_array([["a", "b", "c"]])
ROWS = [("c", 1, 1.0), ("a", 0, 2.0), ("c", 0, 3.0), ("unknown", 0, 4.0), ("b", MAX_SEGMENTS, 5.0)]


def _tensors(batches: list[list[tuple[str, int, float]]]) -> dict[str, np.ndarray]:
    frames = [
        pl.DataFrame(
            {
                "video_id": [video for video, _, _ in batch],
                "segment": [segment for _, segment, _ in batch],
                "vector": [[value, -value] for _, _, value in batch],
            },
            {"video_id": pl.String, "segment": pl.Int32, "vector": pl.List(pl.Float32)},
        )
        for batch in batches
    ]
    return segment_tensors({"visual": iter(frames), "audio": iter(())}, VIDEO_IDS, 5000)


def test_vectors_are_of_known_videos_and_of_segments_that_the_model_reads():
    tensors = _tensors([ROWS])
    assert tensors.keys() == {SEGMENT_MS_KEY, "visual.segments", "visual.segment_rows"}
    assert tensors[SEGMENT_MS_KEY].tolist() == [5000]
    assert tensors["visual.segment_rows"].tolist() == [[0, 0], [2, 0], [2, 1]]
    assert tensors["visual.segments"].tolist() == [[2, -2], [3, -3], [1, -1]]


@given(st.permutations(ROWS), st.integers(0, len(ROWS)))
def test_the_order_of_rows_and_batches_changes_nothing(rows, cut):
    tensors, expected = _tensors([rows[:cut], rows[cut:]]), _tensors([ROWS])
    assert all(np.array_equal(tensors[name], value) for name, value in expected.items())
