"""InfoNCE between the modalities of a video, near duplicates, and the anchor to a reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.distributed import all_gather_rows, all_reduce, get_rank
from models.losses.softmax import chunked_loss, softmax_loss


@dataclass(frozen=True)
class NearDuplicates:
    """Which videos are almost the same in some modality, such as re-uploads or the same sound.

    The content of one is true of the other too, so they are not negatives of each other.

    Attributes:
        features_MVF: Standardised features of each modality, with length 1. Zero if missing.
        min_cosine: From this cosine on, two videos are near duplicates.
    """

    features_MVF: Sequence[Tensor]
    min_cosine: float

    def mask(self, rows_N: Tensor) -> Tensor:
        """Return whether a video is a near duplicate of each of these, or the same, bool [N, V]."""
        mask_NV = rows_N[:, None] == torch.arange(len(self.features_MVF[0]))
        for features_VF in self.features_MVF:
            mask_NV |= features_VF[rows_N] @ features_VF.T >= self.min_cosine
        return mask_NV


def info_nce_loss(
    x_VMD: Tensor, has_VM: Tensor, temperature: Tensor, near_duplicates: NearDuplicates
) -> Tensor:
    """Return the mean symmetric InfoNCE over all pairs of modalities (CLIP, arXiv 2103.00020).

    A pair of modalities uses the videos that have both. The negatives are the videos of all processes except
    near duplicates. The losses of all processes add up to the loss of the batch. The chunks of `chunked_loss`
    bound the memory. The loss is 0 if no video has two modalities.

    Args:
        x_VMD: Modality embeddings of the videos of this process.
        has_VM: Bool, whether a video has the modality.
        temperature: Divides the cosines.
        near_duplicates: Of the videos of this process.
    """
    x_CMD, has_CM = all_gather_rows(F.normalize(x_VMD, dim=2)), all_gather_rows(has_VM)
    near_duplicates = NearDuplicates(
        [all_gather_rows(features_VF) for features_VF in near_duplicates.features_MVF],
        near_duplicates.min_cosine,
    )
    row_offset = get_rank() * len(x_VMD)
    losses = []
    for a, b in combinations(range(x_CMD.shape[1]), 2):
        has_both_C = has_CM[:, a] & has_CM[:, b]
        num_videos = int(has_both_C.sum())
        if num_videos > 1:
            local_N = row_offset + (has_VM[:, a] & has_VM[:, b]).nonzero().squeeze(1)
            losses.append(
                _pair_loss(x_CMD[:, [a, b]], has_both_C, local_N, temperature, near_duplicates) / num_videos
            )
    return torch.stack(losses).mean() if losses else x_CMD.sum() * 0.0


def _pair_loss(
    x_C2D: Tensor, has_both_C: Tensor, local_N: Tensor, temperature: Tensor, near_duplicates: NearDuplicates
) -> Tensor:
    """Return the sum of −log softmax at the own pair, in both directions, over the videos of this process.

    The candidates are all videos that have both modalities.
    """
    a_CD, b_CD = x_C2D.unbind(1)

    def loss(target_N: Tensor) -> Tensor:
        excluded_NC = ~has_both_C | near_duplicates.mask(target_N)
        a_to_b = softmax_loss(a_CD[target_N] @ b_CD.T / temperature, target_N, excluded_NC)
        b_to_a = softmax_loss(b_CD[target_N] @ a_CD.T / temperature, target_N, excluded_NC)
        return (a_to_b + b_to_a) / 2

    if not len(local_N):
        return x_C2D.sum() * 0.0  # every process must have a gradient to exchange
    return chunked_loss(loss, len(a_CD), local_N)


def cosine_distance(x_VMD: Tensor, reference_VMD: Tensor) -> Tensor:
    """Return 1 − cosine between two projections of the same video, [V, M]."""
    return 1 - F.cosine_similarity(x_VMD, reference_VMD, dim=2)


def anchor_loss(x_VMD: Tensor, reference_VMD: Tensor, has_VM: Tensor) -> Tensor:
    """Return the mean cosine distance from the reference. Those of all processes add up to the batch's."""
    return (cosine_distance(x_VMD, reference_VMD) * has_VM).sum() / all_reduce(has_VM.sum()).clamp(min=1)
