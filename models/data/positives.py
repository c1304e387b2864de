"""Positives: the interactions that count as liked.

In this module E also counts the (user, positive) pairs of all users.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.data.sequences import SeenItems, SequenceBatch, Sequences, is_repeat


def positives_by_user(sequences: Sequences) -> SeenItems:
    """Return the distinct positives of each user, as rows of the catalogue."""
    user_E = torch.arange(len(sequences.offsets) - 1).repeat_interleave(sequences.lengths)
    pair_P2 = torch.stack([user_E, sequences.video_E], 1)[sequences.positive_E].unique(dim=0)
    count_B = torch.bincount(pair_P2[:, 0], minlength=len(sequences.offsets) - 1)
    return SeenItems(torch.nn.functional.pad(count_B.cumsum(0), (1, 0)), pair_P2[:, 1])


def known_positives_by_user(sequences: Sequences, id_row_V: Tensor) -> SeenItems:
    """Return the distinct positives of each user that have an ID row, as ID rows."""
    positives = positives_by_user(sequences)
    user_E = torch.arange(len(positives.offsets) - 1).repeat_interleave(positives.offsets.diff())
    row_E = id_row_V[positives.row_E]
    count_B = torch.bincount(user_E[row_E >= 0], minlength=len(positives.offsets) - 1)
    return SeenItems(torch.nn.functional.pad(count_B.cumsum(0), (1, 0)), row_E[row_E >= 0])


def is_first_positive(batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
    """Whether an event is the user's first positive of a video with an ID row, bool [B, T]."""
    row_BT = id_row_V[batch.video_BT]
    candidate_BT = batch.mask_BT & batch.positive_BT & (row_BT >= 0)
    other_code_T = -1 - torch.arange(row_BT.shape[1])  # no other event has it
    return candidate_BT & ~is_repeat(torch.where(candidate_BT, row_BT, other_code_T))


def positive_id_rows(batch: SequenceBatch, id_row_V: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct positives of each user as ID rows, in the order of the first time.

    Videos without an ID row are left out.

    Returns:
        row_BT and mask_BT. Rows where the mask is False are 0.
    """
    row_BT, first_BT = id_row_V[batch.video_BT], is_first_positive(batch, id_row_V)
    max_length = int(first_BT.sum(1).max()) if len(first_BT) else 0
    order_BT = (~first_BT).long().argsort(dim=1, stable=True)[:, :max_length]
    mask_BT = first_BT.gather(1, order_BT)
    return torch.where(mask_BT, row_BT.gather(1, order_BT), 0), mask_BT


def to_csr_matrix(positives: SeenItems, num_videos: int) -> sp.csr_array:
    """Return the sparse matrix users × videos with 1 for each positive."""
    rows, offsets = positives.row_E.numpy(), positives.offsets.numpy()
    return sp.csr_array((np.ones(len(rows)), rows, offsets), shape=(len(offsets) - 1, num_videos))


def sample_next_positive(batch: SequenceBatch, horizon: int) -> tuple[Tensor, Tensor]:
    """Sample one of the next `horizon` positives of every state, uniformly.

    A positive counts only if the user has not seen the video earlier in the sequence, because seen videos are
    never recommended. Evaluation measures the whole next day and not only the next video. So the target is
    sampled from several.

    Returns:
        event_BS: Index of the target's event. 0 if there is none.
        has_BS: Bool, whether there is a target.
    """
    B, T = batch.mask_BT.shape
    candidate_BT = batch.positive_BT & batch.mask_BT & ~is_repeat(batch.video_BT)
    num_before_BS = torch.nn.functional.pad(candidate_BT.cumsum(1), (1, 0))
    num_ahead_BS = num_before_BS[:, -1:] - num_before_BS
    offset_BS = (torch.rand(B, T + 1) * num_ahead_BS.clamp(max=horizon)).long()
    ordinal_BT = torch.where(candidate_BT, candidate_BT.cumsum(1), 0)
    event_of_ordinal_BS = torch.zeros(B, T + 1, dtype=torch.long).scatter(
        1, ordinal_BT, torch.arange(T).expand(B, -1)
    )
    has_BS = num_ahead_BS > 0
    ordinal_BS = torch.where(has_BS, num_before_BS + offset_BS + 1, 0)
    return event_of_ordinal_BS.gather(1, ordinal_BS) * has_BS, has_BS
