"""Top-k ranking with pruning: ranks of targets up to a cut-off k, without all scores of all users.

A metric at k needs no rank beyond k. First a sample of the users finds the top videos, which have the
highest mean scores. A target below the k-th best top video cannot be among the best k, so it is dropped.
Then the catalogue is scored in blocks, only for users with a remaining target. Only scores that may be above
a target are kept. A target is dropped as soon as k videos are above it. At the end the remaining targets are
ranked among the kept scores. All of these scores come from the matrix product of a whole
block, so that ties compare equal.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from models.data.sequences import SeenItems
from models.retrieval import full_ranking

TOP_SHARE = 1 / 64  # share of the catalogue that counts as top videos
MAX_SAMPLE_USERS = 64  # users whose mean score defines the top videos
# Assumed bound on the difference of a score between two matrix products, relative to the largest score.
ROUNDING_TOLERANCE = 1e-4
BLOCK_SCORES = 1 << 20  # scores of a block, which fit into a cache
PAIRS_PER_CHUNK = 256  # targets whose scores come from one small matrix
ALL_ROWS = slice(None)

Index = Tensor | slice
ScoreFn = Callable[[Index, Index], Tensor]  # positions in the batch of users, rows of videos -> scores [B, C]
EncodeFn = Callable[[Tensor], ScoreFn]  # users_B -> function that scores videos for them


def topk_ranks(
    encode: EncodeFn, seen: SeenItems, user_P: Tensor, row_P: Tensor, num_videos: int, k: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the ranks of targets, and k + 1 for ranks beyond k.

    Ranks up to k equal those of the full ranking. At most `full_ranking.CHUNK_SCORES` scores
    are in memory at a time, in addition to the few that are kept.

    Args:
        encode: Encodes some users once. It returns a function that scores videos for them, seen ones
            included.
        seen: Videos that users have seen, which are left out of the ranking.
        user_P: User of each target, sorted.
        row_P: Video of each target.
        num_videos: V.
        k: The cut-off.

    Yields:
        user_P and rank_P of the next users.

    Raises:
        ValueError: A target was seen.
        FloatingPointError: A score is NaN.
    """
    users = user_P.unique()
    top_C = _top_videos_of_sample(encode, users, num_videos, max(int(TOP_SHARE * num_videos), 2 * k))
    num_seen_U = seen.count_in(torch.zeros(num_videos, dtype=torch.bool).index_fill(0, top_C, True))
    for users_B in users.split(full_ranking.users_per_chunk(len(top_C))):
        # The targets of these users lie between the first user and the successor of the last one.
        start, end = torch.searchsorted(user_P, users_B[[0, -1]] + torch.tensor([0, 1])).tolist()
        score = encode(users_B)
        batch_user_P, batch_row_P = torch.searchsorted(users_B, user_P[start:end]), row_P[start:end]
        ranking = _PrunedRanking(
            batch_user_P,
            _target_scores(score, batch_user_P, batch_row_P),
            *_score_threshold(score, top_C, k + num_seen_U[users_B]),
            k,
        )
        user_N, row_N = seen.user_item_pairs(users_B)
        seen_N = (user_N * num_videos + row_N).sort().values
        yield (
            user_P[start:end],
            ranking.run(score, seen_N, batch_user_P * num_videos + batch_row_P, num_videos),
        )


