"""Places of targets as far as a cut-off asks for them, without scoring everybody on everything.

What is measured at a cut-off does not ask by how far a target missed it. A user's targets are first held
against the strong videos, those that a sample of the users scores highest: below the `stop` best of them
a target is out. Then the catalogue is gone through a block at a time, only for users who still have a target
in, and only what may stand above one is kept; a target is out as soon as `stop` videos are above it. What is
left at the end is put in order, each score from the product that scored the whole block.

Legend: B users, P (user, target) pairs, T targets of a user (padded), C videos of a block, N kept scores.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from models import ranks
from models.histories import Seen

STRONG = 1 / 64  # share of the catalogue that is strong
SAMPLE = 64  # users, at most, whose mean score tells which videos are strong
SLACK = 1e-4  # share of the largest score by which rounding may move one between two matrix products
BLOCK = 1 << 20  # scores of a block: what a cache can hold
PAIRS = 256  # targets whose own scores come from one small matrix
EVERYTHING = slice(None)

At = Tensor | slice
Score = Callable[[At, At], Tensor]  # places among some users, rows -> their scores [B, C]
Read = Callable[[Tensor], Score]  # users_B -> their scores, should they be asked for


def first_places(
    read: Read, seen: Seen, user_P: Tensor, row_P: Tensor, videos: int, stop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Places of the targets up to `stop`, and `stop` + 1 for any beyond; the same as in the dense form.

    No more than `ranks.CHUNK_SCORES` scores are held at a time, beside the few that are kept.

    Args:
        read: reads some users once; what it returns scores videos for them, seen ones too.
        user_P, row_P: sorted by user.

    Yields:
        user_P and rank_P of some users after the others.

    Raises:
        ValueError: a target has been seen, or a score is not a number.
    """
    users = user_P.unique()
    strong_C = _strong(read, users, videos, max(int(STRONG * videos), 2 * stop))
    seen_U = seen.counts(torch.zeros(videos, dtype=torch.bool).index_fill(0, strong_C, True))
    for users_B in users.split(ranks.users_at_once(len(strong_C))):
        first, last = torch.searchsorted(user_P, users_B[[0, -1]] + torch.tensor([0, 1])).tolist()
        score = read(users_B)
        at_P, here_P = torch.searchsorted(users_B, user_P[first:last]), row_P[first:last]
        race = _Race(at_P, _own(score, at_P, here_P), *_bar(score, strong_C, stop + seen_U[users_B]), stop)
        user_N, row_N = seen.of(users_B)
        seen_N = (user_N * videos + row_N).sort().values
        yield user_P[first:last], race.run(score, seen_N, at_P * videos + here_P, videos)


