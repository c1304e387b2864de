import numpy as np
import polars as pl
import pyarrow as pa

from features.catalogue_vectors import _place_vectors


def test_a_batch_without_videos_of_the_catalogue_changes_nothing():
    batches = [
        pl.DataFrame({"video_id": ["b"], "vector": [[1.0, 2.0]]}),
        pl.DataFrame({"video_id": ["other"], "vector": [[3.0, 4.0]]}),
    ]

    placed = _place_vectors("visual", batches, pa.chunked_array([["a", "b"]]))

    assert placed.mask_V.tolist() == [False, True]
    assert np.array_equal(placed.x_VF, np.array([[0, 0], [1, 2]], np.float32))
