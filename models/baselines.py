"""What every model has to beat, in the same harness: popularity and ItemCF, from training data only.

Both count what people *liked*: counting everything they were shown was measured to be far weaker, and a weak
baseline flatters the model.

Legend: U training users, B users to score, V videos.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.histories import Seen


def popularity(watched: Seen, videos: int) -> Tensor:
    """score_V: how many people liked the video in training."""
    return torch.bincount(watched.row_E, minlength=videos).float()


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


def matrix(watched: Seen, videos: int) -> sp.csr_array:
    """Users × videos, 1 where watched."""
    rows, offsets = watched.row_E.numpy(), watched.offsets.numpy()
    return sp.csr_array((np.ones(len(rows)), rows, offsets), shape=(len(offsets) - 1, videos))