class _Race:
    """Who is still in: low_BT is what a video must reach to be kept, +inf for a target that is out."""

    def __init__(self, at_P: Tensor, own_P: Tensor, bar_B: Tensor, slack_B: Tensor, stop: int) -> None:
        self.stop, self.at_P = stop, at_P
        count_B = torch.bincount(at_P, minlength=len(bar_B))
        self.slot_P = torch.arange(len(at_P)) - (count_B.cumsum(0) - count_B)[at_P]
        self.low_BT = torch.full((len(bar_B), int(count_B.max())), torch.inf)
        in_P = own_P >= (bar_B - slack_B)[at_P]
        self.low_BT[at_P[in_P], self.slot_P[in_P]] = (own_P - slack_B[at_P])[in_P]
        self.high_BT = self.low_BT + 2 * slack_B[:, None]
        self.above_BT = torch.zeros(self.low_BT.shape, dtype=torch.long)
        self.keys_N: list[Tensor] = []
        self.values_N: list[Tensor] = []

    def run(self, score: Score, seen_N: Tensor, key_P: Tensor, videos: int) -> Tensor:
        """rank_P. A key is the user's place times the number of videos, plus the row; `seen_N` is sorted."""
        start, rank_P = 0, torch.full_like(key_P, self.stop + 1)
        while start < videos and len(some := self.low_BT.isfinite().any(1).nonzero().flatten()):
            block = slice(start, min(videos, start + max(1, min(BLOCK, ranks.CHUNK_SCORES) // len(some))))
            self._hold(some, score(some, block), start, seen_N, videos)
            start = block.stop
        left_P = self.low_BT[self.at_P, self.slot_P].isfinite()
        if bool(left_P.any()):
            place_P = _places(torch.cat(self.keys_N), torch.cat(self.values_N), key_P[left_P], videos)
            rank_P[left_P] = place_P.clamp(max=self.stop + 1)
        return rank_P

    def _hold(self, some: Tensor, score_BC: Tensor, start: int, seen_N: Tensor, videos: int) -> None:
        """Keep what may stand above a target, count what surely does, and let out who has enough above."""
        reach_N = _where(score_BC >= self.low_BT[some].amin(1, keepdim=True))
        user_N, row_N = some[reach_N // score_BC.shape[1]], start + reach_N % score_BC.shape[1]
        key_N, value_N = user_N * videos + row_N, score_BC.flatten()[reach_N]
        new_N = ~_among(key_N, seen_N)
        key_N, value_N, user_N = key_N[new_N], value_N[new_N], user_N[new_N]
        self.keys_N.append(key_N)
        self.values_N.append(value_N)
        self.above_BT.index_add_(0, user_N, (value_N[:, None] > self.high_BT[user_N]).long())
        self.low_BT[self.above_BT >= self.stop] = torch.inf


def _strong(read: Read, users: Tensor, videos: int, size: int) -> Tensor:
    """The videos with the highest mean score over a sample of the users."""
    sample = users[:: -(-len(users) // SAMPLE)].split(ranks.users_at_once(videos))
    sum_V = torch.stack([read(users_B)(EVERYTHING, EVERYTHING).sum(0) for users_B in sample]).sum(0)
    return sum_V.topk(min(size, videos)).indices


def _bar(score: Score, strong_C: Tensor, place_B: Tensor) -> tuple[Tensor, Tensor]:
    """The score at this place among the strong videos, −inf where they are too few; and rounding's slack."""
    most = min(int(place_B.max()), len(strong_C))
    best_BK = score(EVERYTHING, strong_C).topk(most, dim=1).values
    if bool(best_BK[:, 0].isnan().any()):  # it sorts above all numbers
        raise ValueError("a score is not a number; the model that made it is broken")
    bar_B = best_BK.gather(1, (place_B.clamp(max=most) - 1)[:, None]).squeeze(1)
    slack_B = SLACK * torch.maximum(best_BK[:, 0].abs(), bar_B.abs())
    return torch.where(place_B <= most, bar_B, -torch.inf), slack_B


def _own(score: Score, at_P: Tensor, row_P: Tensor) -> Tensor:
    """The targets' own scores, from small matrices."""
    pairs = zip(at_P.split(PAIRS), row_P.split(PAIRS), strict=True)
    return torch.cat([score(at, rows).diagonal() for at, rows in pairs])


def _places(key_N: Tensor, value_N: Tensor, key_P: Tensor, videos: int) -> Tensor:
    """Places of these keys among the kept scores of their users, the highest first, ties by row."""
    key_N, by_key_N = key_N.sort()
    by_value_N = value_N[by_key_N].sort(descending=True, stable=True).indices
    user_N, by_user_N = (key_N[by_value_N] // videos).sort(stable=True)
    place_N = torch.empty_like(key_N)
    place_N[by_value_N[by_user_N]] = torch.arange(len(key_N)) + 1
    if not bool(_among(key_P, key_N).all()):
        raise ValueError("a target is among the masked videos; leave seen videos out of the targets")
    before_P = torch.searchsorted(user_N, key_P // videos)
    return place_N[torch.searchsorted(key_N, key_P)] - before_P


def _among(key_N: Tensor, sorted_M: Tensor) -> Tensor:
    """Bool [N]: whether each key is among the sorted ones."""
    if not len(sorted_M):
        return torch.zeros(len(key_N), dtype=torch.bool)
    return sorted_M[torch.searchsorted(sorted_M, key_N).clamp(max=len(sorted_M) - 1)] == key_N


def _where(true_BC: Tensor) -> Tensor:
    """Flat places of what is true; numpy finds few among many far faster than torch."""
    if true_BC.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(true_BC.numpy()))
    return true_BC.flatten().nonzero().flatten()
