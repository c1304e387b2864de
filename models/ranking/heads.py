"""The second stage: the probability of each behaviour, and the value of a recommendation."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.data.targets import BEHAVIOUR_HEADS

PRIOR_INTERACTIONS = 10.0  # interactions at the average rate that are added to those of each video
UNKNOWN_SHARE = 0.2  # requests that training treats as unknown, and contexts of the others
MIN_CALIBRATION_LABELS = 20  # interactions with, and without, a behaviour that calibration needs


class RankingHeads(nn.Module):
    """One calibrated logit for each behaviour, from z, f, their product and the item features.

    A learned log-odds of the video is added: how much likelier the behaviour is there than at the average
    video. It is 0 for a new video.

    The context of the request is a learned vector that is added to z. So the product crosses it with the
    video, whose embedding holds category and duration. It starts at 0. "Unknown" is a learned value, too.

    Args:
        width: D.
        dropout: Dropout rate.
        num_item_features: Q.
        num_videos: I.
        context_sizes: Number of known values of each context of a request.
    """

    scale_H: Tensor
    shift_H: Tensor

    def __init__(
        self,
        width: int,
        dropout: float,
        num_item_features: int,
        num_videos: int,
        context_sizes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(3 * width + 2 * num_item_features, width), nn.GELU(), nn.Dropout(dropout)
        )
        self.logits = nn.Linear(width, len(BEHAVIOUR_HEADS))
        self.item_log_odds = nn.Embedding(num_videos, len(BEHAVIOUR_HEADS))
        nn.init.zeros_(self.item_log_odds.weight)
        context_embeddings = [nn.Embedding(size + 1, width) for size in context_sizes]
        for embedding in context_embeddings:
            nn.init.zeros_(embedding.weight)
        self.context_embeddings = nn.ModuleList(context_embeddings)
        self.register_buffer("scale_H", torch.ones(len(BEHAVIOUR_HEADS)))
        self.register_buffer("shift_H", torch.zeros(len(BEHAVIOUR_HEADS)))

    def forward(
        self,
        z_ND: Tensor,
        f_ND: Tensor,
        id_row_N: Tensor,
        item_features_NF: Tensor,
        request_NJ: Tensor | None = None,
    ) -> Tensor:
        """Return the logits [N, H].

        Args:
            z_ND: User embeddings.
            f_ND: Item embeddings.
            id_row_N: ID row of each video. −1: the video was not in training.
            item_features_NF: Item features and whether each is known, F = 2 Q.
            request_NJ: Code of each context of the request. None: unknown.
        """
        if request_NJ is None:
            request_NJ = id_row_N.new_zeros(len(z_ND), len(self.context_embeddings))
        for embedding, code_N in zip(self.context_embeddings, request_NJ.unbind(1), strict=True):
            z_ND = z_ND + embedding(code_N)
        logit_NH = self.logits(self.trunk(torch.cat([z_ND, f_ND, z_ND * f_ND, item_features_NF], -1)))
        if len(self.item_log_odds.weight):
            known_N1 = (id_row_N >= 0).unsqueeze(-1)
            logit_NH = logit_NH + torch.where(known_N1, self.item_log_odds(id_row_N.clamp(min=0)), 0.0)
        return self.scale_H * logit_NH + self.shift_H

    @torch.no_grad()
    def init_from_statistics(self, id_row_E: Tensor, label_EH: Tensor, known_EH: Tensor) -> None:
        """Set the log-odds of each video from the training interactions, and the average logits.

        Rates are shrunk towards the average by `PRIOR_INTERACTIONS` interactions.

        Args:
            id_row_E: ID row of the video of each interaction.
            label_EH: Bool, the labels of the heads.
            known_EH: Bool, whether each label is known.
        """
        positive_EH = (label_EH & known_EH).double()
        rate_H = (positive_EH.sum(0) + 1) / (known_EH.sum(0) + 2)
        known_E, zeros_IH = id_row_E >= 0, torch.zeros(self.item_log_odds.weight.shape, dtype=torch.float64)
        num_positives_IH = zeros_IH.index_add(0, id_row_E[known_E], positive_EH[known_E])
        num_interactions_IH = zeros_IH.index_add(0, id_row_E[known_E], known_EH[known_E].double())
        rate_IH = (num_positives_IH + PRIOR_INTERACTIONS * rate_H) / (
            num_interactions_IH + PRIOR_INTERACTIONS
        )
        self.item_log_odds.weight.copy_(rate_IH.logit() - rate_H.logit())
        self.logits.bias.copy_(rate_H.logit())

    def calibrate(self, logit_NH: Tensor, label_NH: Tensor, known_NH: Tensor) -> None:
        """Calibrate each head by Platt scaling, on interactions that it has not learned from.

        A head with too few labels stays as it is.
        """
        for head in range(len(BEHAVIOUR_HEADS)):
            known_N = known_NH[:, head]
            logit_N, label_N = logit_NH[known_N, head].double(), label_NH[known_N, head].double()
            if min(float(label_N.sum()), float((1 - label_N).sum())) >= MIN_CALIBRATION_LABELS:
                scale, shift = platt_scaling(logit_N, label_N)
                self.scale_H[head] *= scale
                self.shift_H[head] = self.shift_H[head] * scale + shift


def hide_contexts(request_NJ: Tensor) -> Tensor:
    """Return the contexts with some as unknown, for training: all of some requests, and single ones."""
    hidden_N1, hidden_NJ = torch.rand(len(request_NJ), 1), torch.rand(request_NJ.shape)
    return request_NJ.masked_fill(torch.minimum(hidden_N1, hidden_NJ) < UNKNOWN_SHARE, 0)


def platt_scaling(logit_N: Tensor, label_N: Tensor) -> tuple[float, float]:
    """Return a ≥ 0 and b that maximise the likelihood of σ(a · logit + b).

    The labels are softened as in Platt (1999), section 2.
    """
    num_positives, num_negatives = float(label_N.sum()), float((1 - label_N).sum())
    soft_label_N = torch.where(
        label_N > 0, (num_positives + 1) / (num_positives + 2), 1 / (num_negatives + 2)
    )
    scale_and_shift = torch.tensor([1.0, 0.0], dtype=logit_N.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([scale_and_shift], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(
            scale_and_shift[0] * logit_N + scale_and_shift[1], soft_label_N
        )
        loss.backward()
        return loss

    optimiser.step(closure)
    scale, shift = scale_and_shift.tolist()
    if scale <= 0:  # the logits are uninformative, and noise made the slope negative
        return 0.0, math.log((num_positives + 1) / (num_negatives + 1))
    return scale, shift


def rerank_value(p_NH: Tensor, negativity_N: Tensor, head_weights: Mapping[str, float]) -> Tensor:
    """Return the value that re-ranking adds to a score: Σ_h w_h p_h + w · negativity of the comments.

    It is shifted so that it is never below 0. So a candidate never falls behind a video that is not a
    candidate.

    Args:
        p_NH: Probability of each behaviour.
        negativity_N: How negative the comments of the video are, from 0 to 1.
        head_weights: Weight of each head, and of `negative_comments`.
    """
    weight_H = p_NH.new_tensor([head_weights[head] for head in BEHAVIOUR_HEADS])
    negativity_weight = head_weights["negative_comments"]
    min_value = weight_H.clamp(max=0).sum() + min(negativity_weight, 0.0)
    return p_NH @ weight_H + negativity_weight * negativity_N - min_value
