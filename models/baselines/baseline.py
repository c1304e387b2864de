"""What all baselines share: they know videos by ID only, and of a person what was liked.

They are asked like `InterestModel`: `items`, `newest`, `scores`. A video without an ID row cannot be known to
them and comes last.

Legend: B users, T liked videos (oldest first, padding on the right), N (person, moment) pairs, V videos of
the catalogue, I videos with an ID row, U training users.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.fusion import Catalogue
from models.histories import Batch, Seen
from models.interest import Interest, Spec
from models.likes import liked_rows
from models.profiles import Profiles

UNKNOWN = -1e9  # the score of a video that was not in training
TIE = 1e-6  # the weight of popularity where a method cannot tell videos apart


@dataclass(frozen=True)
class Known:
    """Videos as a baseline knows them: their ID rows; −1: not in training."""

    row_V: Tensor

    def __len__(self) -> int:
        return len(self.row_V)

    def take(self, rows: Tensor | slice) -> "Known":
        """These only."""
        return Known(self.row_V[rows])


class Baseline(nn.Module):
    """A model of IDs. `liked_I`: how many people liked each video in training."""

    liked_I: Tensor
    ranks = False  # whether it has ranking heads, too

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.videos = len(spec.video_ids)
        self.register_buffer("liked_I", torch.zeros(self.videos))

    def start(self, likes: Seen) -> None:
        """What is counted before the first step; `likes` are the distinct videos of each training user."""
        self.liked_I.copy_(torch.bincount(likes.row_E, minlength=self.videos))

    def loss(self, batch: Batch, row_V: Tensor) -> Tensor:
        """What a step makes small; `row_V` are the ID rows of the catalogue."""
        raise NotImplementedError

    def settle(self) -> None:
        """Make ready to score with what was learned so far."""

    def forget_people(self) -> None:
        """Leave behind what was learned of single users: people are read from what they liked."""

    def items(self, catalogue: Catalogue) -> Known:
        """The ID rows of the catalogue."""
        return Known(catalogue.id_row_V)

    def newest(self, batch: Batch, profiles: Profiles, items: Known) -> Interest:
        """What each user is interested in after the last event; profiles are not read."""
        z_BD = self.read(*liked_rows(batch, items.row_V))
        return Interest(z_BD, z_BD)

    def scores(self, interest: Interest, items: Known) -> tuple[Tensor, Tensor]:
        """score_NV of every video; there are no modalities to weigh: alpha_0NV."""
        score_NV = F.pad(self.score(interest), (0, 1), value=UNKNOWN)[:, items.row_V]  # −1: the one padded
        return score_NV, score_NV.new_zeros(0, *score_NV.shape)

    def read(self, row_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """z_BD from the videos that were liked."""
        raise NotImplementedError

    def score(self, interest: Interest) -> Tensor:
        """score_NI of every video with an ID row."""
        raise NotImplementedError

    def rerank(self, interest: Interest, items: Known, score_NV: Tensor) -> Tensor:
        """The scores as they are: a baseline has no second stage."""
        return score_NV

    def rank(self, interest: Interest, items: Known, rows_N: Tensor) -> Tensor:
        """Logits [N, H] of each behaviour, for one video per pair; of models that rank."""
        raise NotImplementedError

    def attention(self, batch: Batch, profiles: Profiles, items: Known) -> None:
        """A baseline does not say what it looks at."""

    def tie_break(self) -> Tensor:
        """Popularity, too small to change any order but that of ties."""
        return TIE * self.liked_I / self.liked_I.max().clamp(min=1)
