"""The modality preference u of equation (1), which weighs the modalities of a video."""

import torch
from torch import Tensor, nn

from models.data.items import ItemEmbeddings, embedding_lookup
from models.data.sequences import SequenceBatch

PRIOR_EVENTS = 5.0  # events without agreement that are added to those of each user


class ModalityPreference(nn.Module):
    """Computes u from the events before each state and from the profile.

    The last M numbers of u are logits that do not depend on the video. They are linear in the agreement of
    each modality: how well the earlier events, compared in this modality alone, predict what the user liked
    next. At the start of training the coefficients are 0, so these logits are equal. The first D numbers are
    the content part. An MLP computes it from the mean of the liked videos.

    Args:
        num_modalities: M.
        width: D.
        uses_content: Whether there is a content part. Without it u has M numbers, and α does not depend on
            the video.
    """

    def __init__(self, num_modalities: int, width: int, uses_content: bool) -> None:
        super().__init__()
        self.uses_content = uses_content
        self.from_agreement = nn.Linear(num_modalities, num_modalities)
        self.from_profile = nn.Linear(width, num_modalities, bias=False)
        nn.init.zeros_(self.from_agreement.weight)
        nn.init.zeros_(self.from_agreement.bias)
        nn.init.zeros_(self.from_profile.weight)
        if uses_content:
            self.mlp = nn.Sequential(
                nn.Linear((num_modalities + 1) * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )

    def forward(self, items: ItemEmbeddings, batch: SequenceBatch, s_BD: Tensor) -> Tensor:
        """Return u_BSW. State i knows the events before i.

        Args:
            items: All videos.
            batch: The events.
            s_BD: Profile vectors.
        """
        x_BTMD = embedding_lookup(items.x_VMD, batch.video_BT)
        liked_BT = (batch.positive_BT & batch.mask_BT).float()
        agreement_BSM = modality_agreement(x_BTMD.detach(), liked_BT, batch.mask_BT)
        logit_BSM = self.from_agreement(agreement_BSM) + self.from_profile(s_BD).unsqueeze(1)
        if not self.uses_content:
            return logit_BSM
        sum_BSX = nn.functional.pad((x_BTMD.flatten(2) * liked_BT.unsqueeze(2)).cumsum(1), (0, 0, 1, 0))
        count_BS1 = nn.functional.pad(liked_BT.cumsum(1), (1, 0)).unsqueeze(2)
        s_BSD = s_BD.unsqueeze(1).expand(-1, sum_BSX.shape[1], -1)
        mean_BSX = sum_BSX / count_BS1.clamp(min=1)
        return torch.cat([self.mlp(torch.cat([mean_BSX, s_BSD], 2)), logit_BSM], 2)


def modality_agreement(x_BTMD: Tensor, liked_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return how well each modality predicts what the user likes, [B, S, M], in linear time.

    Before event t, v_m = Σ_s r_s x̃_{m,s} over earlier events, where r is 1 or 0 for liked or not, minus the
    user's rate of positives so far. cos(v_m, x̃_{m,t}) · r_t is positive if modality m predicted event t. The
    agreement is the mean over earlier events, shrunk towards 0.

    Args:
        x_BTMD: Modality embeddings of the events. Zero if missing.
        liked_BT: 1 for a positive, else 0.
        mask_BT: Bool, which events exist.
    """
    mask_BT = mask_BT.float()
    num_before_BT = mask_BT.cumsum(1) - mask_BT
    rate_BT = (liked_BT.cumsum(1) - liked_BT + 1) / (num_before_BT + 2)
    residual_BT = (liked_BT - rate_BT) * mask_BT
    unit_BTMD = nn.functional.normalize(x_BTMD.float(), dim=3)
    taste_BTMD = (residual_BT[:, :, None, None] * unit_BTMD).cumsum(1)
    before_BTMD = nn.functional.pad(taste_BTMD, (0, 0, 0, 0, 1, 0))[:, :-1]
    predicted_BTM = (nn.functional.normalize(before_BTMD, dim=3) * unit_BTMD).sum(3)
    product_BTM = predicted_BTM * residual_BT.unsqueeze(2)
    total_BSM = nn.functional.pad(product_BTM.cumsum(1), (0, 0, 1, 0))
    count_BS1 = nn.functional.pad(mask_BT.cumsum(1), (1, 0)).unsqueeze(2)
    return 10 * total_BSM / (count_BS1 + PRIOR_EVENTS)
