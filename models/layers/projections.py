"""Modality embeddings: one learned projection for each modality.

`align` trains the projections, and `train` starts from them.

A modality that a video lacks is masked. So the values of its features cannot matter.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.data.items import ItemTable

TEMPERATURE_RANGE = (0.01, 1.0)  # limits of a learned temperature; below, training is unstable (CLIP)


class ModalityProjection(nn.Module):
    """Projects one modality into the shared space: x̃ₘ = LayerNorm(Wₘ (xₘ − mean) / std)."""

    mean: Tensor
    std: Tensor

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("std", torch.ones(num_features))

    def forward(self, x_VF: Tensor, has_V: Tensor) -> Tensor:
        """Return the modality embeddings [V, D]. They are zero if the modality is missing."""
        x_VD = self.norm(self.linear(self.standardise(x_VF, has_V)))
        return torch.where(has_V[:, None], x_VD, 0.0)

    def standardise(self, x_VF: Tensor, has_V: Tensor) -> Tensor:
        """Return the features [V, F] in standard deviations from the mean. They are zero if missing."""
        filled_VF = torch.where(has_V[:, None], x_VF, self.mean)
        return (filled_VF - self.mean) / self.std

    def init_from_statistics(self, x_VF: Tensor) -> None:
        """Set mean and standard deviation.

        Args:
            x_VF: Features of the training videos that have this modality.
        """
        double_VF = x_VF.double()
        std_F = double_VF.std(0, correction=0)
        self.mean.copy_(double_VF.mean(0))
        self.std.copy_(torch.where(std_F > 1e-6, std_F, 1.0))


class ModalityProjections(nn.Module):
    """Projects all modalities into the shared space. `align` trains it, and `train` starts from it.

    `align` learns the temperature as the log of its inverse (CLIP). It is stored with the projections.
    """

    def __init__(self, modalities: Mapping[str, int], width: int, temperature: float = 0.07) -> None:
        super().__init__()
        self.width = width
        self.heads = nn.ModuleDict({m: ModalityProjection(size, width) for m, size in modalities.items()})
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, item_table: ItemTable) -> Tensor:
        """Return the modality embeddings x_VMD. They are zero if missing."""
        x = [
            head(item_table.modality_features[m], item_table.has_VM[:, i])
            for i, (m, head) in enumerate(self.heads.items())
        ]
        return torch.stack(x, 1) if x else torch.zeros(len(item_table.id_row_V), 0, self.width)

    def segment_embeddings(self, modality: str, item_table: ItemTable) -> tuple[Tensor, Tensor]:
        """Return the embeddings of the segments in one modality, [V, T, D], and which exist, bool [V, T].

        T is 0 if the table has no segments, or none with a vector of this modality.
        """
        segments, head = item_table.segments, self.heads[modality]
        if segments is None or modality not in segments.features:
            no_mask_VT = torch.zeros(len(item_table.id_row_V), 0, dtype=torch.bool)
            return torch.zeros(*no_mask_VT.shape, self.width), no_mask_VT
        row_VT = segments.row_VT[modality]
        mask_VT = row_VT >= 0
        x_NF = segments.features[modality][row_VT[mask_VT]].float()
        x_ND = head(x_NF, torch.ones(len(x_NF), dtype=torch.bool))
        return torch.zeros(*mask_VT.shape, self.width).masked_scatter(mask_VT[:, :, None], x_ND), mask_VT

    def noise(self, modality: str, num_videos: int) -> Tensor:
        """Return random features [V, F] with the mean and the standard deviation of the modality."""
        head = self.heads[modality]
        assert isinstance(head, ModalityProjection)
        return head.mean + head.std * torch.randn(num_videos, len(head.mean))

    def standardised_features(self, item_table: ItemTable) -> list[Tensor]:
        """Return each modality's standardised features [V, F], with length 1. They are zero if missing."""
        return [
            nn.functional.normalize(head.standardise(item_table.modality_features[m], has_V), dim=1)
            for has_V, (m, head) in zip(item_table.has_VM.T, self.heads.items(), strict=True)
            if isinstance(head, ModalityProjection)
        ]

    @property
    def temperature(self) -> Tensor:
        """Temperature of the contrastive loss."""
        return torch.exp(-self.logit_scale)

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep the temperature within its limits. Call it after every optimiser step that learns it."""
        low, high = TEMPERATURE_RANGE
        self.logit_scale.clamp_(-math.log(high), -math.log(low))
