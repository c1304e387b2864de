"""Transitions: which video users like next after another. They follow series and sessions."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.sequences import SECONDS_PER_DAY, SequenceBatch, Sequences
from models.sources.neighbours import Neighbours
from models.sources.source import Source, to_catalogue

WINDOW = 5  # following positives that count as next
MAX_GAP_DAYS = 7.0
PRIOR_COUNT = 3.0  # transitions without an end that are added to each video
NUM_RECENT = 5
DECAY = 0.7


class Transition(Source):
    """A counted Markov chain: the probability of a video after the user's newest positives.

    The video ℓ positives later counts 1 / ℓ. The probabilities of a video with few transitions are shrunk
    towards 0.

    Args:
        num_videos: Number of videos with an ID row.
        window: Number of following positives that count.
        max_gap_days: Longest time to a following positive that counts.
        num_recent: Number of newest positives that the score starts from.
        decay: Weight of a positive relative to the next one.

    Attributes:
        neighbours: The most frequent next videos of each video.
    """

    def __init__(
        self,
        num_videos: int,
        window: int = WINDOW,
        max_gap_days: float = MAX_GAP_DAYS,
        num_recent: int = NUM_RECENT,
        decay: float = DECAY,
    ) -> None:
        super().__init__(num_videos)
        self.window, self.max_gap_days = window, max_gap_days
        self.num_recent, self.decay = num_recent, decay
        self.neighbours = Neighbours(num_videos, num_videos)

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        user_E = torch.arange(len(sequences.offsets) - 1).repeat_interleave(sequences.lengths)
        row_E = item_table.id_row_V[sequences.video_E]
        kept_E = sequences.positive_E & (row_E >= 0)
        user_N, row_N, time_N = user_E[kept_E], row_E[kept_E], sequences.timestamp_E[kept_E]
        count_II = sp.csr_array((self.num_videos, self.num_videos))
        for lag in range(1, self.window + 1):
            from_N, to_N = row_N[:-lag], row_N[lag:]
            gap_N = time_N[lag:] - time_N[:-lag]
            counts_N = (user_N[lag:] == user_N[:-lag]) & (gap_N <= self.max_gap_days * SECONDS_PER_DAY)
            counts_N &= from_N != to_N
            pairs = (from_N[counts_N].numpy(), to_N[counts_N].numpy())
            weights = np.full(len(pairs[0]), 1 / lag)
            count_II = count_II + sp.coo_array((weights, pairs), shape=count_II.shape).tocsr()
        scale_I = 1 / (np.asarray(count_II.sum(1)).ravel() + PRIOR_COUNT)
        self.neighbours.set_rows(slice(None), (sp.diags_array(scale_I) @ count_II).tocsr())

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        row_BT = item_table.id_row_V[batch.video_BT]
        starts_BT = batch.mask_BT & batch.positive_BT & (row_BT >= 0)
        num_later_BT = starts_BT.sum(1, keepdim=True) - starts_BT.cumsum(1)
        starts_BT &= num_later_BT < self.num_recent
        user_P, step_P = starts_BT.nonzero(as_tuple=True)
        weight_P = self.decay ** num_later_BT[user_P, step_P].float()
        score_BI = self.neighbours(user_P, row_BT[user_P, step_P], weight_P, len(row_BT))
        return to_catalogue(score_BI, item_table.id_row_V)
