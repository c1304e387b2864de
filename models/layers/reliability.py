"""Reliability of a modality of a video: the probability that it belongs to the video.

A modality that is present may be wrong: noise, or the sound of another video. A gate learns to tell such
modalities from the true ones, on copies of training videos with one modality replaced.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.data.items import ItemTable
from models.layers.projections import ModalityProjections

HIDDEN_WIDTH = 32
CORRUPTED_SHARE = 0.5  # of the videos with several modalities; one modality of each is replaced
NOISE_SHARE = 0.5  # of the replacements that are noise; the others are of another video


class ModalityReliability(nn.Module):
    """The gate: rₘ = σ(MLP(x̃ₘ, x̃ₘ ⊙ x̄, mean and largest cosine with the others, m)).

    x̄ is the mean of the other modalities of the video. `reliability_loss` trains the gate. No other loss
    does, so that rₘ stays a probability. A modality without another one to compare it with has the weight 1.

    Args:
        num_modalities: M.
        width: D.
    """

    def __init__(self, num_modalities: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * width + 2 + num_modalities, HIDDEN_WIDTH), nn.GELU(), nn.Linear(HIDDEN_WIDTH, 1)
        )

    def forward(self, x_VMD: Tensor, has_VM: Tensor) -> Tensor:
        """Return the logits of r, [V, M]."""
        unit_VMD = F.normalize(x_VMD.detach().float(), dim=2)
        has_other_VMM = (has_VM[:, None, :] & has_VM[:, :, None]) & ~torch.eye(
            has_VM.shape[1], dtype=torch.bool
        )
        cosine_VMM = (unit_VMD @ unit_VMD.transpose(1, 2)).masked_fill(~has_other_VMM, 0.0)
        share_VMM = has_other_VMM / has_other_VMM.sum(2, keepdim=True).clamp(min=1)
        others_VMD = share_VMM @ unit_VMD
        largest_VM = cosine_VMM.masked_fill(~has_other_VMM, -1.0).amax(2)
        agreement_VM2 = torch.stack([(cosine_VMM * share_VMM).sum(2), largest_VM], 2)
        scale = unit_VMD.shape[2] ** 0.5  # numbers of size 1
        name_VMM = torch.eye(has_VM.shape[1]).expand(len(has_VM), -1, -1)
        inputs = [scale * unit_VMD, scale**2 * unit_VMD * others_VMD, agreement_VM2, name_VMM]
        return self.mlp(torch.cat(inputs, 2)).squeeze(2)

    def weights(self, x_VMD: Tensor, has_VM: Tensor) -> Tensor:
        """Return rₘ divided by its mean over the modalities of the video, [V, M]. It passes no gradient."""
        r_VM = torch.sigmoid(self(x_VMD, has_VM)).detach() * has_VM
        mean_V1 = r_VM.sum(1, keepdim=True) / has_VM.sum(1, keepdim=True).clamp(min=1)
        return torch.where(has_VM, r_VM / mean_V1.clamp(min=torch.finfo(r_VM.dtype).tiny), 1.0)


def corrupt_modalities(item_table: ItemTable, projections: ModalityProjections) -> tuple[ItemTable, Tensor]:
    """Return the videos with one modality of some of them replaced, and which was replaced, bool [V, M].

    Args:
        item_table: The videos.
        projections: Their statistics are those of the noise.
    """
    V, M = item_table.has_VM.shape
    chosen_V = (torch.rand(V, M) * item_table.has_VM).argmax(1)
    is_corrupt_V = (item_table.has_VM.sum(1) > 1) & (torch.rand(V) < CORRUPTED_SHARE)
    corrupt_VM = F.one_hot(chosen_V, M).bool() & is_corrupt_V[:, None]
    is_noise_V, features = torch.rand(V) < NOISE_SHARE, {}
    for m, (name, x_VF) in enumerate(item_table.modality_features.items()):
        donors = item_table.has_VM[:, m].nonzero().squeeze(1)
        other_VF = x_VF[donors[torch.randint(max(len(donors), 1), (V,))]] if len(donors) else x_VF
        noise_VF = projections.noise(name, V)
        wrong_VF = torch.where(is_noise_V[:, None], noise_VF, other_VF)
        features[name] = torch.where(corrupt_VM[:, m, None], wrong_VF, x_VF)
    return replace(item_table, modality_features=features), corrupt_VM


def reliability_loss(
    gate: ModalityReliability, projections: ModalityProjections, item_table: ItemTable
) -> tuple[Tensor, Tensor]:
    """Return the summed binary cross-entropy of the gate, and the number of modalities that it judged.

    Args:
        gate: The gate. Only its parameters get a gradient.
        projections: Of the model.
        item_table: Training videos. Some of their modalities are replaced here.
    """
    corrupted, corrupt_VM = corrupt_modalities(item_table, projections)
    with torch.no_grad():
        x_VMD = projections(corrupted)
    judged_VM = item_table.has_VM & (item_table.has_VM.sum(1, keepdim=True) > 1)
    logit_VM = gate(x_VMD, item_table.has_VM)
    loss_VM = F.binary_cross_entropy_with_logits(logit_VM, (~corrupt_VM).float(), reduction="none")
    return (loss_VM * judged_VM).sum(), judged_VM.sum()
