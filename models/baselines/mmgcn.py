"""MMGCN (Wei et al., MM 2019): one graph network for each modality, on the graph of training data.

The published code does not train the preferences and the ID embeddings. Here the optimizer has every tensor.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.baselines.content import ContentBaseline, ContentVocabulary
from models.baselines.graph import mean_adjacency
from models.baselines.mf_bpr import sample_bpr_triples
from models.config import ModelConfig
from models.data.items import ItemTable
from models.data.positives import positive_id_rows
from models.data.sequences import SeenItems, SequenceBatch

NUM_LAYERS = 3
L2_WEIGHT = 1e-4  # of the ID embeddings and preferences of a step


class GraphLayer(nn.Module):
    """Equations 1 to 6: h = LeakyReLU(W₁ mean of neighbours), x̂ = LeakyReLU(W₂ x) + ID, then W₃ [h ; x̂]."""

    def __init__(self, num_modalities: int, width: int) -> None:
        super().__init__()
        self.neighbours_MDD = nn.Parameter(torch.empty(num_modalities, width, width))
        self.own_MDD = nn.Parameter(torch.empty(num_modalities, width, width))
        self.combination_MFD = nn.Parameter(torch.empty(num_modalities, 2 * width, width))
        for weight in self.parameters():
            for matrix in weight:
                nn.init.xavier_normal_(matrix)

    def forward(self, mean_MND: Tensor, x_MND: Tensor, id_ND: Tensor) -> Tensor:
        """Return the next x_MND.

        Args:
            mean_MND: Mean of x over the neighbours of each node. Zero if it has none.
            x_MND: The nodes.
            id_ND: Their ID embeddings, the same for all modalities.
        """
        h_MND = F.leaky_relu(mean_MND @ self.neighbours_MDD)
        own_MND = F.leaky_relu(x_MND @ self.own_MDD) + id_ND
        return F.leaky_relu(torch.cat([h_MND, own_MND], 2) @ self.combination_MFD)


class MMGCN(ContentBaseline):
    """x_XD is the mean over modalities after three layers, with BPR. The graph holds training data only.

    Layer 0 is the normalised preference of a user or content of a video. A new user is one more node, linked
    to the positives, with the mean preference and the mean ID embedding. A new video is a node without
    links, with its content and the mean ID embedding.
    """

    item_states_LMID: Tensor
    item_embedding_ID: Tensor
    mean_preference_MD: Tensor
    mean_user_id_D: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        M, I, D = len(config.modalities), self.num_videos, config.width  # noqa: E741
        self.id_embedding = nn.Embedding(I, D)
        nn.init.normal_(self.id_embedding.weight, std=0.1)
        self.layers = nn.ModuleList(GraphLayer(M, D) for _ in range(NUM_LAYERS))
        self.register_buffer("item_states_LMID", torch.zeros(NUM_LAYERS, M, I, D))
        self.register_buffer("item_embedding_ID", torch.zeros(I, D))
        self.register_buffer("mean_preference_MD", torch.zeros(M, D))
        self.register_buffer("mean_user_id_D", torch.zeros(D))

    def init_from_statistics(self, positives: SeenItems) -> None:
        super().init_from_statistics(positives)
        self.positives, self.num_users = positives, len(positives.offsets) - 1
        self.adjacency_XX = mean_adjacency(positives, self.num_videos)
        D = self.config.width
        self.user_id_embedding = nn.Embedding(self.num_users, D)
        self.preference_MUD = nn.Parameter(torch.empty(len(self.projections), self.num_users, D))
        for tensor in (self.user_id_embedding.weight, self.preference_MUD):
            nn.init.normal_(tensor, std=0.1)

    def drop_user_embeddings(self) -> None:
        super().drop_user_embeddings()
        del self.user_id_embedding, self.preference_MUD, self.positives, self.adjacency_XX

    def propagate(self) -> list[Tensor]:
        """Return the states of the nodes in layers 0 to 3, each [M, X, D]."""
        content_MID = self.embed_content(self.training_items)
        x_MXD = [F.normalize(torch.cat([self.preference_MUD, content_MID], 1), dim=2)]
        id_XD = torch.cat([self.user_id_embedding.weight, self.id_embedding.weight])
        for layer in self.layers:
            mean_MXD = torch.stack([self.adjacency_XX @ x_XD for x_XD in x_MXD[-1]])
            x_MXD.append(layer(mean_MXD, x_MXD[-1], id_XD))
        return x_MXD

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        user_N, positive_N, negative_N = sample_bpr_triples(
            self.positives, *positive_id_rows(batch, id_row_V), batch.users_B, self.num_videos
        )
        final_XD = self.propagate()[-1].mean(0)
        p_ND, q_ID = final_XD[user_N], final_XD[self.num_users :]
        margin_N = (p_ND * (q_ID[positive_N] - q_ID[negative_N])).sum(1)
        video_N = torch.cat([positive_N, negative_N])
        squares = self.user_id_embedding(user_N).square().sum() + self.id_embedding(video_N).square().sum()
        squares = squares + self.preference_MUD[:, user_N].square().sum()
        return (-F.logsigmoid(margin_N).sum() + L2_WEIGHT / 2 * squares) / max(len(user_N), 1)

    @torch.no_grad()
    def prepare_scoring(self) -> None:
        """Store the states of the videos, and the mean user that stands for a new one."""
        x_MXD = self.propagate()
        self.item_states_LMID.copy_(torch.stack(x_MXD[:-1])[:, :, self.num_users :])
        self.item_embedding_ID.copy_(x_MXD[-1].mean(0)[self.num_users :])
        self.mean_preference_MD.copy_(self.preference_MUD.mean(1))
        self.mean_user_id_D.copy_(self.user_id_embedding.weight.mean(0))

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Fold in users: the states of a new node that is linked to the positives."""
        count_B1 = mask_BT.sum(1, keepdim=True).clamp(min=1)
        x_MBD = F.normalize(self.mean_preference_MD, dim=1)[:, None].expand(-1, len(row_BT), -1)
        for layer, x_MID in zip(self.layers, self.item_states_LMID, strict=True):
            mean_BD = [(x_ID[row_BT] * mask_BT[:, :, None]).sum(1) / count_B1 for x_ID in x_MID]
            x_MBD = layer(torch.stack(mean_BD), x_MBD, self.mean_user_id_D)
        return x_MBD.mean(0)

    def encode_items(self, item_table: ItemTable) -> ContentVocabulary:
        is_new_V = item_table.id_row_V < 0
        w_VD = self.item_embedding_ID[item_table.id_row_V]
        w_VD[is_new_V] = self.embed_new_videos(item_table.select(is_new_V.nonzero().squeeze(1)))
        return ContentVocabulary(item_table.id_row_V, w_VD)

    def embed_new_videos(self, item_table: ItemTable) -> Tensor:
        """Return the final states of videos without links."""
        x_MVD = F.normalize(self.embed_content(item_table), dim=2)
        for layer in self.layers:
            x_MVD = layer(torch.zeros_like(x_MVD), x_MVD, self.id_embedding.weight.mean(0))
        return x_MVD.mean(0)
