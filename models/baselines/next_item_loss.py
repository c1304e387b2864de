"""Softmax over the training videos: full, or over a sample of them.

One negative with binary cross-entropy would be overconfident (gSASRec, arXiv 2308.07192).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.config import ModelConfig
from models.losses.softmax import sampled_softmax_loss


def next_item_loss(
    h_BTD: Tensor, target_BT: Tensor, mask_BT: Tensor, item_ID: Tensor, bias_I: Tensor, config: ModelConfig
) -> Tensor:
    """Return the mean −log softmax of the targets.

    With `num_negatives` of 0, or at least as many as there are videos, the softmax is full. Otherwise so many
    videos are drawn uniformly: once for the step with `share_negatives`, else once for each sequence.

    Args:
        h_BTD: States.
        target_BT: ID row of the target of each state.
        mask_BT: Bool, which states have a target.
        item_ID: Embeddings of the videos.
        bias_I: Biases of the videos.
        config: Sets `num_negatives` and `share_negatives`.
    """
    h_ND, target_N, C = h_BTD[mask_BT], target_BT[mask_BT], config.num_negatives
    num_videos, num_targets = len(item_ID), max(len(target_N), 1)
    if not 0 < C < num_videos:
        return F.cross_entropy(h_ND @ item_ID.T + bias_I, target_N, reduction="sum") / num_targets
    if config.share_negatives:
        row_C = torch.randint(num_videos, (C,))
        score_NC = h_ND @ item_ID[row_C].T + bias_I[row_C]
        is_target_NC = row_C == target_N[:, None]
    else:
        row_BC = torch.randint(num_videos, (len(h_BTD), C))
        score_NC = (h_BTD @ item_ID[row_BC].transpose(1, 2) + bias_I[row_BC][:, None])[mask_BT]
        is_target_NC = (row_BC[:, None] == target_BT[:, :, None])[mask_BT]
    target_score_N = (h_ND * item_ID[target_N]).sum(1) + bias_I[target_N]
    log_expected_count_C = torch.full((C,), math.log(C / num_videos))
    score_NC = score_NC.masked_fill(is_target_NC, -torch.inf)
    return sampled_softmax_loss(target_score_N, score_NC, log_expected_count_C) / num_targets
