"""The modalities of a video in one space: the contrastive loss, what is no negative, retrieval, and drift.

Legend: V videos of this process, C videos of all processes, N videos that have both modalities of a pair,
M modalities, D width, F features, P probe videos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.losses import in_chunks, softmax_loss
from models.processes import gathered, rank, total

CUTS = (1, 10)  # of recall


@dataclass(frozen=True)
class Twins:
    """Which videos are (nearly) one another in some modality: re-uploads, the same sound, the same caption.

    What one of them says, shows or sounds like is true of the other too, so they are no negatives.

    Attributes:
        look_MVF: each modality's standardised features, of length 1; zero where missing.
        cosine: from here on two videos are twins.
    """

    look_MVF: Sequence[Tensor]
    cosine: float

    def of(self, rows_N: Tensor) -> Tensor:
        """[N, V]: whether a video is a twin of one of these, or the same."""
        mask_NV = rows_N[:, None] == torch.arange(len(self.look_MVF[0]))
        for look_VF in self.look_MVF:
            mask_NV |= look_VF[rows_N] @ look_VF.T >= self.cosine
        return mask_NV


def alignment_loss(x_VMD: Tensor, has_VM: Tensor, temperature: Tensor, twins: Twins) -> Tensor:
    """Mean symmetric InfoNCE (CLIP's loss) over the pairs of modalities, each over the videos that have both.

    The negatives are the videos of all processes but a video's twins; the losses of all processes add up to
    the batch's. Memory is bounded by the chunks of `in_chunks`. 0 without a pair.
    """
    x_CMD, has_CM = gathered(F.normalize(x_VMD, dim=2)), gathered(has_VM)
    twins = Twins([gathered(look_VF) for look_VF in twins.look_MVF], twins.cosine)
    first = rank() * len(x_VMD)
    losses = []
    for a, b in combinations(range(x_CMD.shape[1]), 2):
        both_C = has_CM[:, a] & has_CM[:, b]
        videos = int(both_C.sum())
        if videos > 1:
            mine_N = first + (has_VM[:, a] & has_VM[:, b]).nonzero().squeeze(1)
            losses.append(_pair_loss(x_CMD[:, [a, b]], both_C, mine_N, temperature, twins) / videos)
    return torch.stack(losses).mean() if losses else x_CMD.sum() * 0.0


def _pair_loss(x_C2D: Tensor, both_C: Tensor, mine_N: Tensor, temperature: Tensor, twins: Twins) -> Tensor:
    """Sum over these rows of −log softmax at their own pair, both ways, against all videos that have both."""
    a_CD, b_CD = x_C2D.unbind(1)

    def loss(own_N: Tensor) -> Tensor:
        banned_NC = ~both_C | twins.of(own_N)
        there = softmax_loss(a_CD[own_N] @ b_CD.T / temperature, own_N, banned_NC)
        back = softmax_loss(b_CD[own_N] @ a_CD.T / temperature, own_N, banned_NC)
        return (there + back) / 2

    if not len(mine_N):
        return x_C2D.sum() * 0.0  # every process has a gradient to exchange, whatever its videos lack
    return in_chunks(loss, len(a_CD), mine_N)


def moved(x_VMD: Tensor, last_VMD: Tensor) -> Tensor:
    """[V, M]: 1 − cosine between two projections of the same video, 0 where it has stayed."""
    return 1 - F.cosine_similarity(x_VMD, last_VMD, dim=2)


def anchor_loss(x_VMD: Tensor, last_VMD: Tensor, has_VM: Tensor) -> Tensor:
    """How far the videos have moved, on average; the anchors of all processes add up to the batch's."""
    return (moved(x_VMD, last_VMD) * has_VM).sum() / total(has_VM.sum()).clamp(min=1)


def drift(x_PMD: Tensor, last_PMD: Tensor, has_PM: Tensor, names: Sequence[str]) -> dict[str, dict]:
    """Per modality that a probe video has: mean and 95th percentile of how far they have moved."""
    moved_PM, found = moved(x_PMD, last_PMD).double(), {}
    for i, name in enumerate(names):
        if bool(has_PM[:, i].any()):
            moved_N = moved_PM[has_PM[:, i], i]
            found[name] = {
                "videos": len(moved_N),
                "mean": float(moved_N.mean()),
                "p95": float(moved_N.quantile(0.95)),
            }
    return found


def farthest(found: Mapping[str, Mapping[str, float]]) -> float:
    """The drift as one figure: the largest 95th percentile of any modality; 0 where nothing was compared."""
    return max((one["p95"] for one in found.values()), default=0.0)


def retrieval(x_VMD: Tensor, has_VM: Tensor, twins: Twins, names: Sequence[str]) -> dict[str, dict]:
    """Per pair of modalities: recall in both directions with chance beside, alignment and uniformity.

    Twins do not stand in a video's way. Alignment is the mean squared distance of a video's two vectors,
    uniformity the log of the mean of exp(−2 d²) over all pairs of videos (Wang & Isola, ICML 2020).
    """
    found = {}
    for a, b in combinations(range(len(names)), 2):
        rows_N = (has_VM[:, a] & has_VM[:, b]).nonzero().squeeze(1)
        if len(rows_N) > 1:
            a_ND, b_ND = (F.normalize(x_VMD[rows_N, i], dim=1) for i in (a, b))
            rival_NN = ~twins.of(rows_N)[:, rows_N]
            found[f"{names[a]}-{names[b]}"] = {
                "videos": len(rows_N),
                f"from_{names[a]}": _recall(a_ND, b_ND, rival_NN),
                f"from_{names[b]}": _recall(b_ND, a_ND, rival_NN),
                "chance": {f"recall@{k}": _chance(rival_NN, k) for k in CUTS},
                "alignment": float((a_ND - b_ND).pow(2).sum(1).mean()),
                "uniformity": (_uniformity(a_ND) + _uniformity(b_ND)) / 2,
            }
    return found


def _recall(query_ND: Tensor, answer_ND: Tensor, rival_NN: Tensor) -> dict[str, float]:
    likeness_NN = query_ND @ answer_ND.T
    above_N = (~(likeness_NN < likeness_NN.diagonal()[:, None]) & rival_NN).sum(1)  # a tie or NaN is no find
    return {f"recall@{k}": float((above_N < k).double().mean()) for k in CUTS}


def _chance(rival_NN: Tensor, k: int) -> float:
    """Recall of an order drawn by lot."""
    return float((k / (1 + rival_NN.sum(1)).double()).clamp(max=1).mean())


def _uniformity(x_ND: Tensor) -> float:
    return float(torch.pdist(x_ND).pow(2).mul(-2).exp().mean().log())
