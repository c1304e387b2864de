"""Full ranking: ranks of targets among all videos, and the best k of them.

Ranks are counted from the scores above a target, without sorting. Scores of videos that must not be
recommended are −inf. Of equal scores the one with the lower row comes first.
"""

import torch
from torch import Tensor

CHUNK_SCORES = 1 << 22  # scores in memory at a time: 16 MiB in float32; malloc reuses blocks of this size
CHUNK_USERS = 1024  # users at a time, at most; their sequences are in memory, too

NAN_SCORE = "a score is NaN, so the model is broken; train it again with a lower train.learning_rate"


def target_ranks(score_BV: Tensor, user_P: Tensor, row_P: Tensor) -> Tensor:
    """Return the rank of each target among all videos. 1 is the best.

    Args:
        score_BV: Scores of all videos.
        user_P: Row of `score_BV` of each target.
        row_P: Video of each target.

    Raises:
        ValueError: A target is masked.
        FloatingPointError: A score is NaN.
    """
    if not len(user_P):
        return row_P
    if bool(score_BV.amax().isnan()):
        raise FloatingPointError(NAN_SCORE)
    target_score_P = score_BV[user_P, row_P]
    if bool(torch.isinf(target_score_P).any()):
        raise ValueError("a target is among the masked videos; leave seen videos out of the targets")
    chunk_size = users_per_chunk(score_BV.shape[1])
    pairs = zip(
        user_P.split(chunk_size), row_P.split(chunk_size), target_score_P.split(chunk_size), strict=True
    )
    return 1 + torch.cat(
        [
            _count_above(score_BV[user_P], row_P, target_score_P[:, None])
            for user_P, row_P, target_score_P in pairs
        ]
    )


def _count_above(score_PV: Tensor, row_P: Tensor, target_score_P1: Tensor) -> Tensor:
    """Count the videos above each target. Of equal scores, those with a lower row are above it."""
    num_above_P, equal_PV = count_true(score_PV > target_score_P1), score_PV == target_score_P1
    tied_N = (count_true(equal_PV) > 1).nonzero().flatten()
    if len(tied_N):
        is_lower_NV = torch.arange(score_PV.shape[1]) < row_P[tied_N, None]
        num_above_P[tied_N] += count_true(equal_PV[tied_N] & is_lower_NV)
    return num_above_P


def top_k(score_BV: Tensor, k: int) -> Tensor:
    """Return the rows of the k best videos, best first: [B, min(k, V)].

    Of equal scores the lower row is first. `Tensor.topk` returns any of equal scores, so its result is
    sorted. Users with equal scores at the border get a full sort.
    """
    k = min(k, score_BV.shape[1])
    best_BK, row_BK = score_BV.topk(k, dim=1)
    tied_B = count_true(score_BV >= best_BK[:, -1:]) > k
    row_BK = row_BK.sort(dim=1).values
    by_score_BK = score_BV.gather(1, row_BK).sort(dim=1, descending=True, stable=True).indices
    row_BK = row_BK.gather(1, by_score_BK)
    row_BK[tied_B] = score_BV[tied_B].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return row_BK


def count_true(true_NV: Tensor) -> Tensor:
    """Count the true values of each row. This is several times as fast as the sum of booleans."""
    return true_NV.view(torch.uint8).sum(1, dtype=torch.int32).long()


def users_per_chunk(num_videos: int) -> int:
    """Return how many users are scored at a time with so many videos."""
    return max(1, min(CHUNK_USERS, CHUNK_SCORES // max(num_videos, 1)))
