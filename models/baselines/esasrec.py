"""eSASRec (Tikhonovich et al., RecSys 2025, arXiv 2508.06450): SASRec with LiGR layers and a sampled softmax.

It differs from the paper in what it shares with our SASRec: the start token, the item bias, the last norm and
a logQ correction. As in the paper, `share_negatives: false` draws the negatives for each target.
"""

from torch import Tensor, nn

from models.baselines.sasrec import SASRec
from models.config import ModelConfig
from models.layers.sequence_encoders import AttentionEncoder, LiGRBlock


class ESASRec(SASRec):
    """SASRec's objective with the layers of LiGR."""

    @staticmethod
    def build_encoder(config: ModelConfig) -> nn.Module:
        blocks = (LiGRBlock(config.width, config.heads, config.dropout) for _ in range(config.layers))
        return AttentionEncoder(config.width, 0.0, blocks)  # SASRec has dropped parts of the input already

    def encode_states(self, x_BSD: Tensor) -> Tensor:
        return self.encoder(x_BSD)
