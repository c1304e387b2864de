"""What a person goes by: the vector u of equation (1), which weighs the modalities of a video.

Legend: B users, T events, S = T + 1 states, M modalities, G mixtures of modalities, D width, E = D + M,
F = (M + 1) D, A numbers that say what was done.
"""

import torch
from torch import Tensor, nn

from models.evidence import mixtures
from models.fusion import Items
from models.histories import Batch


class Preference(nn.Module):
    """u: the user's preference vector, from earlier events and, with `content`, the profile only.

    Its first part, which meets what a video shows, comes from the mean of the events, weighed by what the
    person did. Its end, which meets the modality as such, is the log of the modality's expected share in
    what the person goes by: all mixtures are as likely at first, and then as the evidence has them.
    With `content` false the first part is 0: what a modality weighs is then the same in every video.
    """

    mixture_GM: Tensor

    def __init__(self, modalities: int, actions: int, width: int, content: bool = True) -> None:
        super().__init__()
        self.register_buffer("mixture_GM", mixtures(modalities), persistent=False)
        self.content = content
        if content:
            self.weight = nn.Linear(actions, 1)
            self.layers = nn.Sequential(
                nn.Linear((modalities + 2) * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )

    def forward(
        self,
        told_BSG: Tensor,
        items: Items,
        action_BTA: Tensor,
        batch: Batch,
        s_BD: Tensor,
    ) -> Tensor:
        """u_BSE, of which state i knows the events before i; told_BSG: what `log_evidence` has."""
        share_BSM = torch.softmax(told_BSG, 2) @ self.mixture_GM
        tag_BSM = share_BSM.clamp(min=1e-3).log()
        if not self.content:
            return nn.functional.pad(tag_BSM, (s_BD.shape[1], 0))
        id_VD = items.g_V.unsqueeze(1) * items.id_VD
        shown_BTF = torch.cat([items.x_VMD.flatten(1), id_VD], 1)[batch.video_BT]
        w_BT1 = torch.sigmoid(self.weight(action_BTA)) * batch.mask_BT.unsqueeze(2)
        seen_BTF = shown_BTF * w_BT1
        sums_BSF = nn.functional.pad(seen_BTF.cumsum(1), (0, 0, 1, 0))
        weight_BS1 = nn.functional.pad(w_BT1.cumsum(1), (0, 0, 1, 0))
        mean_BSF = sums_BSF / weight_BS1.clamp(min=1e-6)
        s_BSD = s_BD.unsqueeze(1).expand(-1, mean_BSF.shape[1], -1)
        return torch.cat([self.layers(torch.cat([mean_BSF, s_BSD], 2)), tag_BSM], 2)
