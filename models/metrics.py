"""Measures, computed by counting what stands above a target instead of sorting the catalogue.

Legend: B users, V videos, P (user, target) pairs, K places, N labelled viewings, R bootstrap samples.
Scores of videos that may not be recommended are −inf. Ties are broken by row: the lower row comes first.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def ranks(score_BV: Tensor, user_P: Tensor, row_P: Tensor) -> Tensor:
    """Place of each target among all videos, 1 the best.

    A video stands above the target when its score is higher, or equal with a lower row. The target's own
    score comes from the same matrix, so it can never stand above itself.

    Raises:
        ValueError: a target is masked or a score is not a number.
    """
    if bool(score_BV.isnan().any()):
        raise ValueError("a score is not a number; the model that made it is broken")
    own_P1 = score_BV[user_P, row_P].unsqueeze(1)
    if bool(torch.isinf(own_P1).any()):
        raise ValueError("a target is among the masked videos; leave seen videos out of the targets")
    score_PV = score_BV[user_P]
    before_PV = torch.arange(score_BV.shape[1]) < row_P.unsqueeze(1)
    return 1 + ((score_PV > own_P1) | ((score_PV == own_P1) & before_PV)).sum(1)


def top(score_BV: Tensor, k: int) -> Tensor:
    """Rows of the k best videos, best first, ties by row: [B, min(k, V)].

    Score and row become one integer key, so that the order is total and `topk` has no choice.
    """
    bits_BV = (score_BV.float() + 0.0).view(torch.int32).long()
    order_BV = torch.where(bits_BV < 0, -(bits_BV & 0x7FFFFFFF) - 1, bits_BV)
    key_BV = order_BV * (1 << 32) - torch.arange(score_BV.shape[1])
    return key_BV.topk(min(k, score_BV.shape[1]), dim=1).indices


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


def bootstrap(difference_B: Floats, samples: int, seed: int) -> dict[str, float | None]:
    """Mean paired difference over users with its 95 % bootstrap interval: mean, low, high, users.

    Users are drawn with replacement, each with its whole difference. Fewer than two users tell no interval:
    low and high are None.
    """
    n = len(difference_B)
    if n < 2:
        return {"mean": float(difference_B.mean()) if n else None, "low": None, "high": None, "users": n}
    draw = np.random.default_rng(seed)
    mean_R = np.array([difference_B[draw.integers(0, n, n)].mean() for _ in range(samples)])
    low, high = np.quantile(mean_R, [0.025, 0.975])
    return {"mean": float(difference_B.mean()), "low": float(low), "high": float(high), "users": n}
