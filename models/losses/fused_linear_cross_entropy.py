"""Fused linear cross-entropy: a softmax over inner products with loss and gradient computed together.

It is exact, and the matrix of all scores is never in memory.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.losses import softmax

GPU_CHUNK_SCORES = 1 << 27  # scores in memory at a time on a GPU: 256 MiB in bf16
# The sides of these matrix products are padded to multiples of these numbers. Other products gain nothing
# from padding.
PAD_MULTIPLES = {("cpu", torch.bfloat16): 32, ("cuda", torch.bfloat16): 64, ("cuda", torch.float32): 64}

# In place: sets the scores of candidates that are not negatives to −inf, for a chunk of examples [n, C].
MaskScores = Callable[[Tensor, slice], object]


def fused_linear_cross_entropy(
    z_NF: Tensor, w_CF: Tensor, target_score_N: Tensor, weight_N: Tensor, mask_scores: MaskScores
) -> Tensor:
    """Return the weighted sum of −log softmax of the targets.

    The gradient is computed with the loss, one chunk of examples at a time. So no score is computed twice.
    On a CPU the scores of a chunk stay in the cache. Under autocast, scores and softmax have the autocast
    dtype.

    Args:
        z_NF: User vectors. The last of the F numbers is 1, for the bias.
        w_CF: Vectors of the candidates.
        target_score_N: Score of each target.
        weight_N: Weight of each example.
        mask_scores: Masks candidates that are not negatives, in place.
    """
    return _FusedLinearCrossEntropy.apply(z_NF, w_CF, target_score_N, weight_N, mask_scores)


class _FusedLinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z_NF: Tensor,
        w_CF: Tensor,
        target_score_N: Tensor,
        weight_N: Tensor,
        mask_scores: MaskScores,
    ) -> Tensor:
        device_type = z_NF.device.type
        dtype = (
            torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else z_NF.dtype
        )
        num_candidates, width = w_CF.shape
        multiple = PAD_MULTIPLES.get((device_type, dtype), 1)
        with torch.autocast(device_type, enabled=False):
            # Columns X: the candidates, padding, and the target as the last one. The target's vector is 0, so
            # it adds nothing to the gradients.
            padding = 1 + (-num_candidates - 1) % multiple
            w_XF = F.pad(w_CF.to(dtype), (0, -width % multiple, 0, padding))
            grad_z_NF, grad_w_XF = torch.empty_like(z_NF), torch.zeros(w_XF.shape)
            z_NF = F.pad(z_NF.to(dtype), (0, -width % multiple))
            target_probability_N = torch.empty_like(target_score_N)
            max_scores = softmax.CHUNK_SCORES if device_type == "cpu" else GPU_CHUNK_SCORES
            chunk_size = max(1, max_scores // len(w_XF))
            # All chunks share these buffers, because new memory pages cost as much as a matrix product.
            score_buffer, probability_buffer = w_XF.new_empty(2, min(chunk_size, len(z_NF)), len(w_XF))
            product_buffer_XF = torch.empty_like(w_XF)
            for start in range(0, len(z_NF), chunk_size):
                chunk = slice(start, start + chunk_size)
                z_nF, weight_n1 = z_NF[chunk], weight_N[chunk, None]
                score_nX = torch.mm(z_nF, w_XF.T, out=score_buffer[: len(z_nF)])
                mask_scores(score_nX[:, :num_candidates], chunk)
                score_nX[:, num_candidates:-1] = -torch.inf
                score_nX[:, -1] = target_score_N[chunk]
                probability_nX = torch.softmax(score_nX, 1, out=probability_buffer[: len(z_nF)])
                target_probability_N[chunk] = probability_nX[:, -1]
                grad_z_NF[chunk] = weight_n1 * (probability_nX @ w_XF)[:, :width]
                grad_w_XF += torch.mm(probability_nX.T, (weight_n1 * z_nF).to(dtype), out=product_buffer_XF)
        grad_w_CF = grad_w_XF[:num_candidates, :width]
        ctx.save_for_backward(grad_z_NF, grad_w_CF, weight_N * (target_probability_N - 1))
        # A probability that underflows gives a loss of 87 in float32 and bf16.
        loss_N = -target_probability_N.clamp(min=torch.finfo(dtype).tiny).log()
        return (weight_N * loss_N).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (*(gradients[0] * saved_gradient for saved_gradient in ctx.saved_tensors), None, None)
