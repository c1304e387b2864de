"""SASRec (Kang & McAuley, ICDM 2018, arXiv 1808.09781): a causal Transformer over positives.

It differs from the paper in three ways. The softmax is over all or many videos instead of one negative
(arXiv 2308.07192). Layers are pre-norm. A start token gives users without positives a state.
"""

import torch
from torch import Tensor, nn

from models.baselines.baseline import Baseline
from models.baselines.next_item_loss import next_item_loss
from models.config import ModelConfig
from models.data.positives import positive_id_rows
from models.data.sequences import SequenceBatch
from models.data.user_state import UserState


def build_transformer(config: ModelConfig) -> nn.TransformerEncoder:
    """Build the Transformer of SASRec and BERT4Rec. They differ in their attention masks only."""
    layer = nn.TransformerEncoderLayer(
        config.width,
        config.heads,
        4 * config.width,
        config.dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    norm = nn.LayerNorm(config.width)
    return nn.TransformerEncoder(layer, config.layers, norm, enable_nested_tensor=False)


class SASRec(Baseline):
    """One table holds the IDs that are read and those that are scored."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.item_embedding = nn.Embedding(self.num_videos, config.width)
        self.start_token = nn.Parameter(torch.zeros(config.width))
        self.position_embedding = nn.Embedding(config.max_length + 1, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = self.build_encoder(config)
        self.bias = nn.Parameter(torch.zeros(self.num_videos))
        for table in (self.item_embedding, self.position_embedding):
            nn.init.normal_(table.weight, std=0.02)

    @staticmethod
    def build_encoder(config: ModelConfig) -> nn.Module:
        """Build the layers that `encode_states` applies."""
        return build_transformer(config)

    @property
    def training_length(self) -> int:
        """One more than in scoring, because the newest is only a target. So the last position is trained."""
        return self.config.max_length + 1

    def encode_states(self, x_BSD: Tensor) -> Tensor:
        """Return h_BSD. A state reads only the states before it and itself."""
        future_SS = torch.ones(x_BSD.shape[1], x_BSD.shape[1], dtype=torch.bool).triu(1)
        return self.encoder(x_BSD, mask=future_SS, is_causal=True)

    def hidden_states(self, row_BT: Tensor) -> Tensor:
        """Return h_BSD, the state after 0, 1, … videos. Padding on the right comes after every real state."""
        return self.states_after(self.item_embedding(row_BT))

    def states_after(self, x_BTD: Tensor) -> Tensor:
        """Return h_BSD, the state after 0, 1, … of these vectors."""
        start_B1D = self.start_token.expand(len(x_BTD), 1, -1)
        x_BSD = torch.cat([start_B1D, x_BTD], 1) * self.config.width**0.5
        x_BSD = self.dropout(x_BSD + self.position_embedding.weight[: x_BSD.shape[1]])
        return self.encode_states(x_BSD)

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        """Return the mean −log softmax. Every video is the target of the state before it."""
        row_BT, mask_BT = positive_id_rows(batch, id_row_V)
        if not mask_BT.any():
            return self.bias.sum() * 0.0
        h_BTD = self.hidden_states(row_BT[:, :-1])
        return next_item_loss(
            h_BTD[mask_BT], self.item_embedding.weight, self.bias, row_BT[mask_BT], self.config
        )

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return self.hidden_states(row_BT)[torch.arange(len(row_BT)), mask_BT.sum(1)]

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        return user_state.z_ND @ self.item_embedding.weight.T + self.bias
