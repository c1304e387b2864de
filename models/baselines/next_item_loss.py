"""Softmax over the training videos: full, or over a sample of them.

One negative with binary cross-entropy would be overconfident (gSASRec, arXiv 2308.07192).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.config import ModelConfig
from models.losses.softmax import chunked_loss, sampled_softmax_loss


def next_item_loss(
    h_ND: Tensor, item_ID: Tensor, bias_I: Tensor, target_N: Tensor, config: ModelConfig
) -> Tensor:
    """Return the mean −log softmax of the targets.

    With `num_negatives` of 0, or at least as many as there are videos, the softmax is full. Otherwise so many
    videos are drawn uniformly: once for all examples with `share_negatives`, else for each example.

    Args:
        h_ND: State of each example.
        item_ID: Embeddings of the videos.
        bias_I: Biases of the videos.
        target_N: ID row of each target.
        config: Sets `num_negatives` and `share_negatives`.
    """
    C, num_videos, num_targets = config.num_negatives, len(item_ID), max(len(target_N), 1)
    if not 0 < C < num_videos:
        return F.cross_entropy(h_ND @ item_ID.T + bias_I, target_N, reduction="sum") / num_targets
    log_expected_count_C = torch.full((C,), math.log(C / num_videos))

    def sampled_loss(score_nC: Tensor, row_nC: Tensor, h_nD: Tensor, target_n: Tensor) -> Tensor:
        target_score_n = (h_nD * item_ID[target_n]).sum(1) + bias_I[target_n]
        score_nC = score_nC.masked_fill(row_nC == target_n[:, None], -torch.inf)
        return sampled_softmax_loss(target_score_n, score_nC, log_expected_count_C)

    def loss_of_own_negatives(row_nC: Tensor, h_nD: Tensor, target_n: Tensor) -> Tensor:
        score_nC = (item_ID[row_nC] @ h_nD[:, :, None]).squeeze(2) + bias_I[row_nC]
        return sampled_loss(score_nC, row_nC, h_nD, target_n)

    if config.share_negatives:
        row_C = torch.randint(num_videos, (C,))
        total = sampled_loss(h_ND @ item_ID[row_C].T + bias_I[row_C], row_C, h_ND, target_N)
    else:
        row_NC = torch.randint(num_videos, (len(target_N), C))
        total = chunked_loss(loss_of_own_negatives, C * item_ID.shape[1], row_NC, h_ND, target_N)
    return total / num_targets
