"""Affinity: how much a user likes the videos of a creator or a category, from the user's own events."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.sequences import SequenceBatch, Sequences, recency_weights
from models.sources.source import Source

CREATOR_PRIOR_COUNT = 3.0  # interactions at the user's own rate that are added to each creator
CATEGORY_PRIOR_COUNT = 5.0
USER_PRIOR_COUNT = 10.0  # interactions at the average rate that are added to each user
FOLLOW_COUNT = 10.0  # positives that a follow counts as


class Affinity(Source):
    """Log-odds that the user likes a video of this group, minus those of any video.

    The rate of a group is shrunk towards the user's own rate. The user's own rate is shrunk towards the
    average rate. The score is 0 for a group that the user never watched, and for an unknown group.

    Args:
        num_videos: Number of videos with an ID row.
        prior_count: Interactions at the user's own rate that are added to each group.
        half_life_days: An event so many days before the user's newest counts half. 0: all count the same.

    Attributes:
        positive_rate: Share of positives among all interactions.
    """

    positive_rate: Tensor

    def __init__(self, num_videos: int, prior_count: float, half_life_days: float = 0.0) -> None:
        super().__init__(num_videos)
        self.prior_count, self.half_life_days = prior_count, half_life_days
        self.register_buffer("positive_rate", torch.tensor(0.5))

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        num_positives, num_events = int(sequences.positive_E.sum()), len(sequences.positive_E)
        self.positive_rate.fill_((num_positives + 1) / (num_events + 2))

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        group_V = self._groups(item_table)
        if group_V is None or not len(group_V):
            return torch.zeros(len(batch.mask_BT), len(item_table.id_row_V), device=batch.mask_BT.device)
        weight_BT = self._event_weights(batch)
        group_BT, X = group_V[batch.video_BT], int(group_V.max()) + 1
        num_BX = _sum_by_group(weight_BT, group_BT, X)
        num_positives_BX = _sum_by_group(weight_BT * batch.positive_BT, group_BT, X)
        rate_B1 = num_positives_BX.sum(1, keepdim=True) + USER_PRIOR_COUNT * self.positive_rate
        rate_B1 = rate_B1 / (num_BX.sum(1, keepdim=True) + USER_PRIOR_COUNT)
        bonus_BX = FOLLOW_COUNT * (_sum_by_group(self._follows(batch), group_BT, X) > 0)
        rate_BX = (num_positives_BX + bonus_BX + self.prior_count * rate_B1) / (
            num_BX + bonus_BX + self.prior_count
        )
        score_BX = torch.where(num_BX > 0, rate_BX.logit() - rate_B1.logit(), 0.0)
        score_BX[:, 0] = 0.0
        return score_BX[:, group_V]

    def _event_weights(self, batch: SequenceBatch) -> Tensor:
        if not batch.mask_BT.shape[1] or not self.half_life_days:
            return batch.mask_BT.float()
        day_BT = batch.day_BT.masked_fill(~batch.mask_BT, 0)
        age_BT = day_BT.amax(1, keepdim=True) - day_BT
        return recency_weights(-age_BT, 0, self.half_life_days) * batch.mask_BT

    def _groups(self, item_table: ItemTable) -> Tensor | None:
        """Return the group of each video, group_V. 0 is unknown."""
        raise NotImplementedError

    def _follows(self, batch: SequenceBatch) -> Tensor:
        """Return which events are a follow of the group, float [B, T]."""
        return torch.zeros_like(batch.mask_BT, dtype=torch.float)


class CreatorAffinity(Affinity):
    """Affinity to the creator. A follow counts as `FOLLOW_COUNT` positives.

    Args:
        num_videos: Number of videos with an ID row.
        behaviours: Names of the logged behaviours.
        prior_count: Interactions at the user's own rate that are added to each creator.
        half_life_days: An event so many days before the user's newest counts half. 0: all count the same.
    """

    needs = ("behaviours",)

    def __init__(
        self,
        num_videos: int,
        behaviours: Sequence[str],
        prior_count: float = CREATOR_PRIOR_COUNT,
        half_life_days: float = 0.0,
    ) -> None:
        super().__init__(num_videos, prior_count, half_life_days)
        self.follow = list(behaviours).index("followed") if "followed" in behaviours else None

    def _groups(self, item_table: ItemTable) -> Tensor | None:
        return item_table.author_V

    def _follows(self, batch: SequenceBatch) -> Tensor:
        if self.follow is None:
            return super()._follows(batch)
        return (batch.behaviour_BTA[:, :, self.follow] & batch.mask_BT).float()


class CategoryAffinity(Affinity):
    """Affinity to the category."""

    def __init__(
        self, num_videos: int, prior_count: float = CATEGORY_PRIOR_COUNT, half_life_days: float = 0.0
    ) -> None:
        super().__init__(num_videos, prior_count, half_life_days)

    def _groups(self, item_table: ItemTable) -> Tensor | None:
        return item_table.category_V


def _sum_by_group(value_BT: Tensor, group_BT: Tensor, num_groups: int) -> Tensor:
    """Return the sum of the values of each group, [B, X]."""
    return value_BT.new_zeros(len(value_BT), num_groups).scatter_add(1, group_BT, value_BT)
