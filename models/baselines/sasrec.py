"""SASRec (Kang & McAuley, ICDM 2018, arXiv 1808.09781): a causal Transformer over the videos liked.

Different from the paper: softmax over all videos instead of one negative (arXiv 2308.07192), pre-norm layers,
and a first token, so that somebody who has liked nothing yet gets what people like first.

Legend: B users, T liked videos, S = T + 1 states (state i has read i videos), N positions, I videos, D width.
"""

import torch
from torch import Tensor, nn

from models.baselines.baseline import Baseline
from models.baselines.softmax import next_video_loss
from models.histories import Batch
from models.interest import Interest, Spec
from models.likes import liked_rows


def layers(spec: Spec) -> nn.TransformerEncoder:
    """The Transformer of SASRec and BERT4Rec, which differ in what may look at what."""
    layer = nn.TransformerEncoderLayer(
        spec.width,
        spec.heads,
        4 * spec.width,
        spec.dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    norm = nn.LayerNorm(spec.width)
    return nn.TransformerEncoder(layer, spec.layers, norm, enable_nested_tensor=False)


class SASRec(Baseline):
    """The IDs that are read and the IDs that are scored share one table."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.video = nn.Embedding(self.videos, spec.width)
        self.first = nn.Parameter(torch.zeros(spec.width))
        self.position = nn.Embedding(spec.max_length + 1, spec.width)
        self.drop = nn.Dropout(spec.dropout)
        self.encoder = layers(spec)
        self.bias = nn.Parameter(torch.zeros(self.videos))
        for table in (self.video, self.position):
            nn.init.normal_(table.weight, std=0.02)

    def states(self, row_BT: Tensor) -> Tensor:
        """h_BSD: what is known after 0, 1, … videos. Padding on the right comes after every real state."""
        first_B1D = self.first.expand(len(row_BT), 1, -1)
        x_BSD = torch.cat([first_B1D, self.video(row_BT)], 1) * self.spec.width**0.5
        x_BSD = self.drop(x_BSD + self.position.weight[: x_BSD.shape[1]])
        future_SS = torch.ones(x_BSD.shape[1], x_BSD.shape[1], dtype=torch.bool).triu(1)
        return self.encoder(x_BSD, mask=future_SS, is_causal=True)

    def loss(self, batch: Batch, row_V: Tensor) -> Tensor:
        """Every video is the target of the state before it."""
        row_BT, mask_BT = liked_rows(batch, row_V)
        if not mask_BT.any():
            return self.bias.sum() * 0.0
        h_BTD = self.states(row_BT[:, :-1])
        return next_video_loss(h_BTD[mask_BT], self.video.weight, self.bias, row_BT[mask_BT])

    def read(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return self.states(row_BT)[torch.arange(len(row_BT)), mask_BT.sum(1)]

    def score(self, interest: Interest) -> Tensor:
        return interest.z_ND @ self.video.weight.T + self.bias
