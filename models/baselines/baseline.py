"""The base class of all baselines. They know videos by ID and users by their positives.

Baselines have the same methods as `InterestModel`. A video without an ID row gets the lowest score. In this
package T counts positives, oldest first and padded on the right.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.config import ModelConfig
from models.data.items import ItemTable
from models.data.positives import positive_id_rows
from models.data.sequences import SeenItems, SequenceBatch
from models.data.user_state import UserState
from models.data.users import UserProfiles

UNKNOWN_SCORE = -1e9  # the score of a video that was not in training
TIE_BREAK_WEIGHT = 1e-6  # weight of popularity, which orders videos with equal scores


@dataclass(frozen=True)
class IdVocabulary:
    """Videos as a baseline knows them.

    Attributes:
        id_row_V: Row of the ID embedding. −1: the video was not in training.
    """

    id_row_V: Tensor

    def __len__(self) -> int:
        return len(self.id_row_V)

    def select(self, rows: Tensor | slice) -> Self:
        """Return these videos only."""
        return replace(self, **{name: tensor[rows] for name, tensor in vars(self).items()})


class Baseline(nn.Module):
    """A model of video IDs.

    Attributes:
        num_positives_I: Number of users who liked each video in training.
        has_ranking_heads: Whether the baseline predicts behaviours, too.
    """

    num_positives_I: Tensor
    has_ranking_heads = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.num_videos = len(config.video_ids)
        self.register_buffer("num_positives_I", torch.zeros(self.num_videos))

    @property
    def training_length(self) -> int:
        """Newest interactions of a sequence that a training step reads."""
        return self.config.max_length

    def init_from_statistics(self, positives: SeenItems) -> None:
        """Count what the baseline needs before the first step.

        Args:
            positives: Distinct positives of each training user.
        """
        self.num_positives_I.copy_(torch.bincount(positives.row_E, minlength=self.num_videos))

    def init_from_content(self, item_table: ItemTable) -> None:
        """Count what the baseline needs of the content. A baseline of IDs needs nothing.

        Args:
            item_table: The catalogue. Only the videos with an ID row may be counted.
        """

    def loss(self, batch: SequenceBatch, id_row_V: Tensor) -> Tensor:
        """Return the loss of a training step.

        Args:
            batch: Sequences of some users.
            id_row_V: ID rows of the catalogue.
        """
        raise NotImplementedError

    def prepare_scoring(self) -> None:
        """Prepare for scoring with the present weights."""

    def drop_user_embeddings(self) -> None:
        """Delete what was learned for single users. From then on users are folded in from their positives."""

    def encode_items(self, item_table: ItemTable) -> IdVocabulary:
        """Return the ID rows of the videos."""
        return IdVocabulary(item_table.id_row_V)

    def encode_user(self, batch: SequenceBatch, profiles: UserProfiles, items: IdVocabulary) -> UserState:
        """Return the state of each user after the last event. Profiles are not read."""
        z_BD = self.encode_sequence(*positive_id_rows(batch, items.id_row_V))
        return UserState(z_BD, z_BD)

    def score_items(self, user_state: UserState, items: IdVocabulary) -> tuple[Tensor, Tensor]:
        """Score every video.

        Returns:
            score_NV, and alpha_0NV because there are no modalities.
        """
        score_NX = F.pad(self.score_vocabulary(user_state), (0, 1), value=UNKNOWN_SCORE)
        score_NV = score_NX[:, items.id_row_V]  # a new video has the ID row −1, which reads the padding
        return score_NV, score_NV.new_zeros(0, *score_NV.shape)

    def encode_sequence(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return z_BD from the positives of each user.

        Args:
            row_BT: ID rows of the positives.
            mask_BT: Bool, which of them exist.
        """
        raise NotImplementedError

    def score_vocabulary(self, user_state: UserState) -> Tensor:
        """Score every video with an ID row: score_NI."""
        raise NotImplementedError

    def final_scores(
        self,
        score_BV: Tensor,
        items: IdVocabulary,
        batch: SequenceBatch,
        item_table: ItemTable,
        day: int | None,
    ) -> Tensor:
        """Return the scores unchanged: a baseline has no final ranker."""
        return score_BV

    def rerank(
        self, user_state: UserState, items: IdVocabulary, score_NV: Tensor, request_NJ: Tensor | None = None
    ) -> Tensor:
        """Return the scores unchanged: a baseline has no second stage."""
        return score_NV

    def behaviour_logits(
        self, user_state: UserState, items: IdVocabulary, rows_N: Tensor, request_NJ: Tensor | None = None
    ) -> Tensor:
        """Return the logits [N, H] of the ranking heads, for one video for each row. No context is read.

        Only baselines with `has_ranking_heads` have them.
        """
        raise NotImplementedError

    def tie_break(self) -> Tensor:
        """Return popularity, so small that it only orders videos with equal scores."""
        return TIE_BREAK_WEIGHT * self.num_positives_I / self.num_positives_I.max().clamp(min=1)
