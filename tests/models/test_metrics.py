"""Metrics against naive references and independent libraries (ir_measures, scikit-learn)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, Qrel, R, ScoredDoc, calc_aggregate, nDCG
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.metrics import log_loss as sk_log_loss

from models.metrics import (
    auc,
    bootstrap,
    calibration_error,
    coverage,
    f1,
    gauc,
    gini,
    log_loss,
    meaning,
    mrr,
    ndcg,
    recall,
    share,
)

CUTOFFS = (5, 10, 20)
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


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 6), st.integers(2, 40), st.integers(0, 2**32))
def test_accuracy_equals_that_of_an_independent_library(users: int, videos: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    score_BV = draw.permuted(np.tile(np.arange(videos, dtype=float), (users, 1)), axis=1)
    liked_BV = draw.random((users, videos)) < draw.uniform(0.05, 0.6)
    liked_BV[:, 0] = True
    user_P, row_P = np.nonzero(liked_BV)
    rank_P = videos - score_BV[user_P, row_P].astype(int)
    qrels = [Qrel(str(user), str(row), 1) for user, row in zip(user_P, row_P, strict=True)]
    run = [ScoredDoc(str(u), str(v), float(score_BV[u, v])) for u in range(users) for v in range(videos)]
    theirs = calc_aggregate([m @ k for k in CUTOFFS for m in (nDCG, R, RR)], qrels, run)
    for k in CUTOFFS:
        for measure, name in ((ndcg, nDCG), (recall, R), (mrr, RR)):
            assert measure(rank_P, user_P, users, k).mean() == pytest.approx(theirs[name @ k])


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


@given(labelled, st.integers(1, 4), st.integers(0, 99))
def test_auc_within_people_equals_scikit_learns_weighted_by_viewings(
    rows: list[tuple[float, bool]], users: int, seed: int
) -> None:
    p_N, label_N = np.array([p for p, _ in rows]), np.array([y for _, y in rows])
    user_N = np.random.default_rng(seed).integers(0, users, len(rows))
    mine = [user_N == user for user in range(users)]
    both = [m for m in mine if label_N[m].any() and not label_N[m].all()]
    found = gauc(p_N, label_N, user_N)
    if both:
        each = [roc_auc_score(label_N[m], p_N[m]) for m in both]
        assert found == pytest.approx(np.average(each, weights=[m.sum() for m in both]))
    else:
        assert found is None


@settings(deadline=None)
@given(labelled)
def test_calibration_error_equals_scikit_learns_curve(rows: list[tuple[float, bool]]) -> None:
    p_N, label_N = np.array([p for p, _ in rows]), np.array([y for _, y in rows])
    happened, said = calibration_curve(label_N, p_N, n_bins=10)
    # scikit-learn puts a probability on an edge into the bin below, we into the one above
    if not (np.isin(np.round(p_N * 10, 9), range(11))).any():
        size = np.bincount((p_N * 10).astype(int), minlength=10)
        expected = np.average(np.abs(happened - said), weights=size[size > 0])
        assert calibration_error(p_N, label_N) == pytest.approx(expected)


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
    assert share(np.array([0, 0, 3, 4]), np.arange(10) > 2) == pytest.approx(0.5)


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


def test_a_wider_level_gives_a_wider_interval_around_the_same_mean() -> None:
    values = np.random.default_rng(1).normal(size=60)
    usual, wide = bootstrap(values, 1000, 7), bootstrap(values, 1000, 7, level=0.998)
    assert wide["mean"] == usual["mean"]
    assert wide["low"] < usual["low"] < usual["high"] < wide["high"]  # type: ignore[operator]


def width(interval: dict) -> float:
    return interval["high"] - interval["low"]


def test_seeds_that_disagree_widen_the_interval_and_copies_of_one_seed_do_not() -> None:
    draw = np.random.default_rng(2)
    people_B = draw.normal(0.2, 0.1, 200)
    alone, copies = bootstrap(people_B, 1000, 1), bootstrap(np.stack([people_B] * 3), 1000, 1)
    seeds = bootstrap(people_B + np.array([[-0.3], [0.0], [0.3]]), 1000, 1)
    assert width(copies) == pytest.approx(width(alone), rel=0.2)
    assert width(seeds) > 5 * width(alone)
    assert seeds["mean"] == pytest.approx(people_B.mean())
    assert (meaning(alone), meaning(seeds)) == ("better", "no difference")


def test_an_interval_over_people_and_seeds_covers_where_people_alone_do_not() -> None:
    """With a seed's own shift as large as the people's: the truth is 0."""
    draw = np.random.default_rng(3)
    covered = {"both": 0, "people": 0}
    for seed in range(100):
        gap_SB = draw.normal(0, 0.1, (8, 1)) + draw.normal(0, 1.0, (8, 100))
        for name, values in (("both", gap_SB), ("people", gap_SB.mean(0))):
            found = bootstrap(values, 200, seed)
            covered[name] += found["low"] <= 0 <= found["high"]  # type: ignore[operator]
    assert covered["both"] >= 85
    assert covered["both"] > covered["people"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 0.2, "better"), (-0.2, -0.1, "worse"), (-0.1, 0.1, "no difference"), (0.0, 0.1, "no difference")],
)
def test_an_interval_that_holds_0_is_no_difference(low: float, high: float, said: str) -> None:
    assert meaning({"mean": 0.0, "low": low, "high": high}) == said
    assert meaning({"mean": 0.0, "low": None, "high": None}) == "too few people"
