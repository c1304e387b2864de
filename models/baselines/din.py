"""DIN (Zhou et al., KDD 2018, arXiv 1706.06978): how likely is this video, given those liked that bear on it?

A ranking model: what it is good for is AUC. It can order a whole catalogue, too, a person at a time.

Legend: B users, T liked videos, N (person, video) pairs, P (pair, liked video) pairs, I videos, D width,
H heads.
"""

import torch
from torch import Tensor, nn

from models.baselines.baseline import Baseline, Known
from models.histories import Batch
from models.interest import Interest, Spec
from models.likes import first_likes, liked_rows
from models.losses import behaviour_loss
from models.profiles import Profiles
from models.ranking import HEADS, outcomes

PAIRS = 1 << 16  # attention pairs held at a time when a catalogue is ordered


class Dice(nn.Module):
    """f(s) = p s + (1 − p) α s with p = σ of the standardised s: a PReLU that bends where the data is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.standard = nn.BatchNorm1d(width, affine=False)
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, s_ND: Tensor) -> Tensor:
        if self.training and len(s_ND) < 2:  # one row has no spread to standardise by
            return s_ND
        p_ND = torch.sigmoid(self.standard(s_ND))
        return p_ND * s_ND + (1 - p_ND) * self.alpha * s_ND


class DIN(Baseline):
    """The local activation unit and the network behind it.

    The weights of the liked videos are not normalised: their sum tells how strong the interest is. Only real
    pairs pass through the unit, so that padding cannot enter what Dice standardises by. Logit 0 is "liked",
    the others are the heads of our own ranking.
    """

    ranks = True

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        D = spec.width
        self.video = nn.Embedding(self.videos + 1, D, padding_idx=self.videos)  # the last: not in training
        self.activation = nn.Sequential(nn.Linear(4 * D, 36), Dice(36), nn.Linear(36, 1))
        self.network = nn.Sequential(
            nn.Linear(3 * D, 80), Dice(80), nn.Dropout(spec.dropout),
            nn.Linear(80, 40), Dice(40), nn.Linear(40, 1 + len(HEADS)),
        )  # fmt: skip
        with torch.no_grad():
            nn.init.normal_(self.video.weight, std=0.1)[-1] = 0.0

    def forward(self, row_NT: Tensor, mask_NT: Tensor, candidate_N: Tensor) -> Tensor:
        """Logits [N, 1 + H]."""
        q_ND, at_P = self.video(candidate_N % (self.videos + 1)), mask_NT.nonzero()[:, 0]
        k_PD, q_PD = self.video(row_NT[mask_NT]), q_ND[at_P]
        w_P1 = self.activation(torch.cat([q_PD, k_PD, q_PD - k_PD, q_PD * k_PD], 1))
        u_ND = torch.zeros_like(q_ND).index_add(0, at_P, w_P1 * k_PD)
        return self.network(torch.cat([u_ND, q_ND, u_ND * q_ND], 1))

    def loss(self, batch: Batch, row_V: Tensor) -> Tensor:
        """Binary cross-entropy of what was done at every viewing, from what was liked before it."""
        row_BT, spec = row_V[batch.video_BT], self.spec
        fit_BT = first_likes(batch, row_V)
        here_BT = batch.mask_BT & (row_BT >= 0)
        at_N, when_N = here_BT.nonzero().T
        before_NT = fit_BT[at_N] & (torch.arange(row_BT.shape[1]) < when_N[:, None])
        logit_NH = self(row_BT[at_N], before_NT, row_BT[here_BT])
        label_NH, known_NH = outcomes(
            batch.ratio_BT[here_BT],
            batch.ratio_known_BT[here_BT],
            batch.did_BTA[here_BT],
            spec.behaviours,
            spec.skip_below,
        )
        liked_N1 = batch.positive_BT[here_BT][:, None]
        label_NH = torch.cat([liked_N1, label_NH], 1)
        known_NH = torch.cat([torch.ones_like(liked_N1), known_NH], 1)
        return behaviour_loss(logit_NH, label_NH, known_NH) / known_NH.sum().clamp(min=1)

    def newest(self, batch: Batch, profiles: Profiles, items: Known) -> Interest:
        """What is known of a person are the liked videos: their rows and which are real, [B, max_length]."""
        row_BT, mask_BT = liked_rows(batch, items.row_V)
        shape = (len(row_BT), self.spec.max_length - row_BT.shape[1])
        rest_BT = row_BT.new_zeros(shape)
        return Interest(torch.cat([row_BT, rest_BT], 1), torch.cat([mask_BT, rest_BT.bool()], 1))

    def score(self, interest: Interest) -> Tensor:
        pairs = zip(interest.z_ND, interest.u_NE, strict=True)
        return torch.stack([self._order(row_T[mask_T]) for row_T, mask_T in pairs])

    def rank(self, interest: Interest, items: Known, rows_N: Tensor) -> Tensor:
        """Logits [N, H] of each behaviour, for one video per pair."""
        return self(interest.z_ND, interest.u_NE, items.row_V[rows_N])[:, 1:]

    def likes(self, interest: Interest, items: Known, rows_N: Tensor) -> Tensor:
        """Logits [N] of liking it: what early stopping watches, on what was shown."""
        return self(interest.z_ND, interest.u_NE, items.row_V[rows_N])[:, 0]

    def _order(self, row_T: Tensor) -> Tensor:
        """score_I for one person."""
        size = max(2, PAIRS // max(len(row_T), 1))
        parts, mask_1T = torch.arange(self.videos).split(size), torch.ones(1, len(row_T), dtype=torch.bool)
        logits = [self(row_T.expand(len(p), -1), mask_1T.expand(len(p), -1), p) for p in parts]
        return torch.cat(logits)[:, 0]
