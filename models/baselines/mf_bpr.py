"""MF-BPR: matrix factorisation with Bayesian personalised ranking.

Source: Rendle et al., UAI 2009, arXiv 1205.2618.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.baselines.baseline import Baseline
from models.config import ModelConfig
from models.data.positives import positive_id_rows
from models.data.sequences import SeenItems, SequenceBatch
from models.data.user_state import UserState

UNOBSERVED_WEIGHT = 0.1  # weight of all videos in the fold-in, relative to positives
RIDGE_WEIGHT = 0.1  # ridge penalty of the fold-in


class MFBPR(Baseline):
    """x̂_ui = ⟨p_u, q_i⟩ + b_i with the loss −ln σ(x̂_ui − x̂_uj), where u has not liked the sampled j.

    The user vectors p_u are learned with the q_i and then deleted. For scoring, users are folded in from
    their positives.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.item_embedding = nn.Embedding(self.num_videos, config.width)
        self.bias = nn.Parameter(torch.zeros(self.num_videos))
        nn.init.normal_(self.item_embedding.weight, std=0.1)

    def init_from_statistics(self, positives: SeenItems) -> None:
        super().init_from_statistics(positives)
        self.positives = positives
        self.user_embedding = nn.Embedding(len(positives.offsets) - 1, self.config.width)
        nn.init.normal_(self.user_embedding.weight, std=0.1)

    def drop_user_embeddings(self) -> None:
        del self.user_embedding, self.positives

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        user_N, positive_N, negative_N = sample_bpr_triples(
            self.positives, *positive_id_rows(batch, id_row_V), batch.users_B, self.num_videos
        )
        p_ND, q_ID = self.user_embedding(user_N), self.item_embedding
        margin_N = (
            (p_ND * (q_ID(positive_N) - q_ID(negative_N))).sum(1)
            + self.bias[positive_N]
            - self.bias[negative_N]
        )
        return -F.logsigmoid(margin_N).sum() / max(len(margin_N), 1)

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Fold in users: argmin Σ_positive (1 − ⟨p, q⟩)² + w Σ_all ⟨p, q⟩² + λ|p|².

        Source: Hu et al., ICDM 2008, equation 4.

        Returns:
            p_BD.
        """
        q_ID = self.item_embedding.weight
        q_BTD = q_ID[row_BT] * mask_BT[:, :, None]
        ridge_DD = UNOBSERVED_WEIGHT * q_ID.T @ q_ID + RIDGE_WEIGHT * torch.eye(q_ID.shape[1])
        return torch.linalg.solve(ridge_DD + q_BTD.transpose(1, 2) @ q_BTD, q_BTD.sum(1))

    def encode_training_user(self, users_B: Tensor) -> UserState:
        """Return the learned state of training users. Call it before `drop_user_embeddings`."""
        return UserState(self.user_embedding(users_B), self.user_embedding(users_B))

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        return user_state.z_ND @ self.item_embedding.weight.T + self.bias + self.tie_break()


def sample_bpr_triples(
    positives: SeenItems, row_BT: Tensor, mask_BT: Tensor, users_B: Tensor, num_videos: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample one negative for every positive of these users.

    A sampled video that is a positive is sampled again once. If it is a positive then too, the triple is left
    out.

    Returns:
        user_N, positive_N and negative_N.
    """
    position_N, positive_N = mask_BT.nonzero()[:, 0], row_BT[mask_BT]
    negative_N, valid_N = sample_negatives(positives.mask(users_B, num_videos), position_N)
    return users_B[position_N[valid_N]], positive_N[valid_N], negative_N[valid_N]


def sample_negatives(positive_BI: Tensor, position_N: Tensor) -> tuple[Tensor, Tensor]:
    """Sample one video for each example, at most twice.

    Args:
        positive_BI: Bool, the positives of the users of a batch.
        position_N: The user of each example, as a row of the batch.

    Returns:
        negative_N, and valid_N: bool, whether it is no positive of the user.
    """
    first_N, second_N = torch.randint(positive_BI.shape[1], (2, len(position_N)))
    negative_N = torch.where(positive_BI[position_N, first_N], second_N, first_N)
    return negative_N, ~positive_BI[position_N, negative_N]
