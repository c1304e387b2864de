"""Places of targets in the whole catalogue, by counting what stands above them instead of sorting.

Legend: B users, V videos, P (user, target) pairs, K places, C strong videos.
Scores of videos that may not be recommended are −inf. Ties are broken by row: the lower row comes first.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from models.histories import Seen

CHUNK_SCORES = 1 << 23  # scores held at a time: 32 MiB in float32
CHUNK_USERS = 1024  # at most; their histories are held, too
STRONG = 1 / 16  # share of the catalogue that a target is first held against
SAMPLE = 64  # users, at least, whose mean score tells which videos are strong
SLACK = 1e-4  # share of the largest score by which rounding may move one between two matrix products

EVERYTHING = slice(None)
PAIRS = 256  # targets whose own scores come from one small matrix

At = Tensor | slice
Score = Callable[[At, At], Tensor]  # places among some users, rows -> their scores
Read = Callable[[Tensor], Score]  # users_B -> their scores, should they be asked for


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


def first_places(
    read: Read, seen: Seen, user_P: Tensor, row_P: Tensor, videos: int, stop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Places of the targets up to `stop`, and `stop` + 1 for any beyond; the same as in the dense form.

    What is measured at a cut-off does not ask by how far a target missed it. So each target is first held
    against the strong videos, those that a sample of the users scores highest: when `stop` of them are above
    it, it is out. Only the others are held against the whole catalogue. No more than `CHUNK_SCORES` scores
    are held at a time.

    Args:
        read: reads some users once; what it returns scores videos for them, seen ones too.
        user_P, row_P: sorted by user.

    Yields:
        user_P and rank_P of some users after the others.
    """
    users = user_P.unique()
    strong_C = _strong(read, users, videos, max(int(STRONG * videos), 2 * stop))
    seen_U = seen.counts(torch.zeros(videos, dtype=torch.bool).index_fill(0, strong_C, True))
    for users_B in users.split(users_at_once(len(strong_C))):
        first, last = torch.searchsorted(user_P, users_B[[0, -1]] + torch.tensor([0, 1])).tolist()
        at_P, here_P = torch.searchsorted(users_B, user_P[first:last]), row_P[first:last]
        score = read(users_B)
        left = _beaten(score, at_P, here_P, strong_C) < stop + seen_U[users_B][at_P]
        rank_P = torch.full_like(here_P, stop + 1)
        for some in left.nonzero().flatten().split(users_at_once(videos)):
            few, of_P = at_P[some].unique(return_inverse=True)
            score_BV = score(few, EVERYTHING).masked_fill(seen.mask(users_B[few], videos), -torch.inf)
            rank_P[some] = ranks(score_BV, of_P, here_P[some]).clamp(max=stop + 1)
        yield user_P[first:last], rank_P


def _strong(read: Read, users: Tensor, videos: int, size: int) -> Tensor:
    """The videos with the highest mean score over a sample of the users."""
    sample = users[:: -(-len(users) // SAMPLE)].split(users_at_once(videos))
    sum_V = torch.stack([read(users_B)(EVERYTHING, EVERYTHING).sum(0) for users_B in sample]).sum(0)
    return sum_V.topk(min(size, videos)).indices


def _beaten(score: Score, at_P: Tensor, row_P: Tensor, strong_C: Tensor) -> Tensor:
    """How many strong videos, seen ones too, stand above each target whatever rounding does."""
    score_BC = score(EVERYTHING, strong_C)
    pairs = zip(at_P.split(PAIRS), row_P.split(PAIRS), strict=True)
    own_P = torch.cat([score(at, rows).diagonal() for at, rows in pairs])
    least_B, most_B = score_BC.aminmax(dim=1)
    bar_P = own_P + SLACK * torch.maximum(most_B, -least_B)[at_P]
    parts = zip(at_P.split(PAIRS), bar_P.split(PAIRS), strict=True)
    return torch.cat([count(score_BC[at] > bar[:, None]) for at, bar in parts])


def count(true_NV: Tensor) -> Tensor:
    """How many are true in each row; several times as fast as the sum of booleans."""
    return true_NV.view(torch.uint8).sum(1, dtype=torch.int32).long()


def users_at_once(videos: int) -> int:
    """Users who are held at a time with their scores of so many videos."""
    return max(1, min(CHUNK_USERS, CHUNK_SCORES // max(videos, 1)))
