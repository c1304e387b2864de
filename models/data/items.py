"""Videos as tensors: the item table, and the item embeddings that a model makes from it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.data.segments import SegmentTable

COUNT_BUCKETS = 24  # log2 of the number of a video's training interactions
ALWAYS_AVAILABLE = 2**31 - 1  # last day of a video that is never withdrawn


@dataclass(frozen=True)
class ItemTable:
    """The videos to choose from.

    Attributes:
        modality_features: Modality -> features [V, F]. F differs between modalities.
        has_VM: Bool, whether a video has the modality.
        id_row_V: Row of the ID embedding. −1: the video was not in training.
        upload_day_V: Day of upload, counted from 1970. Only training needs it.
        item_features_VQ: Standardised item features. NaN is unknown. Only the ranking heads need them.
        author_V: Code of the creator in this catalogue. 0 is unknown.
        category_V: Code of the category in this catalogue. 0 is unknown.
        duration_V: Duration in seconds. NaN is unknown.
        attribute_VA: Code of each attribute in the vocabulary of the model. 0 is unknown. None: no attribute.
        available_until_V: Last day on which the video can be watched, counted from 1970.
            `ALWAYS_AVAILABLE`: it has no last day.
        word_VX: Code of each known word of the caption in the vocabulary of the model. 0 is no word. None: no
            words are read.
        segments: The segments of the videos. None: the snapshot has none.
    """

    modality_features: Mapping[str, Tensor]
    has_VM: Tensor
    id_row_V: Tensor
    upload_day_V: Tensor | None = None
    item_features_VQ: Tensor | None = None
    author_V: Tensor | None = None
    category_V: Tensor | None = None
    duration_V: Tensor | None = None
    attribute_VA: Tensor | None = None
    available_until_V: Tensor | None = None
    word_VX: Tensor | None = None
    segments: SegmentTable | None = None

    def available_on(self, day: int) -> Tensor:
        """Whether each video can be watched on this day, bool [V]. It can if its days are unknown.

        Args:
            day: Counted from 1970.
        """
        available_V = torch.ones_like(self.id_row_V, dtype=torch.bool)
        if self.upload_day_V is not None:
            available_V &= self.upload_day_V <= day
        if self.available_until_V is not None:
            available_V &= self.available_until_V >= day
        return available_V

    def select(self, rows: Tensor) -> "ItemTable":
        """Return the videos of these rows. Row −1 gives a video without content and ID."""
        is_present, rows = rows >= 0, rows.clamp(min=0)
        has_VM = self.has_VM[rows] & is_present[:, None]
        return ItemTable(
            {m: x_VF[rows] for m, x_VF in self.modality_features.items()},
            has_VM,
            torch.where(is_present, self.id_row_V[rows], -1),
            upload_day_V=_rows_or_none(self.upload_day_V, rows),
            item_features_VQ=_rows_or_none(self.item_features_VQ, rows),
            author_V=_rows_or_none(self.author_V, rows, is_present, 0),
            category_V=_rows_or_none(self.category_V, rows, is_present, 0),
            duration_V=_rows_or_none(self.duration_V, rows, is_present, torch.nan),
            attribute_VA=_rows_or_none(self.attribute_VA, rows, is_present, 0),
            available_until_V=_rows_or_none(self.available_until_V, rows),
            word_VX=_rows_or_none(self.word_VX, rows, is_present, 0),
            segments=self.segments.select(rows, is_present) if self.segments else None,
        )


def _rows_or_none(
    x_VX: Tensor | None, rows: Tensor, is_present: Tensor | None = None, absent: float = 0
) -> Tensor | None:
    """Return `x_VX[rows]`, with the value `absent` where `is_present` is False."""
    if x_VX is None or is_present is None:
        return None if x_VX is None else x_VX[rows]
    return x_VX[rows].masked_fill(~is_present.view(-1, *[1] * (x_VX.ndim - 1)), absent)


@dataclass(frozen=True)
class ItemEmbeddings:
    """Every video in the shared space.

    Attributes:
        x_VMD: Modality embeddings x̃ₘ. Zero if missing.
        has_VM: Bool, whether a video has the modality.
        identity_VD: g × the ID embedding + the embedding of the attributes.
        id_gate_V: Share of the ID embedding in the item embedding, g (docs/model/fusion.md).
        bias_V: How popular the video is among all users.
        id_row_V: Row of the ID embedding. −1: the video was not in training.
        item_features_VF: Item features and whether each is known (`impute_with_mask`).
    """

    x_VMD: Tensor
    has_VM: Tensor
    identity_VD: Tensor
    id_gate_V: Tensor
    bias_V: Tensor
    id_row_V: Tensor
    item_features_VF: Tensor

    def __len__(self) -> int:
        return len(self.bias_V)

    def select(self, rows: Tensor | slice) -> "ItemEmbeddings":
        """Return the items of these rows."""
        return replace(self, **{name: tensor[rows] for name, tensor in vars(self).items()})


def impute_with_mask(value_NQ: Tensor) -> Tensor:
    """Return standardised numbers and whether each is known, [N, 2 Q].

    An unknown number (NaN) becomes 0, which is the mean.
    """
    known_NQ = ~value_NQ.isnan()
    return torch.cat([value_NQ.nan_to_num(0.0).clamp(-4.0, 4.0), known_NQ.float()], 1)


def embedding_lookup(x_VX: Tensor, rows_N: Tensor) -> Tensor:
    """Return `x_VX[rows_N]`. `rows_N` may have any number of axes.

    A GPU adds up the gradients of an embedding at once. Those of an indexing are added one after another if
    a row occurs often, such as the row of the padding.
    """
    return F.embedding(rows_N, x_VX.unsqueeze(1).flatten(1)).view(rows_N.shape + x_VX.shape[1:])


def count_bucket(counts: Tensor) -> Tensor:
    """Return the log2 bucket of a number of training interactions. Bucket 0 is none."""
    return torch.log2(1 + counts.float()).ceil().long().clamp(max=COUNT_BUCKETS - 1)
