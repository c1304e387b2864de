"""What training makes small.

Legend: N positions with a target, C candidate videos, D width, H behaviours.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

CHUNK_SCORES = 1 << 22  # scores held at a time by the exact softmax: 16 MiB in float32


def softmax_loss(score_NC: Tensor, target_N: Tensor, banned_NC: Tensor) -> Tensor:
    """Sum of −log softmax at the target over all candidates but the banned ones; the target always counts.

    Full softmax: one negative with BCE is overconfident (gSASRec).
    """
    column_C = torch.arange(score_NC.shape[1])
    banned_NC = banned_NC & (column_C != target_N[:, None])
    return F.cross_entropy(score_NC.masked_fill(banned_NC, -torch.inf), target_N, reduction="sum")


def in_chunks(loss: Callable[..., Tensor], candidates: int, *parts_N: Tensor) -> Tensor:
    """Mean over N of a summed loss, computed and differentiated a chunk at a time in bounded memory."""
    n = len(parts_N[0])
    size = max(1, CHUNK_SCORES // max(candidates, 1))
    chunks = [[part[i : i + size] for part in parts_N] for i in range(0, n, size)]
    if len(chunks) == 1:
        return loss(*chunks[0]) / n
    sums = [checkpoint(loss, *chunk, use_reentrant=False) for chunk in chunks]
    return torch.stack(sums).sum() / n


def behaviour_loss(logit_NH: Tensor, label_NH: Tensor, known_NH: Tensor) -> Tensor:
    """Mean binary cross-entropy over the labels that are known."""
    loss_NH = F.binary_cross_entropy_with_logits(logit_NH, label_NH.float(), reduction="none")
    return (loss_NH * known_NH).sum() / known_NH.sum().clamp(min=1)
