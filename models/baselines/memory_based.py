"""Baselines that only count: popularity, trending and ItemCF."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.baselines.baseline import Baseline
from models.config import ModelConfig
from models.data.positives import to_csr_matrix
from models.data.sequences import SECONDS_PER_DAY, SeenItems, Sequences, recency_weights
from models.data.user_state import UserState

NUM_NEIGHBOURS = 200  # similar videos that a saved ItemCF keeps of each video


def popularity(positives: SeenItems, num_videos: int) -> Tensor:
    """Return score_V, the number of users who liked the video in training."""
    return torch.bincount(positives.row_E, minlength=num_videos).float()


def trending(sequences: Sequences, num_videos: int, half_life_days: float) -> Tensor:
    """Return score_V, the number of users who liked the video, with older positives weighted less."""
    user_E = torch.arange(len(sequences.offsets) - 1).repeat_interleave(sequences.lengths)
    pair_E, day_E = user_E * num_videos + sequences.video_E, sequences.timestamp_E // SECONDS_PER_DAY
    weight_E = recency_weights(day_E, sequences.last_day, half_life_days) * sequences.positive_E
    pair_P, pair_index_E = pair_E.unique(return_inverse=True)
    weight_P = torch.zeros(len(pair_P)).scatter_reduce(0, pair_index_E, weight_E, "amax")
    return torch.zeros(num_videos).index_add(0, pair_P % num_videos, weight_P)


class ItemCF:
    """Item-item cosine: two videos are similar if the same users liked both in training."""

    def __init__(self, positives: SeenItems, num_videos: int) -> None:
        r_UV = to_csr_matrix(positives, num_videos)
        norm_V = np.sqrt(np.asarray(r_UV.multiply(r_UV).sum(0)).ravel())
        scaled_UV = r_UV @ sp.diags_array(1 / np.maximum(norm_V, 1.0))
        similarity_VV = (scaled_UV.T @ scaled_UV).tolil()
        similarity_VV.setdiag(0.0)
        self.similarity_VV = similarity_VV.tocsr()
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
        similarity_II = ItemCF(positives, self.num_videos).similarity_VV
        for i in range(self.num_videos):
            row = slice(*similarity_II.indptr[i : i + 2])
            nearest = np.argsort(-similarity_II.data[row], kind="stable")[: self.neighbour_IK.shape[1]]
            self.neighbour_IK[i, : len(nearest)] = torch.from_numpy(
                similarity_II.indices[row][nearest]
            ).long()
            self.similarity_IK[i, : len(nearest)] = torch.from_numpy(similarity_II.data[row][nearest])

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return a vector [B, I] that is 1 for each positive."""
        return torch.zeros(len(row_BT), self.num_videos).scatter_add(1, row_BT, mask_BT.float())

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        I, K = self.neighbour_IK.shape  # noqa: E741
        values, columns = self.similarity_IK.flatten().numpy(), self.neighbour_IK.flatten().numpy()
        similarity_II = sp.csr_array((values, columns, np.arange(I + 1) * K), shape=(I, I))
        score_NI = (sp.csr_array(user_state.z_ND.numpy()) @ similarity_II).toarray()
        return torch.from_numpy(score_NI).float() + self.tie_break()
