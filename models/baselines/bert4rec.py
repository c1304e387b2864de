"""BERT4Rec (Sun et al., CIKM 2019, arXiv 1904.06690): fill in the videos that are hidden, then the next one.

Positions are counted back from the newest, as the paper's padding on the left does: what is asked for, a
hidden video at the end, then always stands at position 0. It needs long training: in each step only the
hidden places are learned from.

Legend: B users, T liked videos, S = T + 1 places, N hidden places, I videos, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.baselines.baseline import Baseline
from models.baselines.sasrec import layers
from models.baselines.softmax import next_video_loss
from models.histories import Batch
from models.interest import Interest, Spec
from models.likes import liked_rows

HIDDEN = 0.2  # share of the places that are hidden in training
ONLY_LAST = 0.1  # share of the users of whom only the newest video is hidden, as when scoring


class BERT4Rec(Baseline):
    """Row I of the table is the token [MASK]."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.video = nn.Embedding(self.videos + 1, spec.width)
        self.position = nn.Embedding(spec.max_length + 1, spec.width)
        self.drop = nn.Dropout(spec.dropout)
        self.encoder = layers(spec)
        self.head = nn.Sequential(nn.Linear(spec.width, spec.width), nn.GELU(), nn.LayerNorm(spec.width))
        self.bias = nn.Parameter(torch.zeros(self.videos))
        for table in (self.video, self.position):
            nn.init.normal_(table.weight, std=0.02)

    def states(self, row_BS: Tensor, mask_BS: Tensor) -> Tensor:
        """h_BSD; every place looks at all real ones."""
        back_BS = (mask_BS.sum(1, keepdim=True) - 1 - torch.arange(row_BS.shape[1])).clamp(min=0)
        x_BSD = self.drop(self.video(row_BS) + self.position(back_BS))
        return self.head(self.encoder(x_BSD, src_key_padding_mask=~mask_BS))

    def loss(self, batch: Batch, row_V: Tensor) -> Tensor:
        """−log softmax of the hidden videos."""
        row_BT, mask_BT = liked_rows(batch, row_V)
        some_B = mask_BT.any(1)
        if not some_B.any():
            return self.bias.sum() * 0.0
        row_BT, mask_BT = row_BT[some_B], mask_BT[some_B]
        hidden_BT = hide(mask_BT)
        h_BTD = self.states(torch.where(hidden_BT, self.videos, row_BT), mask_BT)
        return next_video_loss(h_BTD[hidden_BT], self.video.weight[:-1], self.bias, row_BT[hidden_BT])

    def read(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The state of a hidden video after the newest."""
        length_B1 = mask_BT.sum(1, keepdim=True)
        row_BS = F.pad(row_BT, (0, 1)).scatter(1, length_B1, self.videos)
        h_BSD = self.states(row_BS, F.pad(mask_BT, (1, 0), value=True))
        return h_BSD[torch.arange(len(row_BT)), length_B1.squeeze(1)]

    def score(self, interest: Interest) -> Tensor:
        return interest.z_ND @ self.video.weight[:-1].T + self.bias


def hide(mask_BT: Tensor) -> Tensor:
    """Which places are hidden: some at random, or only the newest; of everybody at least one."""
    last_BT = torch.arange(mask_BT.shape[1]) == mask_BT.sum(1, keepdim=True) - 1
    some_BT = (torch.rand(mask_BT.shape) < HIDDEN) & mask_BT
    only_last_B1 = (torch.rand(len(mask_BT), 1) < ONLY_LAST) | ~some_BT.any(1, keepdim=True)
    return torch.where(only_last_B1, last_BT, some_BT)
