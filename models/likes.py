"""What people liked, of all that they watched.

Legend: B users, E events, T events of a batch's longest history, V videos of the catalogue.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.histories import Batch, Histories, Seen


def liked(histories: Histories) -> Seen:
    """The distinct videos that each user liked, in the form of `Seen`."""
    user_E = torch.arange(len(histories.offsets) - 1).repeat_interleave(histories.lengths)
    pair_P2 = torch.stack([user_E, histories.video_E], 1)[histories.positive_E].unique(dim=0)
    count_B = torch.bincount(pair_P2[:, 0], minlength=len(histories.offsets) - 1)
    return Seen(torch.nn.functional.pad(count_B.cumsum(0), (1, 0)), pair_P2[:, 1])


def known_likes(histories: Histories, row_V: Tensor) -> Seen:
    """The distinct videos with an ID row that each user liked, as ID rows."""
    likes = liked(histories)
    user_E = torch.arange(len(likes.offsets) - 1).repeat_interleave(likes.offsets.diff())
    row_E = row_V[likes.row_E]
    count_B = torch.bincount(user_E[row_E >= 0], minlength=len(likes.offsets) - 1)
    return Seen(torch.nn.functional.pad(count_B.cumsum(0), (1, 0)), row_E[row_E >= 0])


def first_likes(batch: Batch, row_V: Tensor) -> Tensor:
    """Whether an event is the first at which its user likes a known video [B, T]."""
    row_BT = row_V[batch.video_BT]
    fit_BT = batch.mask_BT & batch.positive_BT & (row_BT >= 0)
    alike_BTT = (row_BT[:, :, None] == row_BT[:, None, :]) & fit_BT[:, None, :]
    return fit_BT & ~alike_BTT.tril(-1).any(2)


def liked_rows(batch: Batch, row_V: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct known videos each user liked, as ID rows in order of the first time: row_BT, mask_BT."""
    row_BT, fit_BT = row_V[batch.video_BT], first_likes(batch, row_V)
    order_BT = (
        (~fit_BT).long().argsort(dim=1, stable=True)[:, : int(fit_BT.sum(1).max()) if len(fit_BT) else 0]
    )
    mask_BT = fit_BT.gather(1, order_BT)
    return torch.where(mask_BT, row_BT.gather(1, order_BT), 0), mask_BT


def matrix(likes: Seen, videos: int) -> sp.csr_array:
    """Users × videos, 1 where liked."""
    rows, offsets = likes.row_E.numpy(), likes.offsets.numpy()
    return sp.csr_array((np.ones(len(rows)), rows, offsets), shape=(len(offsets) - 1, videos))
