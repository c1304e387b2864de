from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.retrieval import compute_recall, expected_oracle_recall


def test_recall_counts_the_videos_ranked_above_the_target() -> None:
    """The first query ranks its video first, the second one second. Two of three videos share a topic."""
    query_VD = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    target_VD = np.array([[0.9, 0.6, 0], [0.1, 0.5, 0], [0, 0.2, 1.0]])
    same_topic_VV = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    metrics = compute_recall(query_VD, target_VD, same_topic_VV)
    assert metrics["recall@1"] == pytest.approx(2 / 3, abs=1e-3)
    assert metrics["recall@10"] == 1
    assert metrics["same_topic@1"] == pytest.approx(2 / 3, abs=1e-3)


@given(st.integers(0, 1000))
def test_with_random_vectors_recall_is_chance(seed: int) -> None:
    random = np.random.default_rng(seed)
    query_VD, target_VD = random.normal(size=(2, 400, 8))
    metrics = compute_recall(query_VD, target_VD, np.eye(400, dtype=bool))
    assert metrics["recall@10"] == pytest.approx(10 / 400, abs=0.05)


def test_oracle_recall_is_the_mean_over_random_ties(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    text, visual = random.integers(4, size=(2, 30))
    ids = [f"v{number}" for number in range(30)]
    pq.write_table(pa.table({"video_id": ids, "text": text, "visual": visual}), tmp_path / "videos.parquet")
    expected = expected_oracle_recall(tmp_path, [{"video_id": video} for video in ids], "text", "visual")
    hits = {1: 0, 10: 0}
    for _ in range(2000):
        score_VV = (text[:, None] == visual) + random.random((30, 30))
        rank_V = (score_VV > score_VV.diagonal()[:, None]).sum(1)
        for k in hits:
            hits[k] += int((rank_V < k).sum())
    for k, count in hits.items():
        assert expected[f"recall@{k}"] == pytest.approx(count / 60_000, abs=0.01)
