"""`UserState`: what a model knows about a user at a moment."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class UserState:
    """What a model knows about a user at each of N moments.

    Attributes:
        z_ND: User embedding, which scores videos.
        u_NW: Modality preference, which weighs modalities (`models.layers.modality_attention.affinity`).
        modality_z_NMD: One vector for each modality that replaces z (late fusion). None: z is used.

    A baseline keeps in z and u what its own scores need.
    """

    z_ND: Tensor
    u_NW: Tensor
    modality_z_NMD: Tensor | None = None

    def select(self, index: Tensor | slice | tuple[Tensor | slice, ...]) -> "UserState":
        """Return these moments only."""
        modality_z_NMD = None if self.modality_z_NMD is None else self.modality_z_NMD[index]
        return UserState(self.z_ND[index], self.u_NW[index], modality_z_NMD)


def concat_states(states: Sequence[UserState]) -> UserState:
    """Return the rows of all states, one after another. All of them, or none, have `modality_z_NMD`."""
    modality_z = [state.modality_z_NMD for state in states if state.modality_z_NMD is not None]
    return UserState(
        torch.cat([state.z_ND for state in states]),
        torch.cat([state.u_NW for state in states]),
        torch.cat(modality_z) if modality_z else None,
    )
