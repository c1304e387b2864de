"""Every video in one space: what it shows, says and sounds like, and its ID.

Legend: V videos, M modalities, D width, F width of features, P numbers, I videos with an ID row.
A modality that a video lacks is masked before the softmax; what its features hold then cannot matter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

ID_START = 0.04  # spread of the ID embeddings before training
UNLIKED = 0.1  # people that a video has beside those who liked it, so that its logarithm is finite
VIEW_BUCKETS = 24  # log2 of a video's training views
TEMPERATURES = (0.01, 1.0)  # what a learned temperature is held within; below, training is unstable (CLIP)


@dataclass(frozen=True)
class Catalogue:
    """The videos to choose from. Features of a modality are [V, width of that modality].

    born_V is the day of upload, counted from 1970; None: not known, and only training asks.
    number_VP: what else is known of each video, standardised (NaN: unknown); only ranking asks.
    """

    features: Mapping[str, Tensor]
    has_VM: Tensor
    id_row_V: Tensor  # row of the ID embedding; -1: the video was not in training
    born_V: Tensor | None = None
    number_VP: Tensor | None = None

    def take(self, rows: Tensor) -> "Catalogue":
        """The videos of these rows only; row −1 is a video that has nothing."""
        there, rows = rows >= 0, rows.clamp(min=0)
        features = {m: x_VF[rows] for m, x_VF in self.features.items()}
        born, number = (None if x is None else x[rows] for x in (self.born_V, self.number_VP))
        has_VM, id_row_V = self.has_VM[rows] & there[:, None], torch.where(there, self.id_row_V[rows], -1)
        return Catalogue(features, has_VM, id_row_V, born, number)


@dataclass(frozen=True)
class Items:
    """Every video in the shared space.

    x_VMD: x̃_m, zero where missing; aligned_VMD: the same as it was before training.
    id_VD, g_V: ID embedding and its share (docs/model.md).
    bias_V: how liked the video is by everybody.
    id_row_V: row of its ID embedding, −1 for a new video; number_VK: what else is known of it (`with_known`),
    K = 2 P.
    """

    x_VMD: Tensor
    aligned_VMD: Tensor
    has_VM: Tensor
    id_VD: Tensor
    g_V: Tensor
    bias_V: Tensor
    id_row_V: Tensor
    number_VK: Tensor

    def __len__(self) -> int:
        return len(self.bias_V)

    def take(self, rows: Tensor | slice) -> "Items":
        """The items of these rows only."""
        return Items(**{name: tensor[rows] for name, tensor in vars(self).items()})


class Projection(nn.Module):
    """x̃_m = LayerNorm(W_m (x_m − mean) / std): one modality into the shared space."""

    center: Tensor
    scale: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, x_VF: Tensor, has_V: Tensor) -> Tensor:
        """[V, D]; zero where the modality is missing."""
        x_VD = self.norm(self.linear(self.standard(x_VF, has_V)))
        return torch.where(has_V[:, None], x_VD, 0.0)

    def standard(self, x_VF: Tensor, has_V: Tensor) -> Tensor:
        """[V, F]: the features in standard deviations from the mean; zero where missing."""
        clean_VF = torch.where(has_V[:, None], x_VF, self.center)
        return (clean_VF - self.center) / self.scale

    def set_statistics(self, x_VF: Tensor) -> None:
        """Mean and standard deviation of the training videos that have this modality."""
        wide_VF = x_VF.double()
        deviation_F = wide_VF.std(0, correction=0)
        self.center.copy_(wide_VF.mean(0))
        self.scale.copy_(torch.where(deviation_F > 1e-6, deviation_F, 1.0))


class Projections(nn.Module):
    """All modalities into the shared space; what `align` trains and `train` starts from.

    The temperature is learned by `align` as the log of its inverse (CLIP) and stays with the projections.
    """

    def __init__(self, modalities: Mapping[str, int], width: int, temperature: float = 0.07) -> None:
        super().__init__()
        self.width = width
        self.heads = nn.ModuleDict({m: Projection(size, width) for m, size in modalities.items()})
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, catalogue: Catalogue) -> Tensor:
        """x_VMD: zero where missing."""
        x = [
            head(catalogue.features[m], catalogue.has_VM[:, i])
            for i, (m, head) in enumerate(self.heads.items())
        ]
        return torch.stack(x, 1) if x else torch.zeros(len(catalogue.id_row_V), 0, self.width)

    def looks(self, catalogue: Catalogue) -> list[Tensor]:
        """Each modality's standardised features [V, F], of length 1; zero where missing."""
        return [
            nn.functional.normalize(head.standard(catalogue.features[m], catalogue.has_VM[:, i]), dim=1)  # type: ignore[operator]
            for i, (m, head) in enumerate(self.heads.items())
        ]

    @property
    def temperature(self) -> Tensor:
        return torch.exp(-self.log_scale)

    @torch.no_grad()
    def bound_temperature(self) -> None:
        """To be called after every step of an optimiser that learns it."""
        low, high = TEMPERATURES
        self.log_scale.clamp_(-math.log(high), -math.log(low))


