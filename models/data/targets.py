"""Targets of evaluation and labels of the ranking heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.data.labels import COMPLETE_WATCH_RATIO


@dataclass(frozen=True)
class Targets:
    """What should have been recommended: (user, video) pairs, sorted by user and then by row.

    Attributes:
        user_P: Row of the user.
        row_P: Row of the video.
    """

    user_P: Tensor
    row_P: Tensor

    @property
    def users(self) -> Tensor:
        """The users that have a target, sorted."""
        return self.user_P.unique()

    @property
    def most_per_user(self) -> int:
        """The largest number of targets of a user. 0 without targets."""
        return int(self.user_P.bincount().max()) if len(self.user_P) else 0

    def of_users(self, users_B: Tensor) -> "Targets":
        """Return the targets of these users only.

        Args:
            users_B: Sorted, distinct users.
        """
        position_P, row_P = self.for_users(users_B)
        return Targets(users_B[position_P], row_P)

    def for_users(self, users_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pairs of these users: the position in `users_B`, and the row of the video.

        Args:
            users_B: Sorted, distinct users.
        """
        position_P = torch.searchsorted(users_B, self.user_P).clamp(max=len(users_B) - 1)
        selected_P = users_B[position_P] == self.user_P
        return position_P[selected_P], self.row_P[selected_P]


BEHAVIOUR_HEADS = ("complete", "like", "comment", "share", "follow", "skip")
LOGGED_BEHAVIOURS = {"like": "liked", "comment": "commented", "share": "shared", "follow": "followed"}


def behaviour_labels(
    watch_ratio_N: Tensor,
    watch_ratio_known_N: Tensor,
    behaviour_NA: Tensor,
    behaviours: Sequence[str],
    skip_watch_ratio: float,
) -> tuple[Tensor, Tensor]:
    """Return the labels of the ranking heads, and whether each is known.

    Args:
        watch_ratio_N: Watch ratio. Any number if unknown.
        watch_ratio_known_N: Bool.
        behaviour_NA: Bool, in the order of `behaviours`.
        behaviours: Names of the logged behaviours.
        skip_watch_ratio: Below this watch ratio an interaction is a skip.

    Returns:
        label_NH and known_NH, both bool, in the order of `BEHAVIOUR_HEADS`.
    """
    always_N = torch.ones_like(watch_ratio_known_N)
    labels_by_head = {
        "complete": (watch_ratio_N >= COMPLETE_WATCH_RATIO, watch_ratio_known_N),
        "skip": (watch_ratio_N < skip_watch_ratio, watch_ratio_known_N),
        **{
            head: (behaviour_NA[:, behaviours.index(name)], always_N)
            for head, name in LOGGED_BEHAVIOURS.items()
        },
    }
    labels, known = zip(*(labels_by_head[head] for head in BEHAVIOUR_HEADS), strict=True)
    return torch.stack(labels, 1), torch.stack(known, 1)
