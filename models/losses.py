"""What training makes small.

Legend: N positions with a target, C candidate videos, D width, H behaviours.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

CHUNK_SCORES = 1 << 22  # scores held at a time by the exact softmax: 16 MiB in float32
GPU_CHUNK_SCORES = 1 << 24  # a GPU is idle between small products; with what α needs, some 1.2 GiB


def softmax_loss(score_NC: Tensor, target_N: Tensor, banned_NC: Tensor) -> Tensor:
    """Sum of −log softmax at the target over all candidates but the banned ones; the target always counts.

    Full softmax: one negative with BCE is overconfident (gSASRec).
    """
    column_C = torch.arange(score_NC.shape[1])
    banned_NC = banned_NC & (column_C != target_N[:, None])
    return F.cross_entropy(score_NC.masked_fill(banned_NC, -torch.inf), target_N, reduction="sum")


def sampled_softmax_loss(
    target_score_N: Tensor, score_NC: Tensor, log_expected_C: Tensor, weight_N: Tensor | float = 1.0
) -> Tensor:
    """Weighted sum of −log softmax at the target, all other candidates' part estimated from C drawn ones.

    `log_expected_C`: log of how often the draw was to give this candidate. Taking it off the score (the logQ
    correction; Bengio & Senécal 2008) leaves the estimated sum unbiased, however the candidates were drawn.
    A candidate that is no negative, such as the target, has the score −inf.
    """
    all_N1C = torch.cat([target_score_N[:, None], score_NC - log_expected_C], 1)
    return (weight_N * (all_N1C.logsumexp(1) - target_score_N)).sum()


def in_chunks(loss: Callable[..., Tensor], candidates: int, *parts_N: Tensor) -> Tensor:
    """A loss summed over N, computed and differentiated a chunk at a time in bounded memory."""
    held = CHUNK_SCORES if parts_N[0].device.type == "cpu" else GPU_CHUNK_SCORES
    size = max(1, held // max(candidates, 1))
    chunks = list(zip(*(part.split(size) for part in parts_N), strict=True))
    if len(chunks) == 1:
        return loss(*chunks[0])
    return torch.stack([checkpoint(loss, *chunk, use_reentrant=False) for chunk in chunks]).sum()


def behaviour_loss(logit_NH: Tensor, label_NH: Tensor, known_NH: Tensor) -> Tensor:
    """Binary cross-entropy summed over the labels that are known."""
    loss_NH = F.binary_cross_entropy_with_logits(logit_NH, label_NH.float(), reduction="none")
    return (loss_NH * known_NH).sum()
