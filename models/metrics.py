"""Measures: of places in the catalogue, of what was recommended, of probabilities, and how sure they are.

Legend: B users, P (user, target) pairs, N recommendations or labelled viewings, S seeds, V videos,
R bootstrap samples.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ndcg(rank_P: NDArray[Any], user_P: NDArray[np.int64], users: int, k: int) -> Floats:
    """NDCG@k per user (NaN for a user without targets); every target counts the same."""
    gain_P = np.where(rank_P <= k, 1 / np.log2(rank_P + 1.0), 0.0)
    count_B = np.bincount(user_P, minlength=users)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(k) + 2.0))])
    return _ratio(np.bincount(user_P, gain_P, users), ideal[np.minimum(count_B, k)])


def recall(rank_P: NDArray[Any], user_P: NDArray[np.int64], users: int, k: int) -> Floats:
    """Share of a user's targets among the first k (NaN for a user without targets)."""
    hits_B = np.bincount(user_P, (rank_P <= k).astype(float), users)
    return _ratio(hits_B, np.bincount(user_P, minlength=users).astype(float))


def mrr(rank_P: NDArray[Any], user_P: NDArray[np.int64], users: int, k: int) -> Floats:
    """1 / place of the user's best target, 0 beyond k (NaN for a user without targets)."""
    best_B = np.zeros(users)
    np.maximum.at(best_B, user_P, np.where(rank_P <= k, 1.0 / rank_P, 0.0))
    return np.where(np.bincount(user_P, minlength=users) > 0, best_B, np.nan)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def coverage(row_N: NDArray[np.int64], videos: int) -> float:
    """Share of the catalogue among N recommendations."""
    return len(np.unique(row_N)) / videos


def gini(row_N: NDArray[np.int64], videos: int) -> float:
    """Gini coefficient of how often each video was recommended: 0 all alike, near 1 always the same few."""
    count_V = np.sort(np.bincount(row_N, minlength=videos)).astype(float)
    rank_V = np.arange(1, videos + 1)
    return float(((2 * rank_V - videos - 1) * count_V).sum() / (videos * count_V.sum()))


def share(row_N: NDArray[np.int64], chosen_V: NDArray[np.bool_]) -> float:
    """Share of N recommendations that are of the chosen videos."""
    return float(chosen_V[row_N].mean())


def auc(p_N: Floats, label_N: NDArray[np.bool_]) -> float | None:
    """Probability that a positive scores above a negative, ties half; None without both kinds."""
    positives, negatives = int(label_N.sum()), int((~label_N).sum())
    if not positives or not negatives:
        return None
    _, inverse_N, count = np.unique(p_N, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    return float(
        (mean_rank[inverse_N][label_N].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def gauc(p_N: Floats, label_N: NDArray[np.bool_], user_N: NDArray[np.int64]) -> float | None:
    """Mean AUC of the users who have both kinds, weighted by their viewings; None without such a user.

    AUC over everybody also rewards knowing who likes much; this asks only for the order within a person
    (DIN, KDD 2018).
    """
    order_N = np.argsort(user_N, kind="stable")
    of_user = np.split(order_N, np.flatnonzero(np.diff(user_N[order_N])) + 1)
    found = [(auc(p_N[mine], label_N[mine]), len(mine)) for mine in of_user]
    known = np.array([pair for pair in found if pair[0] is not None], float)
    return float(np.average(known[:, 0], weights=known[:, 1])) if len(known) else None


def f1(p_N: Floats, label_N: NDArray[np.bool_]) -> float | None:
    """F1 of "at least even odds"; None when nothing is positive or called so."""
    called_N = p_N >= 0.5
    below = int(called_N.sum()) + int(label_N.sum())
    return 2 * int((called_N & label_N).sum()) / below if below else None


def log_loss(p_N: Floats, label_N: NDArray[np.bool_]) -> float | None:
    """Mean −log of the probability given to what happened; None without labels."""
    if not len(p_N):
        return None
    p_N = np.clip(p_N, 1e-7, 1 - 1e-7)
    return float(-np.where(label_N, np.log(p_N), np.log1p(-p_N)).mean())


def calibration_error(p_N: Floats, label_N: NDArray[np.bool_], bins: int = 10) -> float | None:
    """Expected calibration error: mean |predicted − happened| over equal-width bins, weighted by size."""
    if not len(p_N):
        return None
    bin_N = np.minimum((p_N * bins).astype(int), bins - 1)
    gap = np.bincount(bin_N, p_N - label_N, bins)
    return float(np.abs(gap).sum() / len(p_N))


def bootstrap(difference: Floats, samples: int, seed: int, level: float = 0.95) -> dict[str, float | None]:
    """Mean paired difference with its percentile bootstrap interval: mean, low, high, users.

    Users are drawn with replacement, each with the whole difference. Fewer than two users tell no interval:
    low and high are None.

    Args:
        difference: [B], or [S, B] with a row a seed: then the seeds are drawn with replacement too, so that
            the interval also tells how much training by another seed would change. It still takes the few
            seeds for all there are: with three it is somewhat too narrow.
        level: how often such an interval holds the truth.
    """
    difference_SB = np.atleast_2d(difference)
    seeds, users = difference_SB.shape
    if users < 2:
        mean = float(difference_SB.mean()) if users else None
        return {"mean": mean, "low": None, "high": None, "users": users}
    draw = np.random.default_rng(seed)
    mean_R = np.empty(samples)
    for sample in range(samples):
        mean_B = difference_SB[draw.integers(0, seeds, seeds)].mean(0)
        mean_R[sample] = mean_B[draw.integers(0, users, users)].mean()
    low, high = np.quantile(mean_R, [(1 - level) / 2, (1 + level) / 2])
    return {"mean": float(difference_SB.mean()), "low": float(low), "high": float(high), "users": users}


def meaning(interval: Mapping[str, float | None]) -> str:
    """What a paired interval says: an interval that holds 0 is no difference."""
    low, high = interval["low"], interval["high"]
    if low is None or high is None:
        return "too few people"
    return "better" if low > 0 else "worse" if high < 0 else "no difference"
