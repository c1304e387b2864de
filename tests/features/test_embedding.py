from collections.abc import Sequence
from datetime import date

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from core.errors import InputError
from core.tables import FEATURES, WHOLE_VIDEO
from features.embedding import BatchEncoder, feature_rows, normalise
from models.encoders import Encoder

DAY = date(2026, 3, 5)


class Linear(Encoder):
    """Encodes lists of three numbers, and notes the size of each batch."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 4), torch.device("cpu"))
        self.sizes: list[int] = []

    def forward(self, batch: Sequence[Sequence[float]]) -> Tensor:
        self.sizes.append(len(batch))
        return self.model(torch.tensor(batch))


def test_a_batch_is_of_one_video_and_at_most_full() -> None:
    encoder = Linear()
    batches = BatchEncoder("visual", encoder.encode, 4)
    for number in range(3):
        for segment in range(2):
            batches.add(f"v{number}", segment, [[1.0, 2.0, float(number)]] * 3)
    batches.finish()
    assert encoder.sizes == [4, 2] * 3


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=20), st.integers(1, 7))
def test_a_segment_vector_is_the_mean_of_its_samples(pairs: list[tuple[int, int]], size: int) -> None:
    torch.manual_seed(0)
    encoder = Linear()
    batches, expected = BatchEncoder("visual", encoder.encode, size), {}
    for number, (video, segment) in enumerate(pairs):
        sample = [1.0, float(number), float(video)]
        batches.add(f"v{video}", segment, [sample])
        expected.setdefault((f"v{video}", segment), []).append(encoder.encode([sample])[0])
    result = batches.finish()
    assert {(v, s) for v, parts in result.items() for s in parts} == set(expected)
    for (video, segment), vectors in expected.items():
        assert result[video][segment] == pytest.approx(normalise(np.mean(vectors, axis=0)), abs=1e-5)


def test_finish_empties_the_encoder() -> None:
    batches = BatchEncoder("visual", Linear().encode, 4)
    batches.add("v1", 0, [[1.0, 2.0, 3.0]])
    assert list(batches.finish()) == ["v1"]
    assert batches.finish() == {}


def test_vectors_that_are_not_finite_are_refused() -> None:
    batches = BatchEncoder("audio", Linear().encode, 4)
    batches.add("v1", 0, [[float("nan"), 0.0, 0.0]])
    with pytest.raises(InputError, match=r"embed\.audio: .* not finite"):
        batches.finish()


def test_rows_hold_the_segments_and_their_mean() -> None:
    a, b = normalise(np.array([3.0, 4.0])), normalise(np.array([4.0, -3.0]))
    vectors = {
        "visual": {"v2": {0: a, 2: b}, "v1": {1: b}},
        "text": {"v1": {WHOLE_VIDEO: np.array([1.0, 0.0, 0.0])}},
    }
    sources = {("visual", "v1"): "a", ("visual", "v2"): "b", ("text", "v1"): "c"}
    table = feature_rows(vectors, {"visual": "eye", "text": "book"}, sources, 2.5, DAY)
    assert table.schema == FEATURES.schema
    result = table.to_pylist()
    assert [row["source"] for row in result] == list("caabbb")
    key = ("modality", "video_id", "segment", "start_ms", "fingerprint")
    assert [tuple(row[k] for k in key) for row in result] == [
        ("text", "v1", -1, 0, "book"),
        ("visual", "v1", -1, 0, "eye"),
        ("visual", "v1", 1, 2500, "eye"),
        ("visual", "v2", -1, 0, "eye"),
        ("visual", "v2", 0, 0, "eye"),
        ("visual", "v2", 2, 5000, "eye"),
    ]
    assert result[3]["vector"] == pytest.approx(normalise(a + b))
    assert result[4]["vector"] == pytest.approx(a)
    assert len(result[0]["vector"]) == 3
