"""BERT4Rec (Sun et al., CIKM 2019, arXiv 1904.06690): predict masked videos, then the next one.

Positions are counted from the newest video, like the paper's padding on the left. So a masked video at the
end always has position 0. Training takes long, because each step learns from the masked positions only.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.baselines.baseline import Baseline
from models.baselines.next_item_loss import next_item_loss
from models.baselines.sasrec import build_transformer
from models.config import ModelConfig
from models.data.positives import positive_id_rows
from models.data.sequences import SequenceBatch
from models.data.user_state import UserState

MASK_PROBABILITY = 0.2  # share of the positions that are masked in training
MASK_LAST_PROBABILITY = 0.1  # share of the users whose newest video alone is masked, as in scoring


class BERT4Rec(Baseline):
    """A bidirectional Transformer over positives. Row I of the embedding is the token [MASK]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.item_embedding = nn.Embedding(self.num_videos + 1, config.width)
        self.position_embedding = nn.Embedding(config.max_length + 1, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = build_transformer(config)
        self.head = nn.Sequential(
            nn.Linear(config.width, config.width), nn.GELU(), nn.LayerNorm(config.width)
        )
        self.bias = nn.Parameter(torch.zeros(self.num_videos))
        for table in (self.item_embedding, self.position_embedding):
            nn.init.normal_(table.weight, std=0.02)

    def hidden_states(self, row_BS: Tensor, mask_BS: Tensor) -> Tensor:
        """Return h_BSD. Every position attends to all positions that are not padding."""
        position_BS = (mask_BS.sum(1, keepdim=True) - 1 - torch.arange(row_BS.shape[1])).clamp(min=0)
        x_BSD = self.dropout(self.item_embedding(row_BS) + self.position_embedding(position_BS))
        return self.head(self.encoder(x_BSD, src_key_padding_mask=~mask_BS))

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        """Return the mean −log softmax of the masked videos."""
        row_BT, mask_BT = positive_id_rows(batch, id_row_V)
        has_positive_B = mask_BT.any(1)
        if not has_positive_B.any():
            return self.bias.sum() * 0.0
        row_BT, mask_BT = row_BT[has_positive_B], mask_BT[has_positive_B]
        masked_BT = sample_masked_positions(mask_BT)
        h_BTD = self.hidden_states(torch.where(masked_BT, self.num_videos, row_BT), mask_BT)
        return next_item_loss(
            h_BTD[masked_BT], self.item_embedding.weight[:-1], self.bias, row_BT[masked_BT], self.config
        )

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the state of a masked video after the newest one."""
        length_B1 = mask_BT.sum(1, keepdim=True)
        row_BS = F.pad(row_BT, (0, 1)).scatter(1, length_B1, self.num_videos)
        h_BSD = self.hidden_states(row_BS, F.pad(mask_BT, (1, 0), value=True))
        return h_BSD[torch.arange(len(row_BT)), length_B1.squeeze(1)]

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        return user_state.z_ND @ self.item_embedding.weight[:-1].T + self.bias


def sample_masked_positions(mask_BT: Tensor) -> Tensor:
    """Sample the masked positions: random ones, or only the newest. Each user has at least one."""
    last_BT = torch.arange(mask_BT.shape[1]) == mask_BT.sum(1, keepdim=True) - 1
    random_BT = (torch.rand(mask_BT.shape) < MASK_PROBABILITY) & mask_BT
    mask_last_B1 = (torch.rand(len(mask_BT), 1) < MASK_LAST_PROBABILITY) | ~random_BT.any(1, keepdim=True)
    return torch.where(mask_last_B1, last_BT, random_BT)
