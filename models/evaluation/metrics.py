"""Metrics of rankings, recommendations and probabilities, and their confidence intervals."""

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ndcg(rank_P: NDArray[Any], user_P: NDArray[np.int64], num_users: int, k: int) -> Floats:
    """Return NDCG@k of each user. NaN for a user without targets.

    Args:
        rank_P: Rank of each target.
        user_P: Position of its user, from 0.
        num_users: Number of users.
        k: The cut-off.
    """
    gain_P = np.where(rank_P <= k, 1 / np.log2(rank_P + 1.0), 0.0)
    num_positives_B = np.bincount(user_P, minlength=num_users)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(k) + 2.0))])
    return _safe_divide(np.bincount(user_P, gain_P, num_users), ideal[np.minimum(num_positives_B, k)])


def recall(rank_P: NDArray[Any], user_P: NDArray[np.int64], num_users: int, k: int) -> Floats:
    """Return the share of each user's targets among the first k. NaN for a user without targets."""
    hits_B = np.bincount(user_P, (rank_P <= k).astype(float), num_users)
    return _safe_divide(hits_B, np.bincount(user_P, minlength=num_users).astype(float))


def mrr(rank_P: NDArray[Any], user_P: NDArray[np.int64], num_users: int, k: int) -> Floats:
    """Return 1 / rank of each user's best target, 0 beyond k. NaN for a user without targets."""
    best_B = np.zeros(num_users)
    np.maximum.at(best_B, user_P, np.where(rank_P <= k, 1.0 / rank_P, 0.0))
    return np.where(np.bincount(user_P, minlength=num_users) > 0, best_B, np.nan)


