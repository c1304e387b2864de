"""The modality preference u of equation (1), which weighs the modalities of a video."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.data.items import ItemEmbeddings, embedding_lookup
from models.data.sequences import SequenceBatch, Sequences
from models.data.users import UserProfiles
from models.layers.engagement import EngagementResidual
from models.layers.gaussian_process import log_evidence, simplex_grid
from models.layers.group_preference import GroupPreference

USERS_PER_CHUNK = 256  # users in memory at a time before training


class ModalityPreference(nn.Module):
    """Computes the modality preference u from earlier events and the profile only.

    The first D numbers are the content part, which is multiplied with the modality embeddings. An MLP
    computes it from a weighted mean of the events. What the user did determines the weight of an event. The
    last M numbers are the log modality weights, which do not depend on the video. They are the logs of the
    expected weights under the log evidence (models/layers/gaussian_process.py). Without events all are equal.

    The log evidence is computed from the engagement residuals minus the group preference
    (models/layers/group_preference.py).

    Args:
        num_modalities: M.
        num_action_features: Width of the numbers that describe what the user did.
        width: D.
        category_sizes: Number of known values of each profile column.
        uses_content: Whether there is a content part. Without it α does not depend on the video.
    """

    simplex_GM: Tensor

    def __init__(
        self,
        num_modalities: int,
        num_action_features: int,
        width: int,
        category_sizes: Sequence[int] = (),
        uses_content: bool = True,
    ) -> None:
        super().__init__()
        self.group_preference = GroupPreference(category_sizes, width)
        self.register_buffer("simplex_GM", simplex_grid(num_modalities), persistent=False)
        self.uses_content = uses_content
        if uses_content:
            self.event_weight = nn.Linear(num_action_features, 1)
            self.mlp = nn.Sequential(
                nn.Linear((num_modalities + 2) * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )

    @torch.no_grad()
    def init_from_statistics(
        self,
        sequences: Sequences,
        profiles: UserProfiles,
        engagement_residual: EngagementResidual,
        items: ItemEmbeddings,
        max_length: int,
    ) -> None:
        """Learn the group preferences.

        The modality weights of the users are computed first, with group preference 0.
        """
        weights = []
        for users_B in torch.arange(len(sequences.lengths)).split(USERS_PER_CHUNK):
            batch = sequences.padded_batch(users_B, max_length)
            residual_BT = engagement_residual(batch, items.id_row_V)
            modality_weights_BSM = self.modality_weights(batch, profiles.select(users_B), residual_BT, items)
            weights.append(modality_weights_BSM[torch.arange(len(users_B)), batch.lengths])
        residual_E = engagement_residual.event_residuals(sequences, items.id_row_V)
        self.group_preference.init_from_statistics(
            profiles.category_BJ, torch.cat(weights), items.aligned_VMD, sequences, residual_E
        )

    @torch.no_grad()
    def modality_weights(
        self, batch: SequenceBatch, profiles: UserProfiles, residual_BT: Tensor, items: ItemEmbeddings
    ) -> Tensor:
        """Return the expected modality weights_BSM under the log evidence, at every state.

        What group preference predicts is subtracted from the residuals first.
        """
        group_BTM = self.group_preference(profiles.category_BJ, batch, items.aligned_VMD)
        unexplained_BTG = residual_BT.unsqueeze(2) - group_BTM @ self.simplex_GM.T
        log_evidence_BSG = log_evidence(
            items.aligned_VMD[batch.video_BT], unexplained_BTG, batch, self.simplex_GM
        )
        return log_evidence_BSG.softmax(2) @ self.simplex_GM

    def forward(
        self,
        modality_weights_BSM: Tensor,
        items: ItemEmbeddings,
        action_BTF: Tensor,
        batch: SequenceBatch,
        s_BD: Tensor,
    ) -> Tensor:
        """Return u_BSW. State i knows the events before i.

        Args:
            modality_weights_BSM: Expected modality weights.
            items: All videos.
            action_BTF: What the user did at each event (`InteractionEmbedding.action_features`).
            batch: The events.
            s_BD: Profile vectors.
        """
        log_weight_BSM = modality_weights_BSM.clamp(min=1e-3).log()
        if not self.uses_content:
            return nn.functional.pad(log_weight_BSM, (s_BD.shape[1], 0))
        id_VD = items.id_gate_V.unsqueeze(1) * items.id_VD
        features_BTF = embedding_lookup(torch.cat([items.x_VMD.flatten(1), id_VD], 1), batch.video_BT)
        event_weight_BT1 = torch.sigmoid(self.event_weight(action_BTF)) * batch.mask_BT.unsqueeze(2)
        weighted_BTF = features_BTF * event_weight_BT1
        sum_BSF = nn.functional.pad(weighted_BTF.cumsum(1), (0, 0, 1, 0))
        weight_BS1 = nn.functional.pad(event_weight_BT1.cumsum(1), (0, 0, 1, 0))
        mean_BSF = sum_BSF / weight_BS1.clamp(min=1e-6)
        s_BSD = s_BD.unsqueeze(1).expand(-1, mean_BSF.shape[1], -1)
        return torch.cat([self.mlp(torch.cat([mean_BSF, s_BSD], 2)), log_weight_BSM], 2)