class _PrunedRanking:
    """Ranks the targets of some users, block by block. Axis X: the targets of a user, padded.

    `keep_above_BX` is the score that a video needs to be kept. It is +inf if a target is dropped or is
    padding. A video with a score above `surely_above_BX` is above the target in spite of rounding.
    """

    def __init__(
        self, user_P: Tensor, target_score_P: Tensor, threshold_B: Tensor, tolerance_B: Tensor, k: int
    ) -> None:
        self.k, self.user_P = k, user_P
        count_B = torch.bincount(user_P, minlength=len(threshold_B))
        self.column_P = torch.arange(len(user_P)) - (count_B.cumsum(0) - count_B)[user_P]
        self.keep_above_BX = torch.full((len(threshold_B), int(count_B.max())), torch.inf)
        active_P = target_score_P >= (threshold_B - tolerance_B)[user_P]
        self.keep_above_BX[user_P[active_P], self.column_P[active_P]] = (
            target_score_P - tolerance_B[user_P]
        )[active_P]
        self.surely_above_BX = self.keep_above_BX + 2 * tolerance_B[:, None]
        self.num_above_BX = torch.zeros(self.keep_above_BX.shape, dtype=torch.long)
        self.keys_N: list[Tensor] = []
        self.values_N: list[Tensor] = []

    def run(self, score: ScoreFn, seen_N: Tensor, key_P: Tensor, num_videos: int) -> Tensor:
        """Return rank_P of the targets.

        A key is the position of the user times the number of videos, plus the row of the video.

        Args:
            score: Scores videos for these users.
            seen_N: Sorted keys of the videos that the users have seen.
            key_P: Key of each target.
            num_videos: V.
        """
        start, rank_P = 0, torch.full_like(key_P, self.k + 1)
        while start < num_videos and len(
            active_users := self.keep_above_BX.isfinite().any(1).nonzero().flatten()
        ):
            block_size = max(1, min(BLOCK_SCORES, full_ranking.CHUNK_SCORES) // len(active_users))
            block = slice(start, min(num_videos, start + block_size))
            self._add_block(active_users, score(active_users, block), start, seen_N, num_videos)
            start = block.stop
        active_P = self.keep_above_BX[self.user_P, self.column_P].isfinite()
        if bool(active_P.any()):
            active_rank_P = _ranks_among_kept(
                torch.cat(self.keys_N), torch.cat(self.values_N), key_P[active_P], num_videos
            )
            rank_P[active_P] = active_rank_P.clamp(max=self.k + 1)
        return rank_P

    def _add_block(
        self, active_users: Tensor, score_BC: Tensor, start: int, seen_N: Tensor, num_videos: int
    ) -> None:
        """Keep the scores that may be above a target, and drop targets with k videos above them."""
        candidate_N = _flat_nonzero(score_BC >= self.keep_above_BX[active_users].amin(1, keepdim=True))
        user_N = active_users[candidate_N // score_BC.shape[1]]
        row_N = start + candidate_N % score_BC.shape[1]
        key_N, value_N = user_N * num_videos + row_N, score_BC.flatten()[candidate_N]
        unseen_N = ~_isin_sorted(key_N, seen_N)
        key_N, value_N, user_N = key_N[unseen_N], value_N[unseen_N], user_N[unseen_N]
        self.keys_N.append(key_N)
        self.values_N.append(value_N)
        self.num_above_BX.index_add_(0, user_N, (value_N[:, None] > self.surely_above_BX[user_N]).long())
        self.keep_above_BX[self.num_above_BX >= self.k] = torch.inf


def _top_videos_of_sample(encode: EncodeFn, users: Tensor, num_videos: int, size: int) -> Tensor:
    """Return the videos with the highest mean score over a sample of the users."""
    sample = users[:: -(-len(users) // MAX_SAMPLE_USERS)].split(full_ranking.users_per_chunk(num_videos))
    sum_V = torch.stack([encode(users_B)(ALL_ROWS, ALL_ROWS).sum(0) for users_B in sample]).sum(0)
    return sum_V.topk(min(size, num_videos)).indices


def _score_threshold(score: ScoreFn, top_C: Tensor, rank_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the score at rank_B among the top videos, and the tolerance for rounding.

    The threshold is −inf if there are too few top videos.
    """
    max_rank = min(int(rank_B.max()), len(top_C))
    best_BK = score(ALL_ROWS, top_C).topk(max_rank, dim=1).values
    if bool(best_BK[:, 0].isnan().any()):  # NaN sorts above all numbers
        raise FloatingPointError(full_ranking.NAN_SCORE)
    threshold_B = best_BK.gather(1, (rank_B.clamp(max=max_rank) - 1)[:, None]).squeeze(1)
    tolerance_B = ROUNDING_TOLERANCE * torch.maximum(best_BK[:, 0].abs(), threshold_B.abs())
    return torch.where(rank_B <= max_rank, threshold_B, -torch.inf), tolerance_B


def _target_scores(score: ScoreFn, user_P: Tensor, row_P: Tensor) -> Tensor:
    """Return the scores of the targets, from small matrices. `user_P` are positions in the batch."""
    pairs = zip(user_P.split(PAIRS_PER_CHUNK), row_P.split(PAIRS_PER_CHUNK), strict=True)
    return torch.cat([score(users, rows).diagonal() for users, rows in pairs])


def _ranks_among_kept(key_N: Tensor, value_N: Tensor, key_P: Tensor, num_videos: int) -> Tensor:
    """Return the ranks of these keys among the kept scores of their users, ties by row."""
    key_N, by_key_N = key_N.sort()
    by_value_N = value_N[by_key_N].sort(descending=True, stable=True).indices
    user_N, by_user_N = (key_N[by_value_N] // num_videos).sort(stable=True)
    rank_N = torch.empty_like(key_N)
    rank_N[by_value_N[by_user_N]] = torch.arange(len(key_N)) + 1
    if not bool(_isin_sorted(key_P, key_N).all()):
        raise ValueError("a target is among the masked videos; leave seen videos out of the targets")
    num_before_P = torch.searchsorted(user_N, key_P // num_videos)
    return rank_N[torch.searchsorted(key_N, key_P)] - num_before_P


def _isin_sorted(key_N: Tensor, sorted_X: Tensor) -> Tensor:
    """Whether each key is among the sorted ones, bool [N]."""
    if not len(sorted_X):
        return torch.zeros(len(key_N), dtype=torch.bool)
    return sorted_X[torch.searchsorted(sorted_X, key_N).clamp(max=len(sorted_X) - 1)] == key_N


def _flat_nonzero(true_BC: Tensor) -> Tensor:
    """Return the flat indices of the true values.

    On a CPU numpy is much faster than torch if few values are true.
    """
    if true_BC.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(true_BC.numpy()))
    return true_BC.flatten().nonzero().flatten()
