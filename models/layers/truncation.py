"""Adaptive truncation: which interactions of a sequence are read, by recency and information.

A sequence of fixed length keeps the newest interactions, whatever they say. Here an interaction with little
information counts as older than it is, and interactions above a largest age are left out. The largest age
follows from a budget: the mean number of interactions that is kept for each user of the training days. So the
length of a sequence depends on its own interactions only, in training and when it is served.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from models.data.sequences import SequenceBatch, Sequences, is_repeat

# Interactions that are added to the age: of a skip, and of a video that the user has watched before.
SKIP_AGE, REPEAT_AGE = 20, 40
CHUNK_USERS = 4096  # users whose ages are computed at a time


class Truncation(nn.Module):
    """Leaves out interactions above a largest age.

    The age of an interaction is the number of later ones, plus `SKIP_AGE` if it is a skip and no positive,
    plus `REPEAT_AGE` if the sequence has the video earlier. The newest interaction has age 0.

    Args:
        skip_watch_ratio: Below this watch ratio an interaction is a skip.
    """

    max_age: Tensor

    def __init__(self, skip_watch_ratio: float) -> None:
        super().__init__()
        self.skip_watch_ratio = skip_watch_ratio
        self.register_buffer("max_age", torch.tensor(torch.iinfo(torch.long).max))

    def forward(self, batch: SequenceBatch) -> SequenceBatch:
        """Return the batch with the kept interactions only, as long as the longest sequence."""
        kept_BT = self._kept(batch)
        max_length = int(kept_BT.sum(1).max()) if len(kept_BT) else 0
        order_BT = (~kept_BT).long().argsort(dim=1, stable=True)[:, :max_length]
        fields = {
            name: x_BX[torch.arange(len(x_BX))[:, None], order_BT]
            for name, x_BX in vars(batch).items()
            if name not in ("users_B", "mask_BT")
        }
        return replace(batch, mask_BT=kept_BT.gather(1, order_BT), **fields)

    def kept_lengths(self, sequences: Sequences, max_length: int) -> Tensor:
        """Return the number of kept interactions of each user, [U]."""
        chunks = torch.arange(len(sequences.offsets) - 1).split(CHUNK_USERS)
        return torch.cat(
            [self._kept(sequences.padded_batch(users_B, max_length)).sum(1) for users_B in chunks]
        )

    def init_from_statistics(self, sequences: Sequences, max_length: int, budget: int) -> None:
        """Set the largest age for which users keep at most `budget` interactions on average.

        Args:
            sequences: Sequences of the training days. Users without one do not count.
            max_length: The longest sequence.
            budget: Mean number of interactions of a user.
        """
        oldest = max_length + SKIP_AGE + REPEAT_AGE
        count_X, users = torch.zeros(oldest + 1, dtype=torch.long), sequences.lengths.nonzero().squeeze(1)
        for users_B in users.split(CHUNK_USERS):
            batch = sequences.padded_batch(users_B, max_length)
            count_X += event_ages(batch, self.skip_watch_ratio)[batch.mask_BT].bincount(minlength=oldest + 1)
        within_X = count_X.cumsum(0) <= budget * len(users)
        self.max_age.fill_(max(int(within_X.sum()) - 1, 0))

    def _kept(self, batch: SequenceBatch) -> Tensor:
        """Return which interactions are kept, bool [B, T]."""
        return batch.mask_BT & (event_ages(batch, self.skip_watch_ratio) <= self.max_age)


def event_ages(batch: SequenceBatch, skip_watch_ratio: float) -> Tensor:
    """Return the age of each interaction, [B, T]. See `Truncation`."""
    num_later_BT = batch.lengths[:, None] - 1 - torch.arange(batch.mask_BT.shape[1])
    is_skip_BT = batch.watch_ratio_known_BT & (batch.watch_ratio_BT < skip_watch_ratio) & ~batch.positive_BT
    age_BT = num_later_BT + SKIP_AGE * is_skip_BT + REPEAT_AGE * is_repeat(batch.video_BT)
    return torch.where(num_later_BT > 0, age_BT, 0)
