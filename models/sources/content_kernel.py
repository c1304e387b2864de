"""Content kernel: a video is liked as the similar videos that the user watched."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.data.items import ItemTable
from models.data.sequences import SequenceBatch, Sequences
from models.sources.engagement import EngagementResidual
from models.sources.source import Source

TEMPERATURE = 0.2  # difference of cosines at which the kernel falls to 1 / e
PRIOR_KERNEL = 1.0  # kernel sum at the mean engagement that is added to that of the events
CHUNK_SCORES = 1 << 24  # kernel values in memory at a time: 64 MiB
MIN_STD = 1e-6
MISSING_EXPONENT = -1e4  # its exponential is 0


class ContentKernel(Source):
    """Kernel regression of the user's engagement residuals on raw features.

    The score of a video is the mean residual of the user's events, weighted by their similarity to it. It is
    shrunk towards 0. The kernel exp((cosine − 1) / temperature) is averaged over the modalities that both
    videos have. Time and memory grow linearly with the number of distinct videos that the batch watched.

    Args:
        num_videos: Number of videos with an ID row.
        behaviours: Names of the logged behaviours.
        modalities: Modality -> width of its features.
        temperature: Difference of cosines at which the kernel falls to 1 / e.
        prior_kernel: Kernel sum of an event without residual that is added to each score.
    """

    needs = ("behaviours", "modalities")

    def __init__(
        self,
        num_videos: int,
        behaviours: Sequence[str],
        modalities: Mapping[str, int],
        temperature: float = TEMPERATURE,
        prior_kernel: float = PRIOR_KERNEL,
    ) -> None:
        super().__init__(num_videos)
        self.modalities, self.temperature, self.prior_kernel = list(modalities), temperature, prior_kernel
        self.engagement_residual = EngagementResidual(behaviours, num_videos)
        for modality, width in modalities.items():
            self.register_buffer(f"mean_{modality}", torch.zeros(width))
            self.register_buffer(f"std_{modality}", torch.ones(width))

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        """Count the engagement of each video, and the moments of the features of the watched videos."""
        self.engagement_residual.init_from_statistics(sequences, item_table.id_row_V)
        watched_V = torch.zeros_like(item_table.id_row_V, dtype=torch.bool)
        watched_V[sequences.video_E] = True
        for modality, has_V in self._masks(item_table).items():
            x_NF = item_table.modality_features[modality][watched_V & has_V].double()
            if len(x_NF):
                self.get_buffer(f"mean_{modality}").copy_(x_NF.mean(0))
                std_F = x_NF.std(0, correction=0)
                self.get_buffer(f"std_{modality}").copy_(torch.where(std_F > MIN_STD, std_F, 1.0))

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        B, V = len(batch.mask_BT), len(item_table.id_row_V)
        residual_E = self.engagement_residual(batch, item_table.id_row_V)[batch.mask_BT]
        user_E = batch.mask_BT.nonzero()[:, 0]
        watched_C, position_E = batch.video_BT[batch.mask_BT].unique(return_inverse=True)
        has_VX, factors = self._kernel_factors(item_table)
        # The first B rows sum residual × kernel, the other B the kernel.
        sum_XV, chunk_size = residual_E.new_zeros(2 * B, V), max(1, CHUNK_SCORES // max(V, 1))
        row_X = torch.cat([user_E, user_E + B])
        column_X, value_X = position_E.repeat(2), torch.cat([residual_E, torch.ones_like(residual_E)])
        for first in range(0, len(watched_C) if factors else 0, chunk_size):
            rows_c = watched_C[first : first + chunk_size]
            is_chunk_X = (column_X >= first) & (column_X < first + len(rows_c))
            index_2X = torch.stack([row_X, column_X - first])[:, is_chunk_X]
            weight_Xc = torch.sparse_coo_tensor(
                index_2X, value_X[is_chunk_X], (2 * B, len(rows_c)), check_invariants=False
            )
            sum_XV += torch.sparse.mm(weight_Xc, _kernel(has_VX, factors, rows_c))
        return sum_XV[:B] / (sum_XV[B:] + self.prior_kernel)

    def _kernel_factors(self, item_table: ItemTable) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return which modalities each video has [V, X], and two factors [V, F + 2] for each modality.

        The product of the factors is the exponent of the kernel. It is far below 0 if one of the videos lacks
        the modality.
        """
        masks, factors = self._masks(item_table), []
        for modality, has_V in masks.items():
            x_VF = item_table.modality_features[modality] - self.get_buffer(f"mean_{modality}")
            x_VF = F.normalize(x_VF / self.get_buffer(f"std_{modality}"), dim=1) * has_V[:, None]
            one_V = torch.ones_like(x_VF[:, 0])
            missing_V = MISSING_EXPONENT * ~has_V
            left_VF = torch.column_stack([x_VF / self.temperature, missing_V - 1 / self.temperature, one_V])
            factors.append((left_VF, torch.column_stack([x_VF, one_V, missing_V])))
        has_V0 = item_table.has_VM[:, :0]
        return torch.column_stack([has_V0, *masks.values()]).float(), factors

    def _masks(self, item_table: ItemTable) -> dict[str, Tensor]:
        """Return modality -> which videos have it, [V]. Modalities outside the item table are left out."""
        columns = dict(zip(item_table.modality_features, item_table.has_VM.unbind(1), strict=True))
        return {modality: columns[modality] for modality in self.modalities if modality in columns}


def _kernel(has_VX: Tensor, factors: Sequence[tuple[Tensor, Tensor]], rows_c: Tensor) -> Tensor:
    """Return the kernel of these videos and all videos, [c, V]. 0: they have no modality in common."""
    sum_cV = (factors[0][0][rows_c] @ factors[0][1].T).exp_()
    for left_VF, right_VF in factors[1:]:
        sum_cV += (left_VF[rows_c] @ right_VF.T).exp_()
    return sum_cV.div_((has_VX[rows_c] @ has_VX.T).clamp_(min=1))
