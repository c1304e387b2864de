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
from torch import Tensor, nn

from models.data.positives import to_csr_matrix
from models.data.sequences import SeenItems
from models.retrieval.full_ranking import top_k

WALK_ROUNDS = 2  # from videos to users and back
NUM_NEIGHBOURS = 200  # most frequent ends that are kept for each video
POPULARITY_WEIGHT = 0.3  # of walks that end by popularity, relative to 1: a few positives prove little
ROWS_PER_CHUNK = 256  # start videos at a time


class RandomWalk(nn.Module):
    """Adds to a score how much likelier the user's walks end at a video than popularity alone.

    Attributes:
        neighbour_IK: The videos where walks from a video end most often.
        probability_IK: How often they end there.
        num_positives_I: Users who liked the video.
    """

    neighbour_IK: Tensor
    probability_IK: Tensor
    num_positives_I: Tensor

    def __init__(self, num_videos: int) -> None:
        super().__init__()
        shape = (num_videos, min(NUM_NEIGHBOURS, num_videos))
        self.register_buffer("neighbour_IK", torch.zeros(shape, dtype=torch.long))
        self.register_buffer("probability_IK", torch.zeros(shape))
        self.register_buffer("num_positives_I", torch.zeros(num_videos))

    def init_from_statistics(self, positives: SeenItems) -> None:
        """Count the walks.

        Args:
            positives: ID rows of the positives of each training user.
        """
        positive_UI = to_csr_matrix(positives, len(self.num_positives_I))
        item_to_user_IU = _normalise_rows(positive_UI.T.tocsr())
        user_to_item_UI = _normalise_rows(positive_UI)
        for first in range(0, len(self.num_positives_I), ROWS_PER_CHUNK):
            rows = slice(first, first + ROWS_PER_CHUNK)
            reached_iI = item_to_user_IU[rows] @ user_to_item_UI
            for _ in range(WALK_ROUNDS - 1):
                reached_iI = reached_iI @ item_to_user_IU @ user_to_item_UI
            probability_iI = torch.from_numpy(reached_iI.toarray()).float()
            self.neighbour_IK[rows] = top_k(probability_iI, self.neighbour_IK.shape[1])
            self.probability_IK[rows] = probability_iI.gather(1, self.neighbour_IK[rows])
        self.num_positives_I.copy_(torch.from_numpy(positive_UI.sum(0)))

    def forward(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return lift_BI, the log of how much likelier walks of this user end at a video than average walks.

        Walks start at each positive of the user with equal probability. The result is 0 for a user without
        positives and for a video that no user liked.

        Args:
            row_BT: ID rows of the positives of each user.
            mask_BT: Bool, which of them exist.
        """
        start_BT = mask_BT / mask_BT.sum(1, keepdim=True).clamp(min=1)
        end_BTK = start_BT.unsqueeze(-1) * self.probability_IK[row_BT]
        zeros_BI = end_BTK.new_zeros(len(row_BT), len(self.num_positives_I))
        end_BI = zeros_BI.scatter_add(1, self.neighbour_IK[row_BT].flatten(1), end_BTK.flatten(1))
        remainder_B1 = 1 + POPULARITY_WEIGHT - end_BI.sum(1, keepdim=True)
        popularity_I = self.num_positives_I / self.num_positives_I.sum().clamp(min=1)
        lift_BI = torch.log((end_BI / popularity_I + remainder_B1) / (1 + POPULARITY_WEIGHT))
        return torch.where(self.num_positives_I > 0, lift_BI, 0.0)


def _normalise_rows(counts: sp.csr_array) -> sp.csr_array:
    """Divide every row by its sum."""
    return sp.diags_array(1 / np.maximum(counts.sum(1), 1.0)) @ counts
