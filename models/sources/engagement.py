"""Engagement of a user with a video, as one number, and its residual."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.data.sequences import SequenceBatch, Sequences

BEHAVIOUR_WEIGHTS = {"liked": 1.0, "commented": 0.5, "shared": 1.0, "followed": 1.0, "disliked": -2.0}
WATCH_WEIGHT = 2.0  # of the watch ratio, relative to a like
NEUTRAL_WATCH_RATIO = 0.6  # a watch ratio that is neither positive nor negative
PRIOR_COUNT = 10.0  # average interactions that are added to those of each video


class EngagementResidual(nn.Module):
    """Engagement minus what the video usually gets.

    Most users watch a good or a short video to its end. So only the residual says something about the user.

    Attributes:
        item_mean: Mean engagement of each ID row, shrunk towards the average by `PRIOR_COUNT` interactions.
            The last entry is for new videos.
    """

    item_mean: Tensor

    def __init__(self, behaviours: Sequence[str], num_videos: int) -> None:
        super().__init__()
        self.behaviours = behaviours
        self.register_buffer("item_mean", torch.zeros(num_videos + 1))

    def init_from_statistics(self, sequences: Sequences, id_row_V: Tensor) -> None:
        """Count the mean engagement of each video in the training days."""
        engagement_E = engagement(
            sequences.watch_ratio_E.nan_to_num(0.0),
            ~sequences.watch_ratio_E.isnan(),
            sequences.behaviour_EA,
            self.behaviours,
        ).double()
        row_E, num_videos = id_row_V[sequences.video_E], len(self.item_mean) - 1
        global_mean, known_E = engagement_E.mean().nan_to_num(0.0), row_E >= 0
        sum_I = torch.zeros(num_videos, dtype=torch.float64).index_add(
            0, row_E[known_E], engagement_E[known_E]
        )
        count_I = torch.bincount(row_E[known_E], minlength=num_videos)
        item_mean_I = (sum_I + PRIOR_COUNT * global_mean) / (count_I + PRIOR_COUNT)
        self.item_mean.copy_(torch.cat([item_mean_I, global_mean[None]]))

    def forward(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        """Return residual_BT. Its mean is about 0 and its variance about 1."""
        engagement_BT = engagement(
            batch.watch_ratio_BT, batch.watch_ratio_known_BT, batch.behaviour_BTA, self.behaviours
        )
        return engagement_BT - self.item_mean[id_row_V[batch.video_BT]]  # a new video has row −1: the last


def engagement(
    watch_ratio_X: Tensor, watch_ratio_known_X: Tensor, behaviour_XA: Tensor, behaviours: Sequence[str]
) -> Tensor:
    """Return the engagement of each interaction [X], from watch ratio and behaviours.

    An unknown watch ratio counts as neutral.

    Args:
        watch_ratio_X: Watch ratio.
        watch_ratio_known_X: Bool.
        behaviour_XA: Logged behaviours, in the order of `behaviours`.
        behaviours: Names of the logged behaviours.
    """
    weight_A = torch.tensor([BEHAVIOUR_WEIGHTS.get(name, 0.0) for name in behaviours])
    watch_score_X = torch.where(watch_ratio_known_X, watch_ratio_X.clamp(max=1.0) - NEUTRAL_WATCH_RATIO, 0.0)
    return WATCH_WEIGHT * watch_score_X + behaviour_XA.float() @ weight_A
