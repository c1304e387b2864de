"""What people of a kind like, day by day: what a person's own answers are told beside.

Legend: B users, E events, N some of them, T events of a batch, V videos, R some of them, M modalities,
D width, L landmarks, H directions; C columns of a profile, the first of them everybody's; K values of all
columns.

A kind is a value of a profile column; everybody is one, too. What is foretold of an answer is the sum of what
the person's kinds like in the video: a ridge regression in which an answer counts `LASTING` as much a day
later. What a video shows is told by the directions in which videos differ most under the likeness of
models/evidence.py (kernel principal components: Schölkopf et al., Neural Computation 10, 1998). A day is
learned once, one column after another, each from what the others leave (recursive least squares with
forgetting, block by block), so that a day costs its own answers only. Counted before training and then
constant, like every other statistic of training: an answer of the morning is told beside those of that whole
day, and by how much a person goes by each modality is taken from all of training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.evidence import alike
from models.histories import DAY_SECONDS, Batch, Histories

LASTING = 0.6  # what an answer still counts a day later
PRIOR = 60.0  # the ridge
DAYS = 32  # kept; what was before them is told beside the oldest
BEFORE = 24  # days learned before those; what is older counts nothing any more
EVENTS = 1 << 16  # read at a time
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
        events = Events(self, self._kinds(category_BC), share_BM, aligned_VMD, past, response_E)
        K, H = self.likes_YKH.shape[1:]
        seen_KHH, told_KH = torch.zeros(K, H, H).double(), torch.zeros(K, H).double()
        likes_KH, ridge_HH = torch.zeros(K, H).double(), PRIOR * torch.eye(H).double()
        met_K = torch.zeros(K, dtype=torch.bool)
        for day in range(max(events.first_day, past.last_day - DAYS - BEFORE + 1), past.last_day + 1):
            seen_KHH, told_KH = LASTING * seen_KHH, LASTING * told_KH
            for column, values in enumerate(self._columns()):
                for kind_NC, f_NH, response_N in events.on(day):
                    kind_N = kind_NC[:, column]
                    others_NH = likes_KH[kind_NC].sum(1) - likes_KH[kind_N]
                    left_N = response_N - (others_NH * f_NH).sum(1)
                    told_KH.index_add_(0, kind_N, f_NH * left_N[:, None])
                    met_K[kind_N] = True
                    for kind, mine_NH in _by_kind(kind_N, f_NH):
                        seen_KHH[kind] += mine_NH.T @ mine_NH
                met = met_K[values].nonzero().squeeze(1) + values.start
                likes_KH[met] = torch.linalg.solve(seen_KHH[met] + ridge_HH, told_KH[met])
            if (place := DAYS - 1 - past.last_day + day) >= 0:
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
        x_PD = x_VMD.transpose(0, 1).flatten(0, 1).float()  # one modality after the other
        unit_PD = F.normalize(x_PD[x_PD.any(1)], dim=1)
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
        return [slice(*ends) for ends in pairwise(accumulate(self.values, initial=0))]


@dataclass(frozen=True)
class Events:
    """Everybody's events as `Kinds` learns from them, a few at a time."""

    kinds: Kinds
    kind_BC: Tensor
    share_BM: Tensor
    aligned_VMD: Tensor
    past: Histories
    response_E: Tensor

    @property
    def first_day(self) -> int:
        return int(self.past.second_E.min()) // DAY_SECONDS if len(self.past.second_E) else 0

    def on(self, day: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """kind_NC of the person, f_NH shown by the video as the person goes by it, and response_N."""
        past = self.past
        for at_N in (past.second_E // DAY_SECONDS == day).nonzero().squeeze(1).split(EVENTS):
            user_N = torch.searchsorted(past.offsets, at_N, right=True) - 1
            row_R, video_N = past.video_E[at_N].unique(return_inverse=True)
            shown_NMH = self.kinds.shown(self.aligned_VMD[row_R])[video_N]
            f_NH = torch.einsum("nmh,nm->nh", shown_NMH, self.share_BM[user_N])
            yield self.kind_BC[user_N], f_NH.double(), self.response_E[at_N]


def _by_kind(kind_N: Tensor, f_NH: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The rows of each kind."""
    kinds, count = kind_N.unique(return_counts=True)
    rows = f_NH[kind_N.argsort(stable=True)].split(count.tolist())
    return zip(kinds.tolist(), rows, strict=True)
