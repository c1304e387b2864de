"""BM3 (Zhou et al., WWW 2023, arXiv 2207.05969): contrastive learning on a graph without negatives.

Each vector predicts the view of another one, which dropout made and which gets no gradient.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.baselines.content import ContentBaseline, ContentVocabulary
from models.baselines.lightgcn import LightGCN
from models.config import ModelConfig
from models.data.items import ItemTable
from models.data.positives import positive_id_rows
from models.data.sequences import SequenceBatch

L2_WEIGHT = 1e-4  # of the embeddings before propagation


class BM3(ContentBaseline, LightGCN):
    """LightGCN's embeddings h, trained to predict each other: score = ⟨f(h_u), f(h_i)⟩.

    An item embedding also has its own embedding before propagation as a residual. The content x̃ₘ of a video
    is trained to predict h_i. So f(x̃) stands for the h_i of a new video.
    """

    content_norm: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.predictor = nn.Linear(config.width, config.width)
        self.register_buffer("content_norm", torch.ones(()))

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        """Return the mean loss of the positives: reconstruction of the graph, and two losses of content."""
        row_BT, mask_BT = positive_id_rows(batch, id_row_V)
        user_N, row_N = batch.users_B[mask_BT.nonzero()[:, 0]], row_BT[mask_BT]
        h_XD, own_XD = torch.stack(self.propagate()).mean(0), self.node_embedding.weight
        user_ND = h_XD[user_N]
        item_ND = h_XD[self.num_users + row_N] + own_XD[self.num_users + row_N]
        loss_N = self.distance(user_ND, item_ND) + self.distance(item_ND, user_ND)
        content_MND = self.embed_content(self.training_items)[:, row_N]
        for x_ND, has_N in zip(content_MND, self.training_items.has_VM[row_N].T, strict=True):
            loss_N = loss_N + has_N * (self.distance(x_ND, item_ND) + self.distance(x_ND, x_ND))
        squares = own_XD[user_N].square().sum() + own_XD[self.num_users + row_N].square().sum()
        return (loss_N.sum() + L2_WEIGHT / 2 * squares) / max(len(row_N), 1)

    def distance(self, x_ND: Tensor, target_ND: Tensor) -> Tensor:
        """Return 1 − cosine of f(x) and a view of the target."""
        view_ND = F.dropout(target_ND.detach(), self.config.dropout)
        return 1 - F.cosine_similarity(self.predictor(x_ND), view_ND, dim=1)

    @torch.no_grad()
    def prepare_scoring(self) -> None:
        super().prepare_scoring()
        self.item_embedding_ID.add_(self.node_embedding.weight[self.num_users :])
        self.content_norm.copy_(self.item_embedding_ID.norm(dim=1).mean())

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return self.predictor(super().encode_sequence(row_BT, mask_BT))

    def encode_items(self, item_table: ItemTable) -> ContentVocabulary:
        has_MV1 = item_table.has_VM.T[:, :, None]
        predicted_VD = (self.predictor(self.embed_content(item_table)) * has_MV1).sum(0)
        content_VD = self.content_norm * F.normalize(predicted_VD, dim=1)
        is_new_V1 = item_table.id_row_V[:, None] < 0
        h_VD = torch.where(is_new_V1, content_VD, self.item_embedding_ID[item_table.id_row_V])
        return ContentVocabulary(item_table.id_row_V, self.predictor(h_VD))
