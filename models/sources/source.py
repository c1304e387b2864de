"""The base classes of all sources, and what they share.

A source is a simple score of all videos for a user. It is counted once, without gradients. It keeps its
counts per ID row, so a saved source works with a later catalogue. All else comes from the user's own events
and from the item table. 0 means that nothing is known.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.data.items import ItemTable
from models.data.sequences import SequenceBatch, Sequences


class Source(nn.Module):
    """A score of every video for every user.

    Args:
        num_videos: Number of videos with an ID row, I.

    Attributes:
        needs: Names of further arguments of the constructor (`build_sources`): behaviours, modalities.
    """

    needs: Sequence[str] = ()

    def __init__(self, num_videos: int) -> None:
        super().__init__()
        self.num_videos = num_videos

    @torch.no_grad()
    def init_from_statistics(
        self, sequences: Sequences, item_table: ItemTable, last_day: int | None = None
    ) -> None:
        """Count what the source needs. Later events are not read.

        Args:
            sequences: Sequences of all users.
            item_table: The videos that `sequences` names.
            last_day: Last day to count, from 1970. Default: the day of the newest event.
        """
        last_day = sequences.last_day if last_day is None else last_day
        self._count(sequences.until(last_day), item_table, last_day)

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        """Return score_BV: larger is better, always finite, 0 where nothing is known."""
        raise NotImplementedError

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        """Fill the buffers from these events, of which none is after `last_day`."""


class ItemScore(Source):
    """A source that gives all users the same scores.

    Attributes:
        score_I: Score of each ID row.
    """

    score_I: Tensor

    def __init__(self, num_videos: int) -> None:
        super().__init__(num_videos)
        self.register_buffer("score_I", torch.zeros(num_videos))

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        return to_catalogue(self.score_I, item_table.id_row_V).expand(len(batch.mask_BT), -1)


def to_catalogue(score_XI: Tensor, id_row_V: Tensor) -> Tensor:
    """Return scores of ID rows as scores of the catalogue, [X, V] or [V]. A video without ID row gets 0."""
    return F.pad(score_XI, (0, 1))[..., id_row_V]  # −1 reads the padding


def to_id_rows(score_V: Tensor, id_row_V: Tensor, num_videos: int) -> Tensor:
    """Return scores of the catalogue as scores of the ID rows, score_I. A missing video gets 0."""
    known_V = id_row_V >= 0
    return score_V.new_zeros(num_videos).index_put((id_row_V[known_V],), score_V[known_V])


def distinct_positives(batch: SequenceBatch, id_row_V: Tensor, num_videos: int) -> tuple[Tensor, Tensor]:
    """Return the (user, positive) pairs of a batch: the position of the user, and the ID row."""
    row_BT = id_row_V[batch.video_BT]
    user_B1 = torch.arange(len(row_BT), device=row_BT.device)[:, None]
    counts_BT = batch.mask_BT & batch.positive_BT & (row_BT >= 0)
    pair_P = (user_B1 * num_videos + row_BT)[counts_BT].unique()
    return pair_P // max(num_videos, 1), pair_P % max(num_videos, 1)
