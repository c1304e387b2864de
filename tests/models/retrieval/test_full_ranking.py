"""Ranks by counting equal ranks by sorting."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.retrieval.full_ranking import target_ranks, top_k
from tests.support.torch_operations import TorchOperations

VIDEOS = 7
scores = hnp.arrays(
    np.float32, (3, VIDEOS), elements=st.sampled_from([-2.0, -0.0, 0.0, 0.5, 0.5000001, 3.0, -np.inf])
)


def by_sorting(score_V: np.ndarray) -> list[int]:
    """Return the rows from best to worst, ties by row."""
    return sorted(range(len(score_V)), key=lambda row: (-score_V[row], row))


@settings(max_examples=60)
@given(scores)
def test_target_ranks_equal_sorting(score_BV: np.ndarray) -> None:
    user_P, row_P = np.nonzero(np.isfinite(score_BV))
    if len(user_P):
        result = target_ranks(torch.from_numpy(score_BV), torch.from_numpy(user_P), torch.from_numpy(row_P))
        expected = [by_sorting(score_BV[u]).index(v) + 1 for u, v in zip(user_P, row_P, strict=True)]
        assert result.tolist() == expected


def test_equal_scores_are_counted_together_and_not_one_target_at_a_time() -> None:
    """Popularity gives most videos equal scores."""
    counts = []
    for num_targets in (4, 64):
        user_P, row_P = torch.zeros(num_targets, dtype=torch.long), torch.arange(num_targets)
        with TorchOperations() as operations:
            assert target_ranks(torch.zeros(1, 64), user_P, row_P).tolist() == [*range(1, num_targets + 1)]
        counts.append(operations.count)
    assert counts[0] == counts[1]


@settings(max_examples=60)
@given(scores, st.integers(1, VIDEOS + 2))
def test_top_k_equals_sorting_with_ties_by_row(score_BV: np.ndarray, k: int) -> None:
    result = top_k(torch.from_numpy(score_BV), k)
    assert result.tolist() == [by_sorting(score_V)[:k] for score_V in score_BV]


def test_masked_targets_and_nan_scores_are_refused() -> None:
    zero = torch.tensor([0])
    with pytest.raises(ValueError, match="a target is among the masked videos"):
        target_ranks(torch.tensor([[-torch.inf, 1.0]]), zero, zero)
    with pytest.raises(FloatingPointError, match="a score is NaN"):
        target_ranks(torch.tensor([[1.0, torch.nan]]), zero, zero)
