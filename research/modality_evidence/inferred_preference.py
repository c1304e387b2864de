"""The modality preference u of equation (1), inferred from the log evidence of a Gaussian process."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.data.sequences import SequenceBatch, Sequences
from models.data.users import UserProfiles
from models.sources.engagement import EngagementResidual
from research.modality_evidence.gaussian_process import log_evidence, simplex_grid
from research.modality_evidence.group_preference import GroupPreference

USERS_PER_CHUNK = 256  # users in memory at a time before training
MIN_WEIGHT = 1e-3  # smallest modality weight, so that its log is finite


class InferredModalityPreference(nn.Module):
    """Infers the modality weights of a user from earlier events and the profile. Nothing is trained.

    They are the expected weights under the log evidence of the engagement residuals minus the group
    preference. Without events all weights are equal. α does not depend on the video.

    Args:
        num_modalities: M.
        width: D.
        category_sizes: Number of known values of each profile column.
    """

    uses_content = False  # u has no content part
    simplex_GM: Tensor

    def __init__(self, num_modalities: int, width: int, category_sizes: Sequence[int]) -> None:
        super().__init__()
        self.width = width
        self.group_preference = GroupPreference(category_sizes, width)
        self.register_buffer("simplex_GM", simplex_grid(num_modalities), persistent=False)

    @torch.no_grad()
    def init_from_statistics(
        self,
        sequences: Sequences,
        profiles: UserProfiles,
        engagement_residual: EngagementResidual,
        aligned_VMD: Tensor,
        id_row_V: Tensor,
        max_length: int,
    ) -> None:
        """Learn the group preferences.

        The modality weights of the users are computed first, with group preference 0.

        Args:
            sequences: Sequences of all users.
            profiles: Profiles of all users.
            engagement_residual: With the mean engagement of each video.
            aligned_VMD: Modality embeddings of `align`.
            id_row_V: Row of the ID embedding of each video. −1: the video was not in training.
            max_length: Newest interactions that determine the weights of a user.
        """
        weights, residuals, longest = [], [], int(sequences.lengths.max())
        for users_B in torch.arange(len(sequences.lengths)).split(USERS_PER_CHUNK):
            batch = sequences.padded_batch(users_B, max_length)
            residual_BT = engagement_residual(batch, id_row_V)
            weights_BSM = self.modality_weights(batch, profiles.select(users_B), residual_BT, aligned_VMD)
            weights.append(weights_BSM[torch.arange(len(users_B)), batch.lengths])
            whole_batch = sequences.padded_batch(users_B, longest)
            residuals.append(engagement_residual(whole_batch, id_row_V)[whole_batch.mask_BT])
        self.group_preference.init_from_statistics(
            profiles.category_BJ, torch.cat(weights), aligned_VMD, sequences, torch.cat(residuals)
        )

    @torch.no_grad()
    def modality_weights(
        self, batch: SequenceBatch, profiles: UserProfiles, residual_BT: Tensor, aligned_VMD: Tensor
    ) -> Tensor:
        """Return the expected modality weights_BSM under the log evidence, at every state.

        What group preference predicts is subtracted from the residuals first.
        """
        group_BTM = self.group_preference(profiles.category_BJ, batch, aligned_VMD)
        unexplained_BTG = residual_BT.unsqueeze(2) - group_BTM @ self.simplex_GM.T
        log_evidence_BSG = log_evidence(aligned_VMD[batch.video_BT], unexplained_BTG, batch, self.simplex_GM)
        return log_evidence_BSG.softmax(2) @ self.simplex_GM

    def forward(
        self, batch: SequenceBatch, profiles: UserProfiles, residual_BT: Tensor, aligned_VMD: Tensor
    ) -> Tensor:
        """Return u_BSW. State i knows the events before i."""
        weights_BSM = self.modality_weights(batch, profiles, residual_BT, aligned_VMD)
        return F.pad(weights_BSM.clamp(min=MIN_WEIGHT).log(), (self.width, 0))
