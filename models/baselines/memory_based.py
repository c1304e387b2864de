"""Baselines that only count: popularity, trending and ItemCF."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.baselines.baseline import Baseline
from models.config import ModelConfig
from models.data.positives import to_csr_matrix
from models.data.sequences import SeenItems
from models.data.user_state import UserState
from models.sources.counting import cosine_similarity, popularity, unit_columns
from models.sources.item_cf import set_cosine_neighbours
from models.sources.neighbours import NUM_NEIGHBOURS, Neighbours


class ItemCF:
    """Item-item cosine: two videos are similar if the same users liked both in training."""

    def __init__(self, positives: SeenItems, num_videos: int) -> None:
        scaled_UV = unit_columns(positives, num_videos)
        self.similarity_VV = cosine_similarity(scaled_UV.T.tocsr(), scaled_UV, slice(0, num_videos))
        count_V = popularity(positives, num_videos)
        self.popularity_V = 1e-6 * count_V / count_V.max().clamp(min=1)

    def score_items(self, positives: SeenItems, users_B: Tensor) -> Tensor:
        """Return score_BV, the summed similarity to the positives of each user.

        Popularity orders the videos that are similar to none.
        """
        positive_BV = to_csr_matrix(positives, self.similarity_VV.shape[0])[users_B.numpy()]
        score_BV = torch.from_numpy((positive_BV @ self.similarity_VV).toarray()).float()
        return score_BV + self.popularity_V


class Popularity(Baseline):
    """Ranks videos by the number of users who liked them in training, equally for all users."""

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return torch.zeros(len(row_BT), 0)

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        return self.num_positives_I.expand(len(user_state.z_ND), -1)


class ItemKNN(Baseline):
    """ItemCF as a model that can be saved, with the K most similar videos of each video."""

    neighbour_IK: Tensor
    similarity_IK: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        shape = (self.num_videos, min(NUM_NEIGHBOURS, self.num_videos))
        self.register_buffer("neighbour_IK", torch.zeros(shape, dtype=torch.long))
        self.register_buffer("similarity_IK", torch.zeros(shape))

    def init_from_statistics(self, positives: SeenItems) -> None:
        super().init_from_statistics(positives)
        neighbours = Neighbours(self.num_videos, self.num_videos)
        set_cosine_neighbours(neighbours, positives)
        self.neighbour_IK.copy_(neighbours.neighbour_XK)
        self.similarity_IK.copy_(neighbours.weight_XK)

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return a vector [B, I] that is 1 for each positive."""
        return torch.zeros(len(row_BT), self.num_videos).scatter_add(1, row_BT, mask_BT.float())

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        I, K = self.neighbour_IK.shape  # noqa: E741
        values, columns = self.similarity_IK.flatten().numpy(), self.neighbour_IK.flatten().numpy()
        similarity_II = sp.csr_array((values, columns, np.arange(I + 1) * K), shape=(I, I))
        score_NI = (sp.csr_array(user_state.z_ND.numpy()) @ similarity_II).toarray()
        return torch.from_numpy(score_NI).float() + self.tie_break()
