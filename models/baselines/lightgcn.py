"""LightGCN (He et al., SIGIR 2020, arXiv 2002.02126): embeddings averaged over the layers of a graph.

models/baselines/graph.py describes the graph.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.baselines.baseline import Baseline
from models.baselines.graph import normalised_adjacency
from models.baselines.mf_bpr import sample_bpr_triples
from models.config import ModelConfig
from models.data.positives import positive_id_rows
from models.data.sequences import SeenItems, SequenceBatch
from models.data.user_state import UserState

NUM_LAYERS = 3
L2_WEIGHT = 1e-4  # of the embeddings before propagation, as in the paper


class LightGCN(Baseline):
    """E^(k+1) = D^-½ A D^-½ E^(k), with BPR on the mean over k. The graph holds training data only.

    A new user is folded in as one more node whose own embedding is zero. The mean over the layers is then
    exactly the sum of `propagated_ID` over the positives, divided by √(number of positives).
    """

    item_embedding_ID: Tensor
    propagated_ID: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.register_buffer("item_embedding_ID", torch.zeros(self.num_videos, config.width))
        self.register_buffer("propagated_ID", torch.zeros(self.num_videos, config.width))

    def init_from_statistics(self, positives: SeenItems) -> None:
        super().init_from_statistics(positives)
        self.positives, self.num_users = positives, len(positives.offsets) - 1
        self.adjacency_XX = normalised_adjacency(positives, self.num_videos)
        self.node_embedding = nn.Embedding(self.num_users + self.num_videos, self.config.width)
        nn.init.normal_(self.node_embedding.weight, std=0.1)

    def drop_user_embeddings(self) -> None:
        del self.node_embedding, self.positives, self.adjacency_XX

    def propagate(self) -> list[Tensor]:
        """Return E^(0) … E^(K), each [X, D]."""
        e_XD = [self.node_embedding.weight]
        for _ in range(NUM_LAYERS):
            e_XD.append(self.adjacency_XX @ e_XD[-1])
        return e_XD

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        user_N, positive_N, negative_N = sample_bpr_triples(
            self.positives, *positive_id_rows(batch, id_row_V), batch.users_B, self.num_videos
        )
        final_XD = torch.stack(self.propagate()).mean(0)
        p_ND, q_ID = final_XD[user_N], final_XD[self.num_users :]
        margin_N = (p_ND * (q_ID[positive_N] - q_ID[negative_N])).sum(1)
        initial_ND = self.node_embedding(
            torch.cat([user_N, self.num_users + positive_N, self.num_users + negative_N])
        )
        loss_N = -F.logsigmoid(margin_N)
        return (loss_N.sum() + L2_WEIGHT / 2 * initial_ND.square().sum()) / max(len(user_N), 1)

    @torch.no_grad()
    def prepare_scoring(self) -> None:
        """Store the embeddings that score videos, and those that fold in users."""
        e_XD = self.propagate()
        self.item_embedding_ID.copy_(torch.stack(e_XD).mean(0)[self.num_users :])
        degree_I1 = self.num_positives_I.clamp(min=1)[:, None]
        self.propagated_ID.copy_(
            torch.stack(e_XD[:-1]).sum(0)[self.num_users :] / degree_I1.sqrt() / (NUM_LAYERS + 1)
        )

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        sum_BD = (self.propagated_ID[row_BT] * mask_BT[:, :, None]).sum(1)
        return sum_BD / mask_BT.sum(1, keepdim=True).clamp(min=1).sqrt()

    @torch.no_grad()
    def encode_training_user(self, users_B: Tensor) -> UserState:
        """Return the learned state of training users. Call it before `drop_user_embeddings`."""
        z_BD = torch.stack(self.propagate()).mean(0)[users_B]
        return UserState(z_BD, z_BD)

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        return user_state.z_ND @ self.item_embedding_ID.T + self.tie_break()
