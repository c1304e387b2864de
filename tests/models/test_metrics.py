"""Metrics against naive references and an independent library."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.metrics import log_loss as sk_log_loss

from models.metrics import (
    auc,
    bootstrap,
    calibration_error,
    coverage,
    f1,
    gini,
    log_loss,
    mrr,
    ndcg,
    ranks,
    recall,
    top,
)

VIDEOS = 7
scores = hnp.arrays(
    np.float32, (3, VIDEOS), elements=st.sampled_from([-2.0, -0.0, 0.0, 0.5, 0.5000001, 3.0, -np.inf])
)


def by_sorting(score_V: np.ndarray) -> list[int]:
    """The rows from best to worst, ties by row."""
    return sorted(range(len(score_V)), key=lambda row: (-score_V[row], row))


@settings(max_examples=60)
@given(scores)
def test_counting_ranks_equals_sorting(score_BV: np.ndarray) -> None:
    user_P, row_P = np.nonzero(np.isfinite(score_BV))
    found = ranks(torch.from_numpy(score_BV), torch.from_numpy(user_P), torch.from_numpy(row_P))
    expected = [by_sorting(score_BV[u]).index(v) + 1 for u, v in zip(user_P, row_P, strict=True)]
    assert found.tolist() == expected


@settings(max_examples=60)
@given(scores, st.integers(1, VIDEOS + 2))
def test_the_top_equals_sorting_with_ties_by_row(score_BV: np.ndarray, k: int) -> None:
    found = top(torch.from_numpy(score_BV), k)
    assert found.tolist() == [by_sorting(score_V)[:k] for score_V in score_BV]


def test_a_masked_target_and_a_broken_score_are_refused() -> None:
    zero = torch.tensor([0])
    with pytest.raises(ValueError, match="a target is among the masked videos"):
        ranks(torch.tensor([[-torch.inf, 1.0]]), zero, zero)
    with pytest.raises(ValueError, match="not a number"):
        ranks(torch.tensor([[1.0, torch.nan]]), zero, zero)


cases = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=12, unique=True)


@given(cases, st.integers(1, 10), st.randoms())
def test_accuracy_equals_a_naive_reference_in_any_order(pairs: list, k: int, shuffle) -> None:  # type: ignore[no-untyped-def]
    for user in range(5):
        mine = sorted(rank for u, rank in pairs if u == user)
        hits = [rank for rank in mine if rank <= k]
        ideal = sum(1 / math.log2(i + 2) for i in range(min(k, len(mine))))
        expected = (
            (
                sum(1 / math.log2(r + 1) for r in hits) / ideal,
                len(hits) / len(mine),
                1 / hits[0] if hits else 0,
            )
            if mine
            else (math.nan,) * 3
        )
        shuffle.shuffle(pairs)
        user_P, rank_P = np.array([u for u, _ in pairs]), np.array([r for _, r in pairs])
        found = [float(metric(rank_P, user_P, 5, k)[user]) for metric in (ndcg, recall, mrr)]
        assert found == pytest.approx(expected, nan_ok=True)


labelled = st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=2, max_size=40)


@given(labelled)
def test_ranking_figures_equal_scikit_learns(rows: list[tuple[float, bool]]) -> None:
    p_N, label_N = np.array([p for p, _ in rows]), np.array([y for _, y in rows])
    assert log_loss(p_N, label_N) == pytest.approx(sk_log_loss(label_N, p_N, labels=[False, True]))
    if label_N.any() and not label_N.all():
        assert auc(p_N, label_N) == pytest.approx(roc_auc_score(label_N, p_N))
    else:
        assert auc(p_N, label_N) is None
    if label_N.any() or (p_N >= 0.5).any():
        assert f1(p_N, label_N) == pytest.approx(f1_score(label_N, p_N >= 0.5, zero_division=0))


def test_calibration_error_is_the_gap_between_what_was_said_and_what_happened() -> None:
    label_N = np.array([True, False, False, False])
    assert calibration_error(np.full(4, 0.25), label_N) == pytest.approx(0.0)
    assert calibration_error(np.full(4, 0.85), label_N) == pytest.approx(0.6)
    assert calibration_error(np.array([0.95, 0.05, 0.05, 0.05]), label_N) == pytest.approx(0.05)
    assert calibration_error(np.array([]), np.array([], bool)) is None


def test_coverage_and_gini_tell_a_spread_from_a_monoculture() -> None:
    assert coverage(np.array([0, 0, 3]), 10) == pytest.approx(0.2)
    assert gini(np.arange(10), 10) == pytest.approx(0.0)
    assert gini(np.zeros(50, int), 10) == pytest.approx(0.9)


def test_the_bootstrap_interval_holds_the_mean_and_covers_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        found = bootstrap(draw.normal(0.3, 1.0, 80), 300, seed)
        assert found["low"] < found["mean"] < found["high"]  # type: ignore[operator]
        covered += found["low"] <= 0.3 <= found["high"]  # type: ignore[operator]
    assert 85 <= covered <= 100


def test_the_bootstrap_repeats_and_says_nothing_of_a_single_user() -> None:
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap(values, 100, 7) == bootstrap(values, 100, 7)
    assert bootstrap(values, 100, 7) != bootstrap(values, 100, 8)
    assert bootstrap(np.array([0.5]), 100, 7) == {"mean": 0.5, "low": None, "high": None, "users": 1}
