"""Retrieval between modalities: from one modality of a video, find another of the same video."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.losses.info_nce import NearDuplicates

CUTOFFS = (1, 10)  # k of recall@k


def retrieval_metrics(
    x_VMD: Tensor, has_VM: Tensor, near_duplicates: NearDuplicates, modalities: Sequence[str]
) -> dict[str, dict]:
    """Return recall in both directions, chance level, alignment and uniformity of each pair of modalities.

    Near duplicates do not count against a video. Alignment is the mean squared distance between the two
    vectors of a video. Uniformity is the log of the mean of exp(−2 d²) over all pairs of videos (Wang &
    Isola, ICML 2020).

    Args:
        x_VMD: Modality embeddings.
        has_VM: Bool, whether a video has the modality.
        near_duplicates: Near duplicates of each video.
        modalities: Names of the modalities.
    """
    metrics = {}
    for a, b in combinations(range(len(modalities)), 2):
        rows_N = (has_VM[:, a] & has_VM[:, b]).nonzero().squeeze(1)
        if len(rows_N) > 1:
            a_ND, b_ND = (F.normalize(x_VMD[rows_N, i], dim=1) for i in (a, b))
            negative_NN = ~near_duplicates.mask(rows_N)[:, rows_N]
            metrics[f"{modalities[a]}-{modalities[b]}"] = {
                "num_videos": len(rows_N),
                f"from_{modalities[a]}": _recall(a_ND, b_ND, negative_NN),
                f"from_{modalities[b]}": _recall(b_ND, a_ND, negative_NN),
                "chance": {f"recall@{k}": _chance_recall(negative_NN, k) for k in CUTOFFS},
                "alignment": float((a_ND - b_ND).pow(2).sum(1).mean()),
                "uniformity": (_uniformity(a_ND) + _uniformity(b_ND)) / 2,
            }
    return metrics


def _recall(query_ND: Tensor, candidate_ND: Tensor, negative_NN: Tensor) -> dict[str, float]:
    """Return recall@k of the own candidate among the negatives."""
    similarity_NN = query_ND @ candidate_ND.T
    # A tie or NaN counts as above the target.
    above_NN = ~(similarity_NN < similarity_NN.diagonal()[:, None]) & negative_NN
    num_above_N = above_NN.sum(1)
    return {f"recall@{k}": float((num_above_N < k).double().mean()) for k in CUTOFFS}


def _chance_recall(negative_NN: Tensor, k: int) -> float:
    """Return recall@k of a random order."""
    return float((k / (1 + negative_NN.sum(1)).double()).clamp(max=1).mean())


def _uniformity(x_ND: Tensor) -> float:
    return float(torch.pdist(x_ND).pow(2).mul(-2).exp().mean().log())
