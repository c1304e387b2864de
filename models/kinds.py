"""What people of a kind like, day by day: what a person's own answers are told beside.

Legend: B users, E events, N of them, T events of a batch, V videos, R some of them, M modalities, D width,
L landmarks, H directions; C columns of a profile, the first of them everybody's; K values of all columns.

A kind is a value of a profile column; everybody is one, too. What is foretold of an answer is the sum of what
the person's kinds like in the video: a ridge regression in which an answer counts `LASTING` as much a day
later. What a video shows is told by the directions in which videos differ most under the likeness of
models/evidence.py (kernel principal components: Schölkopf et al., Neural Computation 10, 1998). A day is
learned once, one column after another, each from what the others leave (recursive least squares with
forgetting, block by block), so that a day costs its own answers only. Counted before training and then
constant, like every other statistic of training.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.evidence import alike
from models.histories import DAY_SECONDS, Batch, Histories

LASTING = 0.6  # what an answer still counts a day later
PRIOR = 60.0  # of the ridge: answers, all as usual, that each kind has beside its own
DAYS = 64  # kept; what was before them is told beside the oldest
LANDMARKS, DIRECTIONS = 512, 48


class Kinds(nn.Module):
    """What each kind likes, as known at the end of each of the last days of training.

    likes_YKH: of `DAYS` days, the last of them `last_day` (counted from 1970).
    landmark_LD, into_LH: ⟨likeness to the landmarks, into⟩ is what a video shows by one modality.
    """

    likes_YKH: Tensor
    last_day: Tensor
    landmark_LD: Tensor
    into_LH: Tensor

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        """`sizes`: how many values each profile column has; the unknown one is one more."""
        super().__init__()
        self.values = [1, *(1 + size for size in sizes)]
        self.register_buffer("likes_YKH", torch.zeros(DAYS, sum(self.values), DIRECTIONS))
        self.register_buffer("last_day", torch.zeros((), dtype=torch.long))
        self.register_buffer("landmark_LD", torch.zeros(LANDMARKS, width))
        self.register_buffer("into_LH", torch.zeros(LANDMARKS, DIRECTIONS))

    def start_from(
        self, category_BC: Tensor, share_BM: Tensor, aligned_VMD: Tensor, past: Histories, response_E: Tensor
    ) -> None:
        """Before training: learn what each kind likes, day after day.

        Args:
            category_BC: profiles, as in `Profiles`. share_BM: by how much a person goes by each modality.
            response_E: how warmly each event was answered.
        """
        self._see(aligned_VMD[past.video_E.unique()])
        self.last_day.fill_(past.last_day)
        shown_VMH, ridge_HH = self.shown(aligned_VMD), PRIOR * torch.eye(DIRECTIONS).double()
        kind_BC, day_E = self._kinds(category_BC), past.second_E // DAY_SECONDS
        user_E = torch.arange(len(past.lengths)).repeat_interleave(past.lengths)
        K = self.likes_YKH.shape[1]
        seen_KHH = torch.zeros(K, DIRECTIONS, DIRECTIONS).double()
        told_KH, likes_KH = torch.zeros(2, K, DIRECTIONS).double()
        for place in range(DAYS):
            at_N = (day_E == past.last_day - (DAYS - 1 - place)).nonzero().squeeze(1)
            kind_NC, share_NM = kind_BC[user_E[at_N]], share_BM[user_E[at_N]]
            f_NH = torch.einsum("nmh,nm->nh", shown_VMH[past.video_E[at_N]], share_NM).double()
            seen_KHH, told_KH = LASTING * seen_KHH, LASTING * told_KH
            for kind_N, values in zip(kind_NC.T, self._columns(), strict=True):
                others_NH = likes_KH[kind_NC].sum(1) - likes_KH[kind_N]
                left_N = response_E[at_N] - (others_NH * f_NH).sum(1)
                told_KH.index_add_(0, kind_N, f_NH * left_N[:, None])
                for kind in kind_N.unique().tolist():
                    mine_NH = f_NH[kind_N == kind]
                    seen_KHH[kind] += mine_NH.T @ mine_NH
                likes_KH[values] = torch.linalg.solve(seen_KHH[values] + ridge_HH, told_KH[values])
            self.likes_YKH[place] = likes_KH

    def forward(self, category_BC: Tensor, batch: Batch, aligned_VMD: Tensor) -> Tensor:
        """What the person's kinds would answer to what each modality shows, as known that day [B, T, M]."""
        place_BT = (DAYS - 1 - self.last_day + batch.day_BT).clamp(0, DAYS - 1)
        likes_BTH = torch.stack(
            [self.likes_YKH[place_BT, kind_B[:, None]] for kind_B in self._kinds(category_BC).T]
        ).sum(0)
        row_R, at_BT = batch.video_BT.unique(return_inverse=True)
        return (self.shown(aligned_VMD[row_R])[at_BT] @ likes_BTH.unsqueeze(3)).squeeze(3)

    def shown(self, x_VMD: Tensor) -> Tensor:
        """What videos show by each modality [V, M, H]; 0 where it is missing."""
        unit_VMD = F.normalize(x_VMD.float(), dim=2)
        return (alike(unit_VMD @ self.landmark_LD.T) @ self.into_LH) * unit_VMD.any(2, keepdim=True)

    def _see(self, x_VMD: Tensor) -> None:
        """Choose the landmarks, evenly among what these videos show, and the directions."""
        unit_PD = F.normalize(x_VMD.flatten(0, 1).float(), dim=1)
        unit_PD = unit_PD[unit_PD.any(1)]
        mark_LD = unit_PD[torch.linspace(0, len(unit_PD) - 1, min(LANDMARKS, len(unit_PD))).long()]
        size_L, turn_LL = torch.linalg.eigh(alike(mark_LD @ mark_LD.T).double())
        into_LH = (turn_LL * size_L.clamp(min=1e-6).rsqrt()).flip(1)[:, :DIRECTIONS]
        self.landmark_LD[: len(mark_LD)] = mark_LD
        self.into_LH[: len(mark_LD), : into_LH.shape[1]] = into_LH

    def _kinds(self, category_BC: Tensor) -> Tensor:
        """kind_BC of each person: everybody's, then one for each column that is read."""
        read_BC = category_BC[:, : len(self.values) - 1]
        return F.pad(read_BC, (1, 0)) + torch.tensor([values.start for values in self._columns()])

    def _columns(self) -> list[slice]:
        """The kinds of each column."""
        ends = torch.tensor(self.values).cumsum(0).tolist()
        return [slice(end - size, end) for size, end in zip(self.values, ends, strict=True)]
