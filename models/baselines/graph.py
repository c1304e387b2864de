"""The graph of training users and the videos that they liked, as sparse matrices.

The graph has X = U + I nodes: the training users, then the videos.
"""

import warnings

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.data.positives import to_csr_matrix
from models.data.sequences import SeenItems


def normalised_adjacency(positives: SeenItems, num_videos: int) -> Tensor:
    """Return the sparse matrix D^-½ A D^-½ of users and videos, [X, X]."""
    a_XX, degree_X = _adjacency(positives, num_videos)
    scale_XX = sp.diags_array(1 / np.sqrt(degree_X))
    return _to_torch(scale_XX @ a_XX @ scale_XX)


def mean_adjacency(positives: SeenItems, num_videos: int) -> Tensor:
    """Return the sparse matrix D^-1 A, [X, X]. Its product with x_XD is the mean over the neighbours."""
    a_XX, degree_X = _adjacency(positives, num_videos)
    return _to_torch(sp.diags_array(1 / degree_X) @ a_XX)


def _adjacency(positives: SeenItems, num_videos: int) -> tuple[sp.csr_array, np.ndarray]:
    """Return A, and the number of neighbours of each node, at least 1."""
    r_UI = to_csr_matrix(positives, num_videos)
    a_XX = sp.block_array([[None, r_UI], [r_UI.T, None]], format="csr")
    return a_XX, np.maximum(a_XX.sum(0), 1)


def _to_torch(a_XX: sp.csr_array) -> Tensor:
    a_XX = a_XX.tocsr().astype(np.float32)
    indptr, indices, data = map(torch.from_numpy, (a_XX.indptr, a_XX.indices, a_XX.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(indptr.long(), indices.long(), data, a_XX.shape, check_invariants=True)
