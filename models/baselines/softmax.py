"""Softmax over the videos of training, full where they are few and sampled where they are many.

Never one negative with binary cross-entropy, which is overconfident (gSASRec, arXiv 2308.07192).

Legend: N positions with a target, I videos with an ID row, C candidates, D width.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

CANDIDATES = 4096  # up to so many videos the softmax is full; beyond, so many are drawn for each step


def softmax_loss(h_ND: Tensor, table_ID: Tensor, bias_I: Tensor, target_N: Tensor) -> Tensor:
    """Mean −log softmax at the target.

    Sampled: the candidates are drawn evenly, and log(I / C) is added to their scores, so that their sum
    stands for all videos (logQ). A candidate that is the target is left out: it counts once.
    """
    videos = len(table_ID)
    if videos <= CANDIDATES:
        total = F.cross_entropy(h_ND @ table_ID.T + bias_I, target_N, reduction="sum")
        return total / max(len(target_N), 1)
    row_C = torch.randint(videos, (CANDIDATES,))
    score_NC = h_ND @ table_ID[row_C].T + (bias_I[row_C] + math.log(videos / CANDIDATES))
    score_NC = score_NC.masked_fill(row_C == target_N[:, None], -torch.inf)
    own_N = (h_ND * table_ID[target_N]).sum(1) + bias_I[target_N]
    all_N = torch.logsumexp(torch.cat([own_N[:, None], score_NC], 1), 1)
    return (all_N - own_N).sum() / max(len(target_N), 1)
