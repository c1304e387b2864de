"""ComiRec-SA (Cen et al., KDD 2020, arXiv 2005.09347): several interest vectors of a user, called trends.

It differs from the paper in five ways. The attention reads the distance to the newest positive instead of
the position. All positives are targets in a step and not only one. The softmax is over all or many videos.
A start token gives users without positives a state. The aggregation module for diversity is left out.

In this module X counts the trends.
"""

from functools import reduce

import torch
from torch import Tensor, nn

from models.baselines.baseline import Baseline
from models.baselines.next_item_loss import next_item_loss
from models.config import ModelConfig
from models.data.positives import positive_id_rows
from models.data.sequences import SequenceBatch
from models.data.user_state import UserState

ATTENTION_WIDTH = 4  # hidden width of the attention, in multiples of D, as in the paper


class ComiRec(Baseline):
    """Each trend is a mean of the positives with its own attention. A video is scored by its best trend.

    The user embedding z holds the X trends one after another, X · D numbers.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        D, X = config.width, config.trends
        self.item_embedding = nn.Embedding(self.num_videos, D)
        self.start_token = nn.Parameter(torch.zeros(D))
        self.attention = nn.Sequential(
            nn.Linear(D, ATTENTION_WIDTH * D, bias=False),
            nn.Tanh(),
            nn.Linear(ATTENTION_WIDTH * D, X, bias=False),
        )
        self.distance_bias = nn.Embedding(config.max_length + 1, X)
        self.dropout = nn.Dropout(config.dropout)
        self.bias = nn.Parameter(torch.zeros(self.num_videos))
        nn.init.normal_(self.item_embedding.weight, std=0.02)
        nn.init.zeros_(self.distance_bias.weight)

    @property
    def training_length(self) -> int:
        """One more than in scoring, because the newest is only a target. So the last distance is trained."""
        return self.config.max_length + 1

    def trend_states(self, row_BT: Tensor) -> Tensor:
        """Return the trends after 0, 1, … positives, [B, S, X, D].

        v_x = Σ_s softmax_s(w_xᵀ tanh(W₁ e_s) + b_x[distance of s]) e_s, equations 5 and 6 of the paper.
        Padding on the right comes after every real state.
        """
        start_B1D = self.start_token.expand(len(row_BT), 1, -1)
        e_BSD = self.dropout(torch.cat([start_B1D, self.item_embedding(row_BT)], 1) * self.config.width**0.5)
        weight_BXSS = self.attention_weights(e_BSD)
        return (weight_BXSS @ e_BSD[:, None]).transpose(1, 2)

    def attention_weights(self, e_BSD: Tensor) -> Tensor:
        """Return how much the trends after each positive read of each earlier one, [B, X, S, S]."""
        position_S = torch.arange(e_BSD.shape[1])
        distance_SS = position_S[:, None] - position_S
        bias_SSX = self.distance_bias(distance_SS.clamp(min=0))
        logit_BXSS = self.attention(e_BSD).transpose(1, 2)[:, :, None] + bias_SSX.permute(2, 0, 1)
        return logit_BXSS.masked_fill(distance_SS < 0, -torch.inf).softmax(-1)

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        """Return the mean −log softmax. Every positive is the target of its best trend before it."""
        row_BT, mask_BT = positive_id_rows(batch, id_row_V)
        if not mask_BT.any():
            return self.bias.sum() * 0.0
        trend_NXD, target_N = self.trend_states(row_BT[:, :-1])[mask_BT], row_BT[mask_BT]
        score_NX = (trend_NXD.detach() @ self.item_embedding(target_N).detach()[:, :, None]).squeeze(2)
        best_ND = trend_NXD[torch.arange(len(target_N)), score_NX.argmax(1)]
        return next_item_loss(best_ND, self.item_embedding.weight, self.bias, target_N, self.config)

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return self.trend_states(row_BT)[torch.arange(len(row_BT)), mask_BT.sum(1)].flatten(1)

    def trends(self, user_state: UserState) -> Tensor:
        """Return the trends of each user, [N, X, D]."""
        return user_state.z_ND.unflatten(1, (self.config.trends, -1))

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        """Return the score of each video by its best trend. One trend at a time bounds the memory."""
        trend_scores = (z_ND @ self.item_embedding.weight.T for z_ND in self.trends(user_state).unbind(1))
        return reduce(torch.maximum, trend_scores) + self.bias
