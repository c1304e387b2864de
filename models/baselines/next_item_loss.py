"""Softmax over the training videos: full if they are few, sampled if they are many.

One negative with binary cross-entropy would be overconfident (gSASRec, arXiv 2308.07192).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.losses.softmax import sampled_softmax_loss

# Up to this number of videos the softmax is full. Otherwise each step samples this number uniformly.
NUM_CANDIDATES = 2048


def next_item_loss(h_ND: Tensor, item_ID: Tensor, bias_I: Tensor, target_N: Tensor) -> Tensor:
    """Return the mean −log softmax of the targets.

    Args:
        h_ND: State of each example.
        item_ID: Embeddings of the videos.
        bias_I: Biases of the videos.
        target_N: ID row of each target.
    """
    num_videos, num_targets = len(item_ID), max(len(target_N), 1)
    if num_videos <= NUM_CANDIDATES:
        return F.cross_entropy(h_ND @ item_ID.T + bias_I, target_N, reduction="sum") / num_targets
    row_C = torch.randint(num_videos, (NUM_CANDIDATES,))
    score_NC = h_ND @ item_ID[row_C].T + bias_I[row_C]
    target_score_N = (h_ND * item_ID[target_N]).sum(1) + bias_I[target_N]
    log_expected_count_C = torch.full((NUM_CANDIDATES,), math.log(NUM_CANDIDATES / num_videos))
    score_NC = score_NC.masked_fill(row_C == target_N[:, None], -torch.inf)
    return sampled_softmax_loss(target_score_N, score_NC, log_expected_count_C) / num_targets
