from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.retrieval import oracle, recall


def test_recall_counts_the_videos_that_are_nearer_than_a_query_s_own() -> None:
    """The first finds its own at once, the second behind one other; two of three are of one subject."""
    query_VD = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    answer_VD = np.array([[0.9, 0.6, 0], [0.1, 0.5, 0], [0, 0.2, 1.0]])
    alike_VV = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    found = recall(query_VD, answer_VD, alike_VV)
    assert found["recall@1"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["recall@10"] == 1
    assert found["same_subject@1"] == pytest.approx(2 / 3, abs=1e-3)


@given(st.integers(0, 1000))
def test_with_random_vectors_recall_is_chance(seed: int) -> None:
    random = np.random.default_rng(seed)
    query_VD, answer_VD = random.normal(size=(2, 400, 8))
    found = recall(query_VD, answer_VD, np.eye(400, dtype=bool))
    assert found["recall@10"] == pytest.approx(10 / 400, abs=0.05)


def test_the_oracle_s_recall_is_what_its_ranking_gives_on_average(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    text, visual = random.integers(4, size=(2, 30))
    ids = [f"v{number}" for number in range(30)]
    pq.write_table(pa.table({"video_id": ids, "text": text, "visual": visual}), tmp_path / "videos.parquet")
    expected = oracle(tmp_path, [{"video_id": video} for video in ids], "text", "visual")
    hits = {1: 0, 10: 0}
    for _ in range(2000):
        score_VV = (text[:, None] == visual) + random.random((30, 30))
        rank_V = (score_VV > score_VV.diagonal()[:, None]).sum(1)
        for k in hits:
            hits[k] += int((rank_V < k).sum())
    for k, count in hits.items():
        assert expected[f"recall@{k}"] == pytest.approx(count / 60_000, abs=0.01)
