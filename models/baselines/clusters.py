"""Clusters of the content of one modality: k-means on training videos, then the nearest centre."""

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

SEED = 0
MAX_FITTED_VIDEOS = 1 << 16  # videos that k-means reads at most, evenly spread over all


def fit_centres(x_NF: Tensor, num_clusters: int) -> Tensor:
    """Return the centres of k-means. With fewer videos than clusters, the first centre is repeated.

    Args:
        x_NF: Standardised features of the training videos that have the modality, at least one.
        num_clusters: Number of centres.

    Returns:
        One centre for each row, with F columns.
    """
    sample_NF = x_NF[:: -(-len(x_NF) // MAX_FITTED_VIDEOS)].double().numpy()
    num_fitted = min(num_clusters, len(np.unique(sample_NF, axis=0)))
    centres, _ = kmeans2(sample_NF, num_fitted, minit="++", rng=SEED)
    padded = np.concatenate([centres, centres[:1].repeat(num_clusters - num_fitted, 0)])
    return torch.from_numpy(padded).float()


def nearest_centre(x_NF: Tensor, centres_KF: Tensor) -> Tensor:
    """Return the row of the centre that is nearest to each video."""
    return (centres_KF.square().sum(1) - 2 * x_NF @ centres_KF.T).argmin(1)
