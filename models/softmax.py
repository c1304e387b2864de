"""The softmax over many candidates whose scores are plain products: exact, fast, and never held whole.

Legend: N positions with a target, n of them in a chunk, C candidates, E width (the bias is a coordinate).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models import losses

GPU_CHUNK_SCORES = 1 << 27  # scores held at a time on a GPU: 256 MiB in bf16
# Sides of these products are filled up to multiples; those of others gain nothing by it.
ALIGN = {("cpu", torch.bfloat16): 32, ("cuda", torch.bfloat16): 64, ("cuda", torch.float32): 64}

Ban = Callable[[Tensor, slice], object]  # sets the scores [n, C] that are no negatives of a chunk to −inf


def product_softmax_loss(z_NE: Tensor, w_CE: Tensor, own_N: Tensor, weight_N: Tensor, ban: Ban) -> Tensor:
    """Weighted sum of −log softmax of the target's score `own_N` against the scores z·w that `ban` leaves.

    The gradient is computed with the loss, a chunk of positions at a time: no score is computed twice, and
    those of a chunk stay in the processor's cache. Under autocast, scores and their softmax are of its type.
    """
    return _ProductSoftmax.apply(z_NE, w_CE, own_N, weight_N, ban)


class _ProductSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_NE: Tensor, w_CE: Tensor, own_N: Tensor, weight_N: Tensor, ban: Ban) -> Tensor:
        kind = z_NE.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else z_NE.dtype
        (C, E), align = w_CE.shape, ALIGN.get((kind, dtype), 1)
        with torch.autocast(kind, enabled=False):  # one more candidate, the target: it moves no z here
            w_1E = F.pad(w_CE.to(dtype), (0, -E % align, 0, 1 + (-C - 1) % align))
            gz_NE, gw_1E = torch.empty_like(z_NE), torch.zeros(w_1E.shape)
            z_NE = F.pad(z_NE.to(dtype), (0, -E % align))
            share_N = torch.empty_like(own_N)
            held = losses.CHUNK_SCORES if kind == "cpu" else GPU_CHUNK_SCORES
            size = max(1, held // len(w_1E))
            # Held over all chunks: new pages cost what a product does.
            scores, shares = w_1E.new_empty(2, min(size, len(z_NE)), len(w_1E))
            part_1E = torch.empty_like(w_1E)
            for start in range(0, len(z_NE), size):
                chunk = slice(start, start + size)
                z_nE, weight_n1 = z_NE[chunk], weight_N[chunk, None]
                score_n1 = torch.mm(z_nE, w_1E.T, out=scores[: len(z_nE)])
                ban(score_n1[:, :C], chunk)
                score_n1[:, C:-1] = -torch.inf
                score_n1[:, -1] = own_N[chunk]
                share_n1 = torch.softmax(score_n1, 1, out=shares[: len(z_nE)])
                share_N[chunk] = share_n1[:, -1]
                gz_NE[chunk] = weight_n1 * (share_n1 @ w_1E)[:, :E]
                gw_1E += torch.mm(share_n1.T, (weight_n1 * z_nE).to(dtype), out=part_1E)
        ctx.save_for_backward(gz_NE, gw_1E[:C, :E], weight_N * (share_N - 1))
        told_N = -share_N.clamp(min=torch.finfo(dtype).tiny).log()  # one that underflows is told as 87
        return (weight_N * told_N).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (*(gradients[0] * saved for saved in ctx.saved_tensors), None, None)
