"""Metrics equal naive references and independent libraries (ir_measures, scikit-learn)."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, Qrel, R, ScoredDoc, calc_aggregate, nDCG
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.metrics import log_loss as sk_log_loss

from models.evaluation import metrics
from models.evaluation.metrics import (
    auc,
    calibration_error,
    classify_difference,
    coverage,
    f1,
    gauc,
    gini,
    log_loss,
    mrr,
    ndcg,
    paired_bootstrap,
    recall,
    subset_share,
)

CUTOFFS = (5, 10, 20)
cases = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=12, unique=True)


@given(cases, st.integers(1, 10), st.randoms())
def test_accuracy_metrics_equal_a_naive_reference(pairs: list, k: int, shuffle) -> None:  # type: ignore[no-untyped-def]
    for user in range(5):
        user_ranks = sorted(rank for u, rank in pairs if u == user)
        hits = [rank for rank in user_ranks if rank <= k]
        ideal = sum(1 / math.log2(i + 2) for i in range(min(k, len(user_ranks))))
        expected = (
            (
                sum(1 / math.log2(r + 1) for r in hits) / ideal,
                len(hits) / len(user_ranks),
                1 / hits[0] if hits else 0,
            )
            if user_ranks
            else (math.nan,) * 3
        )
        shuffle.shuffle(pairs)
        user_P, rank_P = np.array([u for u, _ in pairs]), np.array([r for _, r in pairs])
        result = [float(metric(rank_P, user_P, 5, k)[user]) for metric in (ndcg, recall, mrr)]
        assert result == pytest.approx(expected, nan_ok=True)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 6), st.integers(2, 40), st.integers(0, 2**32))
def test_accuracy_metrics_equal_ir_measures(users: int, videos: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    score_BV = generator.permuted(np.tile(np.arange(videos, dtype=float), (users, 1)), axis=1)
    positive_BV = generator.random((users, videos)) < generator.uniform(0.05, 0.6)
    positive_BV[:, 0] = True
    user_P, row_P = np.nonzero(positive_BV)
    rank_P = videos - score_BV[user_P, row_P].astype(int)
    qrels = [Qrel(str(user), str(row), 1) for user, row in zip(user_P, row_P, strict=True)]
    run = [ScoredDoc(str(u), str(v), float(score_BV[u, v])) for u in range(users) for v in range(videos)]
    reference = calc_aggregate([m @ k for k in CUTOFFS for m in (nDCG, R, RR)], qrels, run)
    for k in CUTOFFS:
        for measure, name in ((ndcg, nDCG), (recall, R), (mrr, RR)):
            assert measure(rank_P, user_P, users, k).mean() == pytest.approx(reference[name @ k])


labelled = st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=2, max_size=40)


@given(labelled)
def test_classification_metrics_equal_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    p_N, label_N = np.array([p for p, _ in rows]), np.array([y for _, y in rows])
    assert log_loss(p_N, label_N) == pytest.approx(sk_log_loss(label_N, p_N, labels=[False, True]))
    if label_N.any() and not label_N.all():
        assert auc(p_N, label_N) == pytest.approx(roc_auc_score(label_N, p_N))
    else:
        assert auc(p_N, label_N) is None
    if label_N.any() or (p_N >= 0.5).any():
        assert f1(p_N, label_N) == pytest.approx(f1_score(label_N, p_N >= 0.5, zero_division=0))


@given(labelled, st.integers(1, 4), st.integers(0, 99))
def test_gauc_equals_the_weighted_auc_of_scikit_learn(
    rows: list[tuple[float, bool]], users: int, seed: int
) -> None:
    p_N, label_N = np.array([p for p, _ in rows]), np.array([y for _, y in rows])
    user_N = np.random.default_rng(seed).integers(0, users, len(rows))
    is_user = [user_N == user for user in range(users)]
    both = [m for m in is_user if label_N[m].any() and not label_N[m].all()]
    result = gauc(p_N, label_N, user_N)
    if both:
        each = [roc_auc_score(label_N[m], p_N[m]) for m in both]
        assert result == pytest.approx(np.average(each, weights=[m.sum() for m in both]))
    else:
        assert result is None


@settings(deadline=None)
@given(labelled)
def test_calibration_error_equals_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    p_N, label_N = np.array([p for p, _ in rows]), np.array([y for _, y in rows])
    observed, predicted = calibration_curve(label_N, p_N, n_bins=10)
    # scikit-learn puts a probability on an edge into the lower bin, we into the upper one
    if not (np.isin(np.round(p_N * 10, 9), range(11))).any():
        size = np.bincount((p_N * 10).astype(int), minlength=10)
        expected = np.average(np.abs(observed - predicted), weights=size[size > 0])
        assert calibration_error(p_N, label_N) == pytest.approx(expected)
        curve = metrics.calibration_curve(p_N, label_N)
        assert [row["observed"] for row in curve] == pytest.approx(observed)
        assert [row["predicted"] for row in curve] == pytest.approx(predicted)
        assert [row["num_interactions"] for row in curve] == size[size > 0].tolist()


def test_calibration_error_is_the_gap_to_the_observed_rate() -> None:
    label_N = np.array([True, False, False, False])
    assert calibration_error(np.full(4, 0.25), label_N) == pytest.approx(0.0)
    assert calibration_error(np.full(4, 0.85), label_N) == pytest.approx(0.6)
    assert calibration_error(np.array([0.95, 0.05, 0.05, 0.05]), label_N) == pytest.approx(0.05)
    assert calibration_error(np.array([]), np.array([], bool)) is None


def test_coverage_and_gini_measure_concentration() -> None:
    assert coverage(np.array([0, 0, 3]), 10) == pytest.approx(0.2)
    assert gini(np.arange(10), 10) == pytest.approx(0.0)
    assert gini(np.zeros(50, int), 10) == pytest.approx(0.9)
    assert subset_share(np.array([0, 0, 3, 4]), np.arange(10) > 2) == pytest.approx(0.5)


def test_bootstrap_intervals_have_their_nominal_coverage() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        interval = paired_bootstrap(generator.normal(0.3, 1.0, 80), 300, seed)
        assert interval["low"] < interval["mean"] < interval["high"]  # type: ignore[operator]
        covered += interval["low"] <= 0.3 <= interval["high"]  # type: ignore[operator]
    assert 85 <= covered <= 100


def test_bootstrap_is_deterministic_and_undefined_for_one_user() -> None:
    values = np.random.default_rng(1).normal(size=30)
    assert paired_bootstrap(values, 100, 7) == paired_bootstrap(values, 100, 7)
    assert paired_bootstrap(values, 100, 7) != paired_bootstrap(values, 100, 8)
    assert paired_bootstrap(np.array([0.5]), 100, 7) == {
        "mean": 0.5,
        "low": None,
        "high": None,
        "num_users": 1,
    }


def test_higher_confidence_gives_a_wider_interval() -> None:
    values = np.random.default_rng(1).normal(size=60)
    usual, wide = paired_bootstrap(values, 1000, 7), paired_bootstrap(values, 1000, 7, confidence=0.998)
    assert wide["mean"] == usual["mean"]
    assert wide["low"] < usual["low"] < usual["high"] < wide["high"]  # type: ignore[operator]


def test_an_interval_beyond_the_resolution_of_the_samples_is_normal() -> None:
    """With 100 samples, no percentile reaches 4.9 standard errors, which this confidence needs."""
    values = np.random.default_rng(1).normal(size=60)
    interval = paired_bootstrap(values, 100, 7, confidence=1 - 1e-6)
    assert width(interval) == pytest.approx(2 * 4.89 * values.std() / 60**0.5, rel=0.25)
    assert interval["low"] + interval["high"] == pytest.approx(2 * interval["mean"])


def width(interval: dict) -> float:
    return interval["high"] - interval["low"]


def test_disagreeing_seeds_widen_the_interval() -> None:
    generator = np.random.default_rng(2)
    difference_B = generator.normal(0.2, 0.1, 200)
    alone = paired_bootstrap(difference_B, 1000, 1)
    copies = paired_bootstrap(np.stack([difference_B] * 3), 1000, 1)
    seeds = paired_bootstrap(difference_B + np.array([[-0.3], [0.0], [0.3]]), 1000, 1)
    assert width(copies) == pytest.approx(width(alone), rel=0.2)
    assert width(seeds) > 5 * width(alone)
    assert seeds["mean"] == pytest.approx(difference_B.mean())
    assert (classify_difference(alone), classify_difference(seeds)) == ("better", "not significant")


def test_an_interval_over_users_and_seeds_covers_seed_variance() -> None:
    """The true difference is 0. Seeds vary as much as the mean over users does."""
    generator = np.random.default_rng(3)
    covered = {"both": 0, "users": 0}
    for seed in range(100):
        difference_SB = generator.normal(0, 0.1, (8, 1)) + generator.normal(0, 1.0, (8, 100))
        for name, values in (("both", difference_SB), ("users", difference_SB.mean(0))):
            interval = paired_bootstrap(values, 200, seed)
            covered[name] += interval["low"] <= 0 <= interval["high"]  # type: ignore[operator]
    assert covered["both"] >= 85
    assert covered["both"] > covered["users"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 0.2, "better"),
        (-0.2, -0.1, "worse"),
        (-0.1, 0.1, "not significant"),
        (0.0, 0.1, "not significant"),
    ],
)
def test_an_interval_that_holds_0_is_not_significant(low: float, high: float, expected: str) -> None:
    assert classify_difference({"mean": 0.0, "low": low, "high": high}) == expected
    assert classify_difference({"mean": 0.0, "low": None, "high": None}) == "too few users"


def test_the_bootstrap_takes_memory_for_the_users_and_not_for_each_sample() -> None:
    difference_B = np.random.default_rng(1).normal(size=20_000)
    tracemalloc.start()
    paired_bootstrap(difference_B, 100, 7)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8 * difference_B.nbytes
