"""Shared by all evaluation protocols: a data set that is split into training, validation and test.

Models are trained on the sequences of the training fold and selected on its targets. They are reported on
the targets of the test fold, whose sequences they read without training again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.tables import BEHAVIOURS
from models.data.items import ItemTable
from models.data.sequences import SeenItems, Sequences
from models.data.targets import Targets
from models.data.users import UserProfiles


@dataclass(frozen=True)
class Fold:
    """The sequences of all users before a moment, and their positives after it.

    Attributes:
        sequences: Interactions before the moment.
        seen_items: Videos that are masked in the ranking.
        targets: (user, video) pairs after the moment.
    """

    sequences: Sequences
    seen_items: SeenItems
    targets: Targets


@dataclass(frozen=True)
class SplitDataset:
    """A data set with its split.

    Attributes:
        train: Training sequences and validation targets.
        test: Test sequences and test targets.
        config_fields: Fields of ModelConfig that describe the data, such as `modalities` and
            `user_categorical_features`.
    """

    item_table: ItemTable
    user_profiles: UserProfiles
    train: Fold
    test: Fold
    config_fields: Mapping[str, Any]

    def without_content(self) -> "SplitDataset":
        """Return the data set with IDs only: no modalities, no profiles."""
        id_row_V = self.item_table.id_row_V
        no_content = torch.zeros(len(id_row_V), 0, dtype=torch.bool)
        profiles = empty_profiles(len(self.user_profiles.category_BJ))
        return SplitDataset(ItemTable({}, no_content, id_row_V), profiles, self.train, self.test, {})


def make_fold(sequences: Sequences, targets: Targets) -> Fold:
    """Make a fold that masks the videos of each user's sequence in the ranking."""
    return Fold(sequences, SeenItems(sequences.offsets, sequences.video_E), targets)


def unseen_targets(user_N: Tensor, video_N: Tensor, sequences: Sequences, num_videos: int) -> Targets:
    """Make targets of (user, video) pairs. A pair counts once, and not if it is in the sequences."""
    users_E = torch.arange(len(sequences.lengths)).repeat_interleave(sequences.lengths)
    key_P = (user_N * num_videos + video_N).unique()
    key_P = key_P[~torch.isin(key_P, users_E * num_videos + sequences.video_E)]
    return Targets(key_P // num_videos, key_P % num_videos)


def trained_id_rows(sequences: Sequences, num_videos: int) -> Tensor:
    """Return the row of each video's ID embedding, −1 if the video is not in the training sequences."""
    trained_V = torch.bincount(sequences.video_E, minlength=num_videos) > 0
    return torch.where(trained_V, trained_V.cumsum(0) - 1, -1)


def empty_profiles(num_users: int) -> UserProfiles:
    """Make profiles without any column, for a release without profiles."""
    none = torch.zeros(num_users, 0)
    return UserProfiles(none.long(), none)


def categorical_profiles(
    values_by_column: Mapping[str, Sequence[str | None]],
) -> tuple[UserProfiles, dict[str, list[str]]]:
    """Make profiles of categories.

    The vocabulary holds the values of all users, new ones too, because it says nothing about behaviour.

    Args:
        values_by_column: Column -> value of each user. None or empty: unknown.

    Returns:
        The profiles, and column -> known values.
    """
    vocabulary = {
        name: sorted({value for value in values if value}) for name, values in values_by_column.items()
    }
    codes = [
        [1 + vocabulary[name].index(value) if value else 0 for value in values]
        for name, values in values_by_column.items()
    ]
    return UserProfiles(torch.tensor(codes).T, torch.zeros(len(codes[0]), 0)), vocabulary


def id_only_sequences(length_B: Tensor, video_E: Tensor) -> Sequences:
    """Make sequences of videos that all are positives, at unknown times.

    Args:
        length_B: Length of each user's sequence.
        video_E: Videos of all users in one flat list.
    """
    E = len(video_E)
    no_time_E = torch.zeros(E, dtype=torch.long)
    behaviour_EA = torch.zeros(E, len(BEHAVIOURS), dtype=torch.bool)
    behaviour_EA[:, 0] = True
    return Sequences(
        offsets=torch.nn.functional.pad(length_B.cumsum(0), (1, 0)),
        video_E=video_E,
        timestamp_E=no_time_E,
        hour_E=no_time_E,
        watch_ratio_E=torch.full((E,), torch.nan),
        behaviour_EA=behaviour_EA,
        sentiment_E=torch.full((E,), torch.nan),
        positive_E=torch.ones(E, dtype=torch.bool),
    )
