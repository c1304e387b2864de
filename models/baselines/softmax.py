"""Softmax over the videos of training, full where they are few and sampled where they are many.

Never one negative with binary cross-entropy, which is overconfident (gSASRec, arXiv 2308.07192).

Legend: N positions with a target, I videos with an ID row, C candidates, D width.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.losses import sampled_softmax_loss

CANDIDATES = 2048  # up to so many videos the softmax is full; beyond, so many are drawn evenly for each step


def next_video_loss(h_ND: Tensor, table_ID: Tensor, bias_I: Tensor, target_N: Tensor) -> Tensor:
    """Mean −log softmax at the target."""
    videos, count = len(table_ID), max(len(target_N), 1)
    if videos <= CANDIDATES:
        return F.cross_entropy(h_ND @ table_ID.T + bias_I, target_N, reduction="sum") / count
    row_C = torch.randint(videos, (CANDIDATES,))
    score_NC = h_ND @ table_ID[row_C].T + bias_I[row_C]
    own_N = (h_ND * table_ID[target_N]).sum(1) + bias_I[target_N]
    expected_C = torch.full((CANDIDATES,), math.log(CANDIDATES / videos))
    score_NC = score_NC.masked_fill(row_C == target_N[:, None], -torch.inf)
    return sampled_softmax_loss(own_N, score_NC, expected_C) / count
