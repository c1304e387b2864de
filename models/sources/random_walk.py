"""Random walks from the positives of a user, over the graph of users and positives.

A walk goes from a video to a user who liked it, on to a video that this user liked, and so on. These are P³
and P⁵ of Cooper et al., "Random walks in recommender systems" (WWW 2014). The walks are counted and not
learned. A trained weight would rely on the positives that it must predict, which are edges of the graph.

Counting takes about videos × positives additions. So only the most liked videos are counted, and a sample of
the users if there are many positives: at most six minutes. Scoring a user takes one number for each video.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.positives import known_positives_by_user, to_csr_matrix
from models.data.sequences import SequenceBatch, Sequences
from models.retrieval.full_ranking import top_k
from models.sources.counting import popularity
from models.sources.neighbours import Neighbours
from models.sources.source import Source, distinct_positives, to_catalogue

WALK_ROUNDS = 2  # from videos to users and back
POPULARITY_WEIGHT = 0.3  # of walks that end by popularity, relative to 1: a few positives prove little
ROWS_PER_CHUNK = 256  # start videos at a time
MAX_VIDEOS, MAX_POSITIVES = 20_000, 1_000_000  # in the graph
USER_SAMPLE_SEED = 0


class RandomWalk(Source):
    """How much likelier walks from the user's positives end at a video than average walks, as a logarithm.

    Walks start at each positive of the user with equal probability. The score is 0 for a user without
    positives, for a video that no user liked, and for one that is not counted.

    Attributes:
        row_C: ID rows of the counted videos, sorted.
        neighbours: The videos where walks from each of them end most often, and how often they end there.
        num_positives_I: Users who liked the video. 0 if it is not counted.
    """

    row_C: Tensor
    num_positives_I: Tensor

    def __init__(self, num_videos: int, max_videos: int = MAX_VIDEOS) -> None:
        super().__init__(num_videos)
        num_counted = min(max_videos, num_videos)
        self.register_buffer("row_C", torch.arange(num_counted))
        self.neighbours = Neighbours(num_counted, num_videos)
        self.register_buffer("num_positives_I", torch.zeros(num_videos))

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        positives = known_positives_by_user(sequences, item_table.id_row_V)
        num_positives_I = popularity(positives, self.num_videos)
        most_liked_C = num_positives_I.argsort(descending=True, stable=True)[: len(self.row_C)]
        self.row_C.copy_(most_liked_C.sort().values)
        self.num_positives_I.zero_()
        self.num_positives_I[self.row_C] = num_positives_I[self.row_C]
        positive_UC = _sample_users(to_csr_matrix(positives, self.num_videos)[:, self.row_C.numpy()])
        item_to_user_CU = _normalise_rows(positive_UC.T.tocsr())
        user_to_item_UC = _normalise_rows(positive_UC)
        K = self.neighbours.neighbour_XK.shape[1]
        for first in range(0, len(self.row_C), ROWS_PER_CHUNK):
            rows_c = slice(first, first + ROWS_PER_CHUNK)
            reached_cC = item_to_user_CU[rows_c] @ user_to_item_UC
            for _ in range(WALK_ROUNDS - 1):
                reached_cC = reached_cC @ item_to_user_CU @ user_to_item_UC
            probability_cC = torch.from_numpy(reached_cC.toarray()).float()
            best_cK = top_k(probability_cC, min(K, len(self.row_C)))
            self.neighbours.neighbour_XK[rows_c, : best_cK.shape[1]] = self.row_C[best_cK].int()
            self.neighbours.weight_XK[rows_c, : best_cK.shape[1]] = probability_cC.gather(1, best_cK)

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        user_P, row_P = distinct_positives(batch, item_table.id_row_V, self.num_videos)
        position_I = torch.full((self.num_videos,), -1, device=row_P.device)
        position_I[self.row_C] = torch.arange(len(self.row_C), device=row_P.device)
        is_counted_P = position_I[row_P] >= 0
        user_P, position_P = user_P[is_counted_P], position_I[row_P][is_counted_P]
        num_B = torch.bincount(user_P, minlength=len(batch.mask_BT))
        end_BI = self.neighbours(user_P, position_P, 1 / num_B[user_P], len(batch.mask_BT))
        remainder_B1 = 1 + POPULARITY_WEIGHT - end_BI.sum(1, keepdim=True)
        popularity_I = self.num_positives_I / self.num_positives_I.sum().clamp(min=1)
        lift_BI = torch.log((end_BI / popularity_I + remainder_B1) / (1 + POPULARITY_WEIGHT))
        return to_catalogue(torch.where(self.num_positives_I > 0, lift_BI, 0.0), item_table.id_row_V)


def _sample_users(positive_UC: sp.csr_array) -> sp.csr_array:
    """Return the rows of all users, or of a random sample that has at most `MAX_POSITIVES` positives."""
    if positive_UC.nnz <= MAX_POSITIVES:
        return positive_UC
    order_U = np.random.default_rng(USER_SAMPLE_SEED).permutation(positive_UC.shape[0])
    num_until_U = np.diff(positive_UC.indptr)[order_U].cumsum()
    return positive_UC[np.sort(order_U[num_until_U <= MAX_POSITIVES])]


def _normalise_rows(counts: sp.csr_array) -> sp.csr_array:
    """Divide every row by its sum."""
    return sp.diags_array(1 / np.maximum(counts.sum(1), 1.0)) @ counts
