"""Neighbours: the strongest weights of each row of a large sparse matrix of videos × videos."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

NUM_NEIGHBOURS = 200  # that are kept of each video
CHUNK_WEIGHTS = 1 << 22  # weights in memory at a time


class Neighbours(nn.Module):
    """K weights of each row of a matrix. All others are 0.

    Args:
        num_rows: Number of rows.
        num_videos: Number of columns, which are ID rows.

    Attributes:
        neighbour_XK: Columns of the weights, int32 [rows, K].
        weight_XK: The weights. 0 beyond the number of neighbours.
    """

    neighbour_XK: Tensor
    weight_XK: Tensor

    def __init__(self, num_rows: int, num_videos: int) -> None:
        super().__init__()
        self.num_videos = num_videos
        shape = (num_rows, min(NUM_NEIGHBOURS, num_videos))
        self.register_buffer("neighbour_XK", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("weight_XK", torch.zeros(shape))

    def set_rows(self, rows_x: slice, weight_xI: sp.csr_array) -> None:
        """Keep the largest weights of these rows."""
        neighbour_xK, weight_xK = strongest(weight_xI, self.neighbour_XK.shape[1])
        self.neighbour_XK[rows_x] = neighbour_xK.int()
        self.weight_XK[rows_x] = weight_xK.float()

    def forward(self, user_P: Tensor, row_P: Tensor, weight_P: Tensor, num_users: int) -> Tensor:
        """Return score_BI, the weighted sum of the rows of each user.

        Args:
            user_P: Position of the user in the batch.
            row_P: Row of the matrix.
            weight_P: Its weight in the sum.
            num_users: B.
        """
        score_BI = self.weight_XK.new_zeros(num_users * self.num_videos)
        chunk_size = max(1, CHUNK_WEIGHTS // max(self.neighbour_XK.shape[1], 1))
        chunks = zip(
            user_P.split(chunk_size), row_P.split(chunk_size), weight_P.split(chunk_size), strict=True
        )
        for user_p, row_p, weight_p in chunks:
            column_pK = user_p[:, None] * self.num_videos + self.neighbour_XK[row_p]
            weight_pK = weight_p[:, None] * self.weight_XK[row_p]
            score_BI.scatter_add_(0, column_pK.flatten(), weight_pK.flatten())
        return score_BI.view(num_users, self.num_videos)


def strongest(weight_XI: sp.csr_array, k: int) -> tuple[Tensor, Tensor]:
    """Return columns and values of the k largest entries of each row, largest first, [X, k].

    Of equal values the lower column is first. Rows with fewer entries are filled with 0.
    """
    weight_XI.sort_indices()
    row_E = np.repeat(np.arange(weight_XI.shape[0]), np.diff(weight_XI.indptr))
    order_E = np.lexsort((-weight_XI.data, row_E))  # stable, and the rows keep their places
    position_E = np.arange(len(row_E)) - weight_XI.indptr[row_E]
    kept_E = position_E < k
    column_XK = torch.zeros(weight_XI.shape[0], k, dtype=torch.long)
    value_XK = torch.zeros(weight_XI.shape[0], k, dtype=torch.float64)
    target = (torch.from_numpy(row_E[kept_E]), torch.from_numpy(position_E[kept_E]))
    column_XK[target] = torch.from_numpy(weight_XI.indices[order_E][kept_E]).long()
    value_XK[target] = torch.from_numpy(weight_XI.data[order_E][kept_E]).double()
    return column_XK, value_XK
