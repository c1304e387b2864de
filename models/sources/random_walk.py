"""Random walks from the positives of a user, over the graph of users and positives.

A walk goes from a video to a user who liked it, on to a video that this user liked, and so on. These are P³
and P⁵ of Cooper et al., "Random walks in recommender systems" (WWW 2014). The walks are counted and not
learned. A trained weight would rely on the positives that it must predict, which are edges of the graph.

Counting takes about videos × positives additions. For 20,000 videos and a million positives that is six
minutes. Scoring a user takes one number for each video.
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


class RandomWalk(Source):
    """How much likelier walks from the user's positives end at a video than average walks, as a logarithm.

    Walks start at each positive of the user with equal probability. The score is 0 for a user without
    positives and for a video that no user liked.

    Attributes:
        neighbours: The videos where walks from a video end most often, and how often they end there.
        num_positives_I: Users who liked the video.
    """

    num_positives_I: Tensor

    def __init__(self, num_videos: int) -> None:
        super().__init__(num_videos)
        self.neighbours = Neighbours(num_videos, num_videos)
        self.register_buffer("num_positives_I", torch.zeros(num_videos))

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        positives = known_positives_by_user(sequences, item_table.id_row_V)
        self.num_positives_I.copy_(popularity(positives, self.num_videos))
        positive_UI = to_csr_matrix(positives, self.num_videos)
        item_to_user_IU = _normalise_rows(positive_UI.T.tocsr())
        user_to_item_UI = _normalise_rows(positive_UI)
        for first in range(0, self.num_videos, ROWS_PER_CHUNK):
            rows_i = slice(first, first + ROWS_PER_CHUNK)
            reached_iI = item_to_user_IU[rows_i] @ user_to_item_UI
            for _ in range(WALK_ROUNDS - 1):
                reached_iI = reached_iI @ item_to_user_IU @ user_to_item_UI
            probability_iI = torch.from_numpy(reached_iI.toarray()).float()
            best_iK = top_k(probability_iI, self.neighbours.neighbour_XK.shape[1])
            self.neighbours.neighbour_XK[rows_i] = best_iK.int()
            self.neighbours.weight_XK[rows_i] = probability_iI.gather(1, best_iK)

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        user_P, row_P = distinct_positives(batch, item_table.id_row_V, self.num_videos)
        num_B = torch.bincount(user_P, minlength=len(batch.mask_BT))
        end_BI = self.neighbours(user_P, row_P, 1 / num_B[user_P], len(batch.mask_BT))
        remainder_B1 = 1 + POPULARITY_WEIGHT - end_BI.sum(1, keepdim=True)
        popularity_I = self.num_positives_I / self.num_positives_I.sum().clamp(min=1)
        lift_BI = torch.log((end_BI / popularity_I + remainder_B1) / (1 + POPULARITY_WEIGHT))
        return to_catalogue(torch.where(self.num_positives_I > 0, lift_BI, 0.0), item_table.id_row_V)


def _normalise_rows(counts: sp.csr_array) -> sp.csr_array:
    """Divide every row by its sum."""
    return sp.diags_array(1 / np.maximum(counts.sum(1), 1.0)) @ counts
