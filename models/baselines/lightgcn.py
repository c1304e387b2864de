"""LightGCN (He et al., SIGIR 2020, arXiv 2002.02126): neighbours' vectors, averaged over three layers.

Legend: U training users, I videos, G = U + I nodes of the graph, B users, T liked videos, N pairs, D width.
"""

import warnings

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.baselines.baseline import Baseline
from models.baselines.mf_bpr import triples
from models.histories import Batch, Seen
from models.interest import Interest, Spec
from models.likes import liked_rows, matrix

LAYERS = 3
L2 = 1e-4  # of the vectors before propagation, as in the paper


class LightGCN(Baseline):
    """E^(k+1) = D^-½ A D^-½ E^(k), the mean over k scored; BPR. The graph is of the training data only.

    Somebody is folded in as one more node with a zero vector of its own: its mean over the layers is then the
    sum of `given_ID` of what was liked over √(number liked), exactly.
    """

    final_ID: Tensor
    given_ID: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.register_buffer("final_ID", torch.zeros(self.videos, spec.width))
        self.register_buffer("given_ID", torch.zeros(self.videos, spec.width))

    def start(self, likes: Seen) -> None:
        super().start(likes)
        self.likes, self.users = likes, len(likes.offsets) - 1
        self.graph_GG = normalised(likes, self.videos)
        self.node = nn.Embedding(self.users + self.videos, self.spec.width)
        nn.init.normal_(self.node.weight, std=0.1)

    def forget_people(self) -> None:
        del self.node, self.likes, self.graph_GG

    def layers(self) -> list[Tensor]:
        """E^(0) … E^(K), each [G, D]."""
        e_GD = [self.node.weight]
        for _ in range(LAYERS):
            e_GD.append(self.graph_GG @ e_GD[-1])
        return e_GD

    def loss(self, batch: Batch, row_V: Tensor) -> Tensor:
        user_N, liked_N, other_N = triples(self.likes, *liked_rows(batch, row_V), batch.users_B, self.videos)
        final_GD = torch.stack(self.layers()).mean(0)
        p_ND, q_ID = final_GD[user_N], final_GD[self.users :]
        gap_N = (p_ND * (q_ID[liked_N] - q_ID[other_N])).sum(1)
        own_ND = self.node(torch.cat([user_N, self.users + liked_N, self.users + other_N]))
        loss_N = -F.logsigmoid(gap_N)
        return (loss_N.sum() + L2 / 2 * own_ND.square().sum()) / max(len(user_N), 1)

    @torch.no_grad()
    def settle(self) -> None:
        """Keep what a video is scored by, and what it gives to those who like it."""
        e_GD = self.layers()
        self.final_ID.copy_(torch.stack(e_GD).mean(0)[self.users :])
        degree_I1 = self.liked_I.clamp(min=1)[:, None]
        self.given_ID.copy_(torch.stack(e_GD[:-1]).sum(0)[self.users :] / degree_I1.sqrt() / (LAYERS + 1))

    def read(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        sum_BD = (self.given_ID[row_BT] * mask_BT[:, :, None]).sum(1)
        return sum_BD / mask_BT.sum(1, keepdim=True).clamp(min=1).sqrt()

    @torch.no_grad()
    def known(self, users_B: Tensor) -> Interest:
        """Of users who were in training, before they are forgotten: what was learned of each."""
        z_BD = torch.stack(self.layers()).mean(0)[users_B]
        return Interest(z_BD, z_BD)

    def score(self, interest: Interest) -> Tensor:
        return interest.z_ND @ self.final_ID.T + self.tie_break()


def normalised(likes: Seen, videos: int) -> Tensor:
    """D^-½ A D^-½ of users and videos [G, G], sparse."""
    r_UI = matrix(likes, videos)
    a_GG = sp.block_array([[None, r_UI], [r_UI.T, None]], format="csr")
    scale_G = 1 / np.sqrt(np.maximum(a_GG.sum(0), 1))
    a_GG = (sp.diags_array(scale_G) @ a_GG @ sp.diags_array(scale_G)).tocsr().astype(np.float32)
    indptr, indices, data = map(torch.from_numpy, (a_GG.indptr, a_GG.indices, a_GG.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(indptr.long(), indices.long(), data, a_GG.shape, check_invariants=True)
