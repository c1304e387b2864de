"""Where a random walk over who liked what ends that starts at what a person liked.

From a video to one of the people who liked it, on to one of the videos they liked, and so on: P³ and P⁵ of
Cooper et al., "Random walks in recommender systems" (WWW 2014). Counted, not learned: a trained weight would
lean on the likes that it is to foretell, which are links of the graph.

What it costs: counting, some videos × likes additions (six minutes for 20,000 videos and a million likes); a
person read, a number a video.

Legend: U training users, I videos with an ID row, K of them near each, B users, T liked videos.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from models.histories import Seen
from models.likes import matrix
from models.ranks import top

ROUNDS = 2  # from videos to people and back
NEAR = 200  # ends kept of the walks from each video
ANYWHERE = 0.3  # part, beside 1, that ends by popularity alone: few likes are not believed whole
ROWS = 256  # walks taken at a time


class Walk(nn.Module):
    """Of each video where walks from it end most often, and how often that is."""

    near_IK: Tensor
    share_IK: Tensor
    liked_I: Tensor

    def __init__(self, videos: int) -> None:
        super().__init__()
        shape = (videos, min(NEAR, videos))
        self.register_buffer("near_IK", torch.zeros(shape, dtype=torch.long))
        self.register_buffer("share_IK", torch.zeros(shape))
        self.register_buffer("liked_I", torch.zeros(videos))

    def start_from(self, likes: Seen) -> None:
        """Count the walks; `likes` are the ID rows that each training user liked."""
        liked_UI = matrix(likes, len(self.liked_I))
        people_IU, videos_UI = _shares(liked_UI.T.tocsr()), _shares(liked_UI)
        for first in range(0, len(self.liked_I), ROWS):
            rows = slice(first, first + ROWS)
            end_RI = people_IU[rows] @ videos_UI
            for _ in range(ROUNDS - 1):
                end_RI = end_RI @ people_IU @ videos_UI
            share_RI = torch.from_numpy(end_RI.toarray()).float()
            self.near_IK[rows] = top(share_RI, self.near_IK.shape[1])
            self.share_IK[rows] = share_RI.gather(1, self.near_IK[rows])
        self.liked_I.copy_(torch.from_numpy(liked_UI.sum(0)))

    def forward(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """lift_BI: log of how much likelier this person's walk ends at a video than anybody's.

        A walk starts at any of the person's likes alike. 0 for who liked nothing and for what nobody liked.
        """
        start_BT = mask_BT / mask_BT.sum(1, keepdim=True).clamp(min=1)
        end_BTK = start_BT.unsqueeze(-1) * self.share_IK[row_BT]
        none_BI = end_BTK.new_zeros(len(row_BT), len(self.liked_I))
        end_BI = none_BI.scatter_add(1, self.near_IK[row_BT].flatten(1), end_BTK.flatten(1))
        else_B1 = 1 + ANYWHERE - end_BI.sum(1, keepdim=True)
        often_I = self.liked_I / self.liked_I.sum().clamp(min=1)
        lift_BI = torch.log((end_BI / often_I + else_B1) / (1 + ANYWHERE))
        return torch.where(self.liked_I > 0, lift_BI, 0.0)


def _shares(count: sp.csr_array) -> sp.csr_array:
    """Every row divided by its sum."""
    return sp.diags_array(1 / np.maximum(count.sum(1), 1.0)) @ count