class Joint(nn.Module):
    """Early fusion: all modalities side by side as one vector, LayerNorm(W [x̃_1; …; x̃_M; has])."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(modalities * (width + 1), width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, x_VMD: Tensor, has_VM: Tensor) -> Tensor:
        """x_VMD again: in the place of each modality that is there, the same joint vector."""
        joint_VD = self.norm(self.linear(torch.cat([x_VMD.flatten(1), has_VM.float()], 1)))
        return torch.where(has_VM[:, :, None], joint_VD[:, None, :], 0.0)


class Fusion(nn.Module):
    """Projections, the ID embedding and its gate; with `early` also the joint vector.

    With `aligned` also a copy of the projections that training does not move: where people are read.

    g = σ(a number learned for the log2 bucket of the video's training views); a video without an ID row is
    all content, a video without content is all ID. The embedding is multiplied by √D, the length that content
    has: without, an optimiser that moves every weight alike takes √D times as long to move a score.
    """

    views_I: Tensor
    new_bias: Tensor

    def __init__(
        self,
        modalities: Mapping[str, int],
        width: int,
        videos: int,
        early: bool = False,
        aligned: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.project = Projections(modalities, width)
        self.aligned = Projections(modalities, width).requires_grad_(False) if aligned else None
        self.joint = Joint(len(modalities), width) if early and modalities else None
        self.id = nn.Embedding(videos, width)
        self.id_bias = nn.Parameter(torch.zeros(videos))
        self.id_share = nn.Embedding(VIEW_BUCKETS, 1)
        nn.init.normal_(self.id.weight, std=ID_START)
        nn.init.zeros_(self.id_share.weight)
        self.register_buffer("views_I", torch.zeros(videos, dtype=torch.long))
        self.register_buffer("new_bias", torch.zeros(()))

    def forward(self, catalogue: Catalogue, dropped_V: Tensor | None = None) -> Items:
        """All videos in the shared space; `dropped_V` (training) treats these as if they were new.

        But as liked as the average one: with a new one's bias much less is learned (docs/experiments.md).
        """
        x_VMD = self.project(catalogue)
        aligned_VMD = self.aligned(catalogue) if self.aligned else x_VMD.detach()
        if self.joint is not None:
            x_VMD = self.joint(x_VMD, catalogue.has_VM)
        number_VP = x_VMD.new_zeros(len(x_VMD), 0) if catalogue.number_VP is None else catalogue.number_VP
        any_V = catalogue.has_VM.any(1)
        known_V = catalogue.id_row_V >= 0
        if dropped_V is not None:
            known_V = known_V & ~(dropped_V & any_V)
        row_V = torch.where(known_V, catalogue.id_row_V, 0)
        bucket_V = torch.where(known_V, view_bucket(self._views(row_V)), 0)
        g_V = torch.where(any_V, torch.sigmoid(self.id_share(bucket_V).squeeze(1)), 1.0)
        g_V = torch.where(known_V, g_V, 0.0)
        id_VD, bias_V = x_VMD.new_zeros(len(row_V), self.width), x_VMD.new_zeros(len(row_V))
        if len(self.views_I):
            id_VD = self.id(row_V) * self.width**0.5
            bias_V = torch.where(known_V, look_up(self.id_bias, row_V), 0.0)
        bias_V = torch.where(catalogue.id_row_V >= 0, bias_V, self.new_bias)
        id_row_V = torch.where(known_V, row_V, -1)
        number_VK, has_VM = with_known(number_VP), catalogue.has_VM
        return Items(x_VMD, aligned_VMD, has_VM, id_VD, g_V, bias_V, id_row_V, number_VK)

    def start_from(
        self,
        views_I: Tensor,
        liked_I: Tensor,
        newest_I: Tensor | None = None,
        aligned: Projections | None = None,
    ) -> None:
        """Before training: the view counts of the gate, biases that rank by popularity, what is aligned.

        `aligned`: the champion's; without one, the projections as they are now.

        The log of the number of people who liked a video, centred: with z = 0 the softmax is popularity,
        and what is learned is how a person differs from it. A new video starts as the newest ones of training
        (`newest_I`: which these are) on average; where that is not known, as all.
        """
        self.views_I.copy_(views_I)
        if self.aligned:
            self.aligned.load_state_dict((aligned or self.project).state_dict())
        start_I = torch.log(UNLIKED + liked_I)
        with torch.no_grad():
            self.id_bias.copy_(start_I - start_I.mean())
            if newest_I is not None and newest_I.any():
                self.new_bias.copy_(self.id_bias[newest_I].mean())

    def _views(self, row_V: Tensor) -> Tensor:
        return self.views_I[row_V] if len(self.views_I) else torch.zeros_like(row_V)


def with_known(number_NP: Tensor) -> Tensor:
    """Standardised numbers and whether each is known [N, 2 P]; an unknown one (NaN) is an average one."""
    known_NP = ~number_NP.isnan()
    return torch.cat([number_NP.nan_to_num(0.0).clamp(-4.0, 4.0), known_NP.float()], 1)


def look_up(x_VX: Tensor, rows_N: Tensor) -> Tensor:
    """x[rows], each row [X…]; leading axes of `rows` may be any.

    Of rows that come often, such as the one that stands for padding, a GPU adds up the gradients of an
    embedding at once, but those of an indexing one after another.
    """
    return F.embedding(rows_N, x_VX.unsqueeze(1).flatten(1)).view(rows_N.shape + x_VX.shape[1:])


def view_bucket(views: Tensor) -> Tensor:
    """log2 bucket of a number of training views; 0: none."""
    return torch.log2(1 + views.float()).ceil().long().clamp(max=VIEW_BUCKETS - 1)
