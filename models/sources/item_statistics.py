"""Sources that give all users the same scores: popularity, trending and item quality."""

import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.positives import known_positives_by_user
from models.data.sequences import SECONDS_PER_DAY, Sequences, recency_weights
from models.sources.counting import popularity, trending
from models.sources.source import ItemScore, to_id_rows

TRENDING_HALF_LIFE_DAYS = 3.0
QUALITY_HALF_LIFE_DAYS = 7.0
# Bounds of the prior of `ItemQuality`, in interactions. With few videos, its estimate is uncertain.
MIN_PRIOR_COUNT, MAX_PRIOR_COUNT = 1.0, 1000.0


class Popularity(ItemScore):
    """log(1 + number of users who liked the video)."""

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        positives = known_positives_by_user(sequences, item_table.id_row_V)
        self.score_I.copy_(popularity(positives, self.num_videos).log1p())


class Trending(ItemScore):
    """The logarithm of popularity in which older positives count less.

    Args:
        num_videos: Number of videos with an ID row.
        half_life_days: Age at which a positive counts half. 0: all count the same.
    """

    def __init__(self, num_videos: int, half_life_days: float = TRENDING_HALF_LIFE_DAYS) -> None:
        super().__init__(num_videos)
        self.half_life_days = half_life_days

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        num_V = trending(sequences, len(item_table.id_row_V), self.half_life_days, last_day)
        self.score_I.copy_(to_id_rows(num_V.log1p(), item_table.id_row_V, self.num_videos))


class ItemQuality(ItemScore):
    """How much likelier than average an interaction with the video is a positive, as a log-odds ratio.

    Popularity counts positives. This divides them by the number of interactions. The rate of a video is
    shrunk towards the average rate. Empirical Bayes chooses how much: the beta prior has the mean and the
    variance of the rates.

    Args:
        num_videos: Number of videos with an ID row.
        half_life_days: Age at which an interaction counts half. 0: all count the same.
    """

    def __init__(self, num_videos: int, half_life_days: float = QUALITY_HALF_LIFE_DAYS) -> None:
        super().__init__(num_videos)
        self.half_life_days = half_life_days

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        row_E, day_E = item_table.id_row_V[sequences.video_E], sequences.timestamp_E // SECONDS_PER_DAY
        known_E = row_E >= 0
        weight_N = recency_weights(day_E, last_day, self.half_life_days).double()[known_E]
        zeros_I, row_N = torch.zeros(self.num_videos, dtype=torch.float64), row_E[known_E]
        num_I = zeros_I.index_add(0, row_N, weight_N)
        num_positives_I = zeros_I.index_add(0, row_N, weight_N * sequences.positive_E[known_E])
        mean = ((num_positives_I.sum() + 1) / (num_I.sum() + 2)).clamp(1e-4, 1 - 1e-4)
        prior_count = beta_prior_count(num_I, num_positives_I, mean)
        rate_I = (num_positives_I + prior_count * mean) / (num_I + prior_count)
        self.score_I.copy_(torch.where(num_I > 0, rate_I.logit() - mean.logit(), 0.0))


def beta_prior_count(num_I: Tensor, num_positives_I: Tensor, mean: Tensor) -> Tensor:
    """Return the count of a beta prior, α + β, by the method of moments.

    Args:
        num_I: Interactions with each video.
        num_positives_I: Positives among them.
        mean: The mean of the prior.
    """
    counted = num_I > 0
    n, total = num_I[counted], num_I.sum()
    spread = (n * (num_positives_I[counted] / n - mean) ** 2).sum()
    noise = (len(n) - 1) * mean * (1 - mean)
    effective_total = total - (n**2).sum() / total.clamp(min=1e-12)
    variance = (spread - noise) / effective_total.clamp(min=1e-12)
    prior_count = mean * (1 - mean) / variance.clamp(min=1e-12) - 1
    return prior_count.clamp(MIN_PRIOR_COUNT, MAX_PRIOR_COUNT)