def _safe_divide(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


def coverage(row_N: NDArray[np.int64], num_videos: int) -> float:
    """Return the share of the catalogue among N recommendations."""
    return len(np.unique(row_N)) / num_videos


def gini(row_N: NDArray[np.int64], num_videos: int) -> float:
    """Return the Gini coefficient of how often each video was recommended.

    0 means all videos equally often. Near 1 means always the same few.
    """
    count_V = np.sort(np.bincount(row_N, minlength=num_videos)).astype(float)
    rank_V = np.arange(1, num_videos + 1)
    return float(((2 * rank_V - num_videos - 1) * count_V).sum() / (num_videos * count_V.sum()))


def subset_share(row_N: NDArray[np.int64], in_subset_V: NDArray[np.bool_]) -> float:
    """Return the share of N recommendations that are in the subset."""
    return float(in_subset_V[row_N].mean())


def auc(p_N: Floats, label_N: NDArray[np.bool_]) -> float | None:
    """Return the probability that a positive scores higher than a negative. Ties count half.

    None if there are only positives or only negatives.
    """
    num_positives, num_negatives = int(label_N.sum()), int((~label_N).sum())
    if not num_positives or not num_negatives:
        return None
    _, inverse_N, count = np.unique(p_N, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    return float(
        (mean_rank[inverse_N][label_N].sum() - num_positives * (num_positives + 1) / 2)
        / (num_positives * num_negatives)
    )


def gauc(p_N: Floats, label_N: NDArray[np.bool_], user_N: NDArray[np.int64]) -> float | None:
    """Return the mean AUC within users, weighted by their interactions.

    Only users with positives and negatives count. None without such a user. AUC over all users also rewards
    knowing which users like much. gAUC measures only the order within a user (DIN, KDD 2018).
    """
    auc_B, num_interactions_B = auc_by_user(p_N, label_N, user_N)
    is_defined_B = ~np.isnan(auc_B)
    if not is_defined_B.any():
        return None
    return float(np.average(auc_B[is_defined_B], weights=num_interactions_B[is_defined_B]))


def auc_by_user(
    p_N: Floats, label_N: NDArray[np.bool_], user_N: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.int64]]:
    """Return the AUC and the number of interactions of each user, by ascending user.

    The AUC is NaN if there are only positives or only negatives.
    """
    _, row_N, count_B = np.unique(user_N, return_inverse=True, return_counts=True)
    order_N = np.lexsort((p_N, row_N))
    row_N, p_N, label_N = row_N[order_N], p_N[order_N], label_N[order_N]
    is_first_N = np.append(True, (np.diff(row_N) != 0) | (np.diff(p_N) != 0))[: len(p_N)]
    tie_N = np.cumsum(is_first_N) - 1  # groups of equal p of a user
    num_tied = np.bincount(tie_N)
    mean_rank = np.cumsum(num_tied) - (num_tied - 1) / 2  # of a group, among all users
    rank_N = mean_rank[tie_N] - (np.cumsum(count_B) - count_B)[row_N]
    num_positives_B = np.bincount(row_N, label_N, len(count_B))
    above_B = np.bincount(row_N, rank_N * label_N, len(count_B)) - num_positives_B * (num_positives_B + 1) / 2
    return _safe_divide(above_B, num_positives_B * (count_B - num_positives_B)), count_B


def f1(p_N: Floats, label_N: NDArray[np.bool_]) -> float | None:
    """Return F1 of p ≥ 0.5. None if nothing is positive and nothing is predicted as positive."""
    predicted_N = p_N >= 0.5
    denominator = int(predicted_N.sum()) + int(label_N.sum())
    return 2 * int((predicted_N & label_N).sum()) / denominator if denominator else None


def log_loss(p_N: Floats, label_N: NDArray[np.bool_]) -> float | None:
    """Return the mean −log of the probability of what happened. None without labels."""
    if not len(p_N):
        return None
    p_N = np.clip(p_N, 1e-7, 1 - 1e-7)
    return float(-np.where(label_N, np.log(p_N), np.log1p(-p_N)).mean())


def calibration_error(p_N: Floats, label_N: NDArray[np.bool_], bins: int = 10) -> float | None:
    """Return the expected calibration error: mean |predicted − observed| over bins, weighted by size.

    The bins have equal width. None without labels.
    """
    if not len(p_N):
        return None
    gap = np.bincount(_probability_bins(p_N, bins), p_N - label_N, bins)
    return float(np.abs(gap).sum() / len(p_N))


def calibration_curve(p_N: Floats, label_N: NDArray[np.bool_], bins: int = 10) -> list[dict[str, float]]:
    """Return predicted rate, observed rate and size of each bin of `calibration_error` that is not empty."""
    bin_N = _probability_bins(p_N, bins)
    count = np.bincount(bin_N, minlength=bins)
    predicted, observed = (np.bincount(bin_N, x_N, bins) / np.maximum(count, 1) for x_N in (p_N, label_N))
    return [
        {"predicted": float(p), "observed": float(o), "num_interactions": int(n)}
        for p, o, n in zip(predicted, observed, count, strict=True)
        if n
    ]


def _probability_bins(p_N: Floats, bins: int) -> NDArray[np.int_]:
    """Return the bin of each probability. The bins have equal width."""
    return np.minimum((p_N * bins).astype(int), bins - 1)


def paired_bootstrap(
    differences: Floats, num_samples: int, seed: int, confidence: float = 0.95
) -> dict[str, float | None]:
    """Return the mean paired difference with its percentile bootstrap interval.

    Users are drawn with replacement. Seeds are, too, if there are several. So the interval also covers
    training with another seed. It treats the few seeds as all seeds. With three seeds it is somewhat too
    narrow.

    If an end is rarer than one of the samples, no percentile can show it. Then the interval is that of a
    normal distribution with the standard deviation of the samples.

    Args:
        differences: [B], or [R, B] with a row for each seed.
        num_samples: Number of bootstrap samples.
        seed: Seed of the bootstrap.
        confidence: How often such an interval contains the true difference.

    Returns:
        mean, low, high and num_users. low and high are None with fewer than two users.
    """
    difference_RB = np.atleast_2d(differences)
    num_seeds, num_users = difference_RB.shape
    if num_users < 2:
        mean = float(difference_RB.mean()) if num_users else None
        return {"mean": mean, "low": None, "high": None, "num_users": num_users}
    generator = np.random.default_rng(seed)
    mean_X = np.empty(num_samples)
    for sample in range(num_samples):
        mean_B = difference_RB[generator.integers(0, num_seeds, num_seeds)].mean(0)
        mean_X[sample] = mean_B[generator.integers(0, num_users, num_users)].mean()
    mean, tail = float(difference_RB.mean()), (1 - confidence) / 2
    if tail * num_samples < 1:
        low, high = (mean + sign * NormalDist().inv_cdf(1 - tail) * mean_X.std() for sign in (-1, 1))
    else:
        low, high = np.quantile(mean_X, [tail, (1 + confidence) / 2])
    return {
        "mean": mean,
        "low": float(low),
        "high": float(high),
        "num_users": num_users,
    }


def classify_difference(interval: Mapping[str, float | None]) -> str:
    """Return "better", "worse", "not significant" or "too few users" for a paired interval."""
    low, high = interval["low"], interval["high"]
    if low is None or high is None:
        return "too few users"
    return "better" if low > 0 else "worse" if high < 0 else "not significant"
