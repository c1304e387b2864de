"""What sources and baselines count: popularity, trending, and the cosine of ItemCF."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.data.positives import to_csr_matrix
from models.data.sequences import SECONDS_PER_DAY, SeenItems, Sequences, recency_weights


def popularity(positives: SeenItems, num_videos: int) -> Tensor:
    """Return score_V, the number of users who liked the video in training."""
    return torch.bincount(positives.row_E, minlength=num_videos).float()


def trending(
    sequences: Sequences, num_videos: int, half_life_days: float, last_day: int | None = None
) -> Tensor:
    """Return score_V, the number of users who liked the video, with older positives weighted less.

    Args:
        sequences: Sequences of all users.
        num_videos: Number of videos of the catalogue.
        half_life_days: Age at which a positive counts half. 0: all count the same.
        last_day: The day from which age counts. Default: the day of the newest event.
    """
    user_E = torch.arange(len(sequences.offsets) - 1).repeat_interleave(sequences.lengths)
    pair_E, day_E = user_E * num_videos + sequences.video_E, sequences.timestamp_E // SECONDS_PER_DAY
    last_day = sequences.last_day if last_day is None else last_day
    weight_E = recency_weights(day_E, last_day, half_life_days) * sequences.positive_E
    pair_P, pair_index_E = pair_E.unique(return_inverse=True)
    weight_P = torch.zeros(len(pair_P)).scatter_reduce(0, pair_index_E, weight_E, "amax")
    return torch.zeros(num_videos).index_add(0, pair_P % num_videos, weight_P)


def unit_columns(positives: SeenItems, num_videos: int) -> sp.csr_array:
    """Return the matrix users × videos of the positives. The column of each video has length 1."""
    r_UV = to_csr_matrix(positives, num_videos)
    norm_V = np.sqrt(np.asarray(r_UV.multiply(r_UV).sum(0)).ravel())
    return r_UV @ sp.diags_array(1 / np.maximum(norm_V, 1.0))


def cosine_similarity(scaled_VU: sp.csr_array, scaled_UV: sp.csr_array, rows_v: slice) -> sp.csr_array:
    """Return the cosines of some videos to all videos, [v, V]. That of a video to itself is 0.

    Args:
        scaled_VU: The positives by video. So a chunk of videos is cut out without a pass over all users.
        scaled_UV: The positives by user, of `unit_columns`.
        rows_v: The videos, as `slice(first, last)`.
    """
    similarity_vV = (scaled_VU[rows_v] @ scaled_UV).tocoo()
    other = similarity_vV.row + rows_v.start != similarity_vV.col
    entries = (similarity_vV.row[other], similarity_vV.col[other])
    return sp.csr_array((similarity_vV.data[other], entries), shape=similarity_vV.shape)
