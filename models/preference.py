"""What a person goes by: the vector u of equation (1), which weighs the modalities of a video.

Legend: B users, T events, S = T + 1 states, M modalities, G mixtures of modalities, D width, E = D + M,
F = (M + 1) D, A numbers that say what was done.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.answers import Answers
from models.evidence import log_evidence, mixtures
from models.fusion import Items, look_up
from models.histories import Batch, Histories
from models.kinds import Kinds
from models.profiles import Profiles

PEOPLE = 256  # read at a time before training


class Preference(nn.Module):
    """u: the user's preference vector, from earlier events and the profile only.

    Its first part, which meets what a video shows, comes from the mean of the events, weighed by what the
    person did. Its end, which meets the modality as such, is the log of the modality's expected share in
    what the person goes by: even at first, and then as the evidence has it (models/evidence.py).
    With `content` false the first part is 0: what a modality weighs is then the same in every video.
    The profile says what people like it like, which the answers are told beside (models/kinds.py).
    """

    mixture_GM: Tensor

    def __init__(
        self, modalities: int, actions: int, width: int, sizes: Sequence[int] = (), content: bool = True
    ) -> None:
        """`sizes`: how many values each profile column has."""
        super().__init__()
        self.kinds = Kinds(sizes, width)
        self.register_buffer("mixture_GM", mixtures(modalities), persistent=False)
        self.content = content
        if content:
            self.weight = nn.Linear(actions, 1)
            self.layers = nn.Sequential(
                nn.Linear((modalities + 2) * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )

    @torch.no_grad()
    def start_from(
        self, past: Histories, profiles: Profiles, answers: Answers, items: Items, max_length: int
    ) -> None:
        """Before training: what each kind likes, of people who go by what the evidence without kinds has."""
        shares = []
        for users_B in torch.arange(len(past.lengths)).split(PEOPLE):
            batch = past.batch(users_B, max_length)
            response_BT = answers(batch, items.id_row_V)
            share_BSM = self.shares(batch, profiles.take(users_B), response_BT, items)
            shares.append(share_BSM[torch.arange(len(users_B)), batch.lengths])
        response_E = answers.of(past, items.id_row_V)
        self.kinds.start_from(profiles.category_BC, torch.cat(shares), items.aligned_VMD, past, response_E)

    @torch.no_grad()
    def shares(self, batch: Batch, profiles: Profiles, response_BT: Tensor, items: Items) -> Tensor:
        """share_BSM of each modality in what a person goes by, as the evidence has it at every state.

        Answers are told beside what the person's kinds would have answered to what each modality shows.
        """
        kinds_BTM = self.kinds(profiles.category_BC, batch, items.aligned_VMD)
        own_BTG = response_BT.unsqueeze(2) - kinds_BTM @ self.mixture_GM.T
        told_BSG = log_evidence(items.aligned_VMD[batch.video_BT], own_BTG, batch, self.mixture_GM)
        return told_BSG.softmax(2) @ self.mixture_GM

    def forward(
        self,
        share_BSM: Tensor,
        items: Items,
        action_BTA: Tensor,
        batch: Batch,
        s_BD: Tensor,
    ) -> Tensor:
        """u_BSE, of which state i knows the events before i; share_BSM: what the evidence expects."""
        tag_BSM = share_BSM.clamp(min=1e-3).log()
        if not self.content:
            return nn.functional.pad(tag_BSM, (s_BD.shape[1], 0))
        id_VD = items.g_V.unsqueeze(1) * items.id_VD
        shown_BTF = look_up(torch.cat([items.x_VMD.flatten(1), id_VD], 1), batch.video_BT)
        w_BT1 = torch.sigmoid(self.weight(action_BTA)) * batch.mask_BT.unsqueeze(2)
        seen_BTF = shown_BTF * w_BT1
        sums_BSF = nn.functional.pad(seen_BTF.cumsum(1), (0, 0, 1, 0))
        weight_BS1 = nn.functional.pad(w_BT1.cumsum(1), (0, 0, 1, 0))
        mean_BSF = sums_BSF / weight_BS1.clamp(min=1e-6)
        s_BSD = s_BD.unsqueeze(1).expand(-1, mean_BSF.shape[1], -1)
        return torch.cat([self.layers(torch.cat([mean_BSF, s_BSD], 2)), tag_BSM], 2)
