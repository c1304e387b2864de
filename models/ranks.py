"""Places of targets in the whole catalogue, by counting what stands above them instead of sorting.

Legend: B users, V videos, P (user, target) pairs, K places.
Scores of videos that may not be recommended are −inf. Ties are broken by row: the lower row comes first.
"""

import torch
from torch import Tensor

CHUNK_SCORES = 1 << 22  # scores held at a time: 16 MiB in float32; malloc keeps such blocks for the next
CHUNK_USERS = 1024  # at most; their histories are held, too


def ranks(score_BV: Tensor, user_P: Tensor, row_P: Tensor) -> Tensor:
    """Place of each target among all videos, 1 the best.

    A video stands above the target when its score is higher, or equal with a lower row. The target's own
    score comes from the same matrix, so it can never stand above itself.

    Raises:
        ValueError: a target is masked or a score is not a number.
    """
    if not len(user_P):
        return row_P
    if bool(score_BV.amax().isnan()):
        raise ValueError("a score is not a number; the model that made it is broken")
    own_P = score_BV[user_P, row_P]
    if bool(torch.isinf(own_P).any()):
        raise ValueError("a target is among the masked videos; leave seen videos out of the targets")
    size = users_at_once(score_BV.shape[1])
    pairs = zip(user_P.split(size), row_P.split(size), own_P.split(size), strict=True)
    return 1 + torch.cat([_above(score_BV[user_P], row_P, own_P[:, None]) for user_P, row_P, own_P in pairs])


def _above(score_PV: Tensor, row_P: Tensor, own_P1: Tensor) -> Tensor:
    """How many stand above the target; equals, which are rare, are looked at one pair at a time."""
    above_P, equal_PV = count(score_PV > own_P1), score_PV == own_P1
    for pair in (count(equal_PV) > 1).nonzero().flatten().tolist():
        above_P[pair] += int(equal_PV[pair, : row_P[pair]].sum())
    return above_P


def top(score_BV: Tensor, k: int) -> Tensor:
    """Rows of the k best videos, best first, ties by row: [B, min(k, V)].

    `topk` takes any of equals; so its choice is put in order, and made again where equals lie on its edge.
    """
    k = min(k, score_BV.shape[1])
    best_BK, row_BK = score_BV.topk(k, dim=1)
    tied_B = count(score_BV >= best_BK[:, -1:]) > k
    row_BK = row_BK.sort(dim=1).values
    by_score_BK = score_BV.gather(1, row_BK).sort(dim=1, descending=True, stable=True).indices
    row_BK = row_BK.gather(1, by_score_BK)
    row_BK[tied_B] = score_BV[tied_B].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return row_BK


def count(true_NV: Tensor) -> Tensor:
    """How many are true in each row; several times as fast as the sum of booleans."""
    return true_NV.view(torch.uint8).sum(1, dtype=torch.int32).long()


def users_at_once(videos: int) -> int:
    """Users who are held at a time with their scores of so many videos."""
    return max(1, min(CHUNK_USERS, CHUNK_SCORES // max(videos, 1)))
