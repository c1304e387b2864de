"""Losses: softmax over candidates, full or sampled, and binary cross-entropy of behaviours."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

CHUNK_SCORES = 1 << 22  # scores in memory at a time: 16 MiB in float32
GPU_CHUNK_SCORES = 1 << 24  # small products leave a GPU idle; together with α about 1.2 GiB


def softmax_loss(score_NC: Tensor, target_N: Tensor, excluded_NC: Tensor) -> Tensor:
    """Return the sum of −log softmax of the targets over all candidates that are not excluded.

    The target itself always counts. The softmax is full, because one negative with binary cross-entropy is
    overconfident (gSASRec, arXiv 2308.07192).

    Args:
        score_NC: Scores of the candidates.
        target_N: Column of each target.
        excluded_NC: Bool, candidates that are not negatives.
    """
    column_C = torch.arange(score_NC.shape[1])
    excluded_NC = excluded_NC & (column_C != target_N[:, None])
    return F.cross_entropy(score_NC.masked_fill(excluded_NC, -torch.inf), target_N, reduction="sum")


def sampled_softmax_loss(
    target_score_N: Tensor, score_NC: Tensor, log_expected_count_C: Tensor, weight_N: Tensor | float = 1.0
) -> Tensor:
    """Return the weighted sum of −log softmax of the targets, estimated from C sampled candidates.

    The log of the expected count is subtracted from each score (logQ correction; Bengio & Senécal 2008). So
    the estimate of the sum is unbiased for any sampling.

    Args:
        target_score_N: Score of each target.
        score_NC: Scores of the candidates. −inf if a candidate is not a negative, such as the target.
        log_expected_count_C: Log of how often the sampling was expected to draw the candidate.
        weight_N: Weight of each example.
    """
    logits_N1C = torch.cat([target_score_N[:, None], score_NC - log_expected_count_C], 1)
    return (weight_N * (logits_N1C.logsumexp(1) - target_score_N)).sum()


def chunked_loss(loss: Callable[..., Tensor], num_candidates: int, *tensors_N: Tensor) -> Tensor:
    """Compute a loss that is a sum over N in chunks of bounded memory, with its gradient.

    Args:
        loss: Returns the loss of some rows of `tensors_N`.
        num_candidates: Scores for each row.
        tensors_N: Arguments of `loss`.
    """
    max_scores = CHUNK_SCORES if tensors_N[0].device.type == "cpu" else GPU_CHUNK_SCORES
    size = max(1, max_scores // max(num_candidates, 1))
    chunks = list(zip(*(part.split(size) for part in tensors_N), strict=True))
    if len(chunks) == 1:
        return loss(*chunks[0])
    return torch.stack([checkpoint(loss, *chunk, use_reentrant=False) for chunk in chunks]).sum()


def behaviour_loss(logit_NH: Tensor, label_NH: Tensor, known_NH: Tensor) -> Tensor:
    """Return the binary cross-entropy, summed over the labels that are known."""
    loss_NH = F.binary_cross_entropy_with_logits(logit_NH, label_NH.float(), reduction="none")
    return (loss_NH * known_NH).sum()
