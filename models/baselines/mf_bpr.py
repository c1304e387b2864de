"""MF-BPR (Rendle et al., UAI 2009, arXiv 1205.2618): matrix factorisation by Bayesian personalised ranking.

Legend: U training users, B users, T liked videos, N pairs, I videos, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.baselines.baseline import Baseline
from models.histories import Batch, Seen
from models.interest import Interest, Spec
from models.likes import liked_rows

UNSEEN = 0.1  # weight of what was not liked when somebody is folded in
RIDGE = 0.1  # of the folding in


class MFBPR(Baseline):
    """x̂_ui = ⟨p_u, q_i⟩ + b_i, and −ln σ(x̂_ui − x̂_uj) with one j that u has not liked.

    p_u is learned with the q and left behind: whoever is to be scored is folded in from what was liked.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.video = nn.Embedding(self.videos, spec.width)
        self.bias = nn.Parameter(torch.zeros(self.videos))
        nn.init.normal_(self.video.weight, std=0.1)

    def start(self, likes: Seen) -> None:
        super().start(likes)
        self.likes = likes
        self.user = nn.Embedding(len(likes.offsets) - 1, self.spec.width)
        nn.init.normal_(self.user.weight, std=0.1)

    def forget_people(self) -> None:
        del self.user, self.likes

    def loss(self, batch: Batch, row_V: Tensor) -> Tensor:
        user_N, liked_N, other_N = triples(self.likes, *liked_rows(batch, row_V), batch.users_B, self.videos)
        p_ND, q_ID = self.user(user_N), self.video
        gap_N = (p_ND * (q_ID(liked_N) - q_ID(other_N))).sum(1) + self.bias[liked_N] - self.bias[other_N]
        return -F.logsigmoid(gap_N).sum() / max(len(gap_N), 1)

    def read(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """p_BD = argmin Σ_liked (1 − ⟨p, q⟩)² + w Σ_all ⟨p, q⟩² + λ|p|² (Hu et al., ICDM 2008, eq. 4)."""
        q_ID = self.video.weight
        q_BTD = q_ID[row_BT] * mask_BT[:, :, None]
        ridge_DD = UNSEEN * q_ID.T @ q_ID + RIDGE * torch.eye(q_ID.shape[1])
        return torch.linalg.solve(ridge_DD + q_BTD.transpose(1, 2) @ q_BTD, q_BTD.sum(1))

    def known(self, users_B: Tensor) -> Interest:
        """Of users who were in training, before they are forgotten: what was learned of each."""
        return Interest(self.user(users_B), self.user(users_B))

    def score(self, interest: Interest) -> Tensor:
        return interest.z_ND @ self.video.weight.T + self.bias + self.tie_break()


def triples(
    likes: Seen, row_BT: Tensor, mask_BT: Tensor, users_B: Tensor, videos: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Every liked video of these users beside a drawn one: user_N, liked_N, other_N.

    What was drawn and is liked, too, is drawn again once; what is liked even then is left out.
    """
    liked_BI = likes.mask(users_B, videos)
    at_N, liked_N = mask_BT.nonzero()[:, 0], row_BT[mask_BT]
    first_N, second_N = torch.randint(videos, (2, len(liked_N)))
    other_N = torch.where(liked_BI[at_N, first_N], second_N, first_N)
    fit_N = ~liked_BI[at_N, other_N]
    return users_B[at_N[fit_N]], liked_N[fit_N], other_N[fit_N]
