"""Popularity, what is trending, and ItemCF: they only count.

Legend: U training users, B users to score, T liked videos, V videos, I videos with an ID row, K neighbours.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.baselines.baseline import Baseline
from models.histories import DAY_SECONDS, Histories, Seen, recency
from models.interest import Interest, Spec
from models.likes import matrix

NEIGHBOURS = 200  # that a saved ItemCF keeps of each video


def popularity(watched: Seen, videos: int) -> Tensor:
    """score_V: how many people liked the video in training."""
    return torch.bincount(watched.row_E, minlength=videos).float()


def trending(histories: Histories, videos: int, half_life_days: float) -> Tensor:
    """score_V: how many people liked the video, each the less the longer ago (`recency`)."""
    user_E = torch.arange(len(histories.offsets) - 1).repeat_interleave(histories.lengths)
    pair_E, day_E = user_E * videos + histories.video_E, histories.second_E // DAY_SECONDS
    weight_E = recency(day_E, histories.last_day, half_life_days) * histories.positive_E
    pair_P, of_E = pair_E.unique(return_inverse=True)
    newest_P = torch.zeros(len(pair_P)).scatter_reduce(0, of_E, weight_E, "amax")
    return torch.zeros(videos).index_add(0, pair_P % videos, newest_P)


class ItemCF:
    """Item-item cosine: two videos are alike when the same people liked both in training."""

    def __init__(self, watched: Seen, videos: int) -> None:
        r_UV = matrix(watched, videos)
        norm_V = np.sqrt(np.asarray(r_UV.multiply(r_UV).sum(0)).ravel())
        scaled_UV = r_UV @ sp.diags_array(1 / np.maximum(norm_V, 1.0))
        alike_VV = (scaled_UV.T @ scaled_UV).tolil()
        alike_VV.setdiag(0.0)
        self.alike_VV = alike_VV.tocsr()
        count_V = popularity(watched, videos)
        self.fallback_V = 1e-6 * count_V / count_V.max().clamp(min=1)

    def scores(self, history: Seen, users_B: Tensor) -> Tensor:
        """score_BV: summed likeness to what each user has liked; popularity orders what is alike to none."""
        watched_BV = matrix(history, self.alike_VV.shape[0])[users_B.numpy()]
        dense_BV = torch.from_numpy((watched_BV @ self.alike_VV).toarray()).float()
        return dense_BV + self.fallback_V


class Popularity(Baseline):
    """The same for everybody: how many people liked the video in training."""

    def read(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        return torch.zeros(len(row_BT), 0)

    def score(self, interest: Interest) -> Tensor:
        return self.liked_I.expand(len(interest.z_ND), -1)


class Neighbours(Baseline):
    """ItemCF as a model that can be saved: of each video, the K that are most alike to it."""

    alike_IK: Tensor
    cosine_IK: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        shape = (self.videos, min(NEIGHBOURS, self.videos))
        self.register_buffer("alike_IK", torch.zeros(shape, dtype=torch.long))
        self.register_buffer("cosine_IK", torch.zeros(shape))

    def start(self, likes: Seen) -> None:
        super().start(likes)
        alike_II = ItemCF(likes, self.videos).alike_VV
        for i in range(self.videos):
            row = slice(*alike_II.indptr[i : i + 2])
            best = np.argsort(-alike_II.data[row], kind="stable")[: self.alike_IK.shape[1]]
            self.alike_IK[i, : len(best)] = torch.from_numpy(alike_II.indices[row][best]).long()
            self.cosine_IK[i, : len(best)] = torch.from_numpy(alike_II.data[row][best])

    def read(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Which videos were liked, [B, I]."""
        return torch.zeros(len(row_BT), self.videos).scatter_add(1, row_BT, mask_BT.float())

    def score(self, interest: Interest) -> Tensor:
        I, K = self.alike_IK.shape  # noqa: E741
        columns = (self.cosine_IK.flatten().numpy(), self.alike_IK.flatten().numpy(), np.arange(I + 1) * K)
        alike_II = sp.csr_array(columns, shape=(I, I))
        dense_NI = (sp.csr_array(interest.z_ND.numpy()) @ alike_II).toarray()
        return torch.from_numpy(dense_NI).float() + self.tie_break()
