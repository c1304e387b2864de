"""Group preference: what the users of each user segment like, day by day.

The predicted engagement residual is the sum of what all segments of the user like in the video. A ridge
regression learns it. An observation keeps `DAILY_DECAY` of its weight from one day to the next. The features
of a video are kernel principal components under the kernel of gaussian_process.py (Schölkopf et al., Neural
Computation 10, 1998).

The days are learned in order, each once, so a day costs only its own observations. Within a day the profile
columns are fitted one after another. Each is fitted to the residual of the others (recursive least squares
with forgetting, block by block).

Group preference is computed before training and is then constant, like all statistics of training. An
interaction uses the coefficients at the end of its day, so it has seen later interactions of that day.
The modality weights of a user come from all training days.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.data.sequences import SECONDS_PER_DAY, SequenceBatch, Sequences
from research.modality_evidence.gaussian_process import kernel

DAILY_DECAY = 0.6  # weight that an observation keeps from one day to the next
RIDGE_PENALTY = 60.0
NUM_DAYS = 32  # days that are kept; days before them use the oldest
WARMUP_DAYS = 24  # days before the kept ones that are learned first; the weight of older ones is negligible
CHUNK_EVENTS = 1 << 16  # events in memory at a time
NUM_LANDMARKS = 512  # L: videos that approximate the kernel
NUM_COMPONENTS = 48  # F: kernel principal components, the features of a video


class GroupPreference(nn.Module):
    """What each user segment likes at the end of each of the last training days.

    Args:
        category_sizes: Number of known values of each profile column. The unknown value adds one segment.
        width: D.

    Attributes:
        coefficients_YZF: Coefficients of the last NUM_DAYS days. The last of them is `last_day`.
        last_day: The last training day, in days since 1970-01-01.
        landmark_LD: Landmarks of the kernel.
        projection_LF: From the kernel with the landmarks to the features of a video.
    """

    coefficients_YZF: Tensor
    last_day: Tensor
    landmark_LD: Tensor
    projection_LF: Tensor

    def __init__(self, category_sizes: Sequence[int], width: int) -> None:
        super().__init__()
        # The first column is 1 segment with all users.
        self.column_sizes = [1, *(1 + size for size in category_sizes)]
        self.register_buffer(
            "coefficients_YZF", torch.zeros(NUM_DAYS, sum(self.column_sizes), NUM_COMPONENTS)
        )
        self.register_buffer("last_day", torch.zeros((), dtype=torch.long))
        self.register_buffer("landmark_LD", torch.zeros(NUM_LANDMARKS, width))
        self.register_buffer("projection_LF", torch.zeros(NUM_LANDMARKS, NUM_COMPONENTS))

    def init_from_statistics(
        self,
        category_UJ: Tensor,
        modality_weights_UM: Tensor,
        aligned_VMD: Tensor,
        sequences: Sequences,
        residual_E: Tensor,
    ) -> None:
        """Learn what each user segment likes, day after day.

        Args:
            category_UJ: Profiles of all users, as in `UserProfiles`.
            modality_weights_UM: Modality weights of all users.
            aligned_VMD: Modality embeddings of `align`.
            sequences: Events of all users.
            residual_E: Engagement residual of each event.
        """
        self._fit_kernel_pca(aligned_VMD[sequences.video_E.unique()])
        self.last_day.fill_(sequences.last_day)
        events = DailyEvents(
            self, self._user_segments(category_UJ), modality_weights_UM, aligned_VMD, sequences, residual_E
        )
        Z, num_features = self.coefficients_YZF.shape[1:]
        coefficients_ZF = torch.zeros(Z, num_features).double()
        moment_ZF = torch.zeros_like(coefficients_ZF)
        gram_ZFF = torch.zeros(Z, num_features, num_features).double()
        ridge_FF = RIDGE_PENALTY * torch.eye(num_features).double()
        observed_Z = torch.zeros(Z, dtype=torch.bool)
        first_day = max(events.first_day, sequences.last_day - NUM_DAYS - WARMUP_DAYS + 1)
        for day in range(first_day, sequences.last_day + 1):
            gram_ZFF, moment_ZF = DAILY_DECAY * gram_ZFF, DAILY_DECAY * moment_ZF
            for column, segments in enumerate(self._column_slices()):
                for segment_NJ, f_NF, residual_N in events.chunks_of_day(day):
                    segment_N = segment_NJ[:, column]
                    others_NF = coefficients_ZF[segment_NJ].sum(1) - coefficients_ZF[segment_N]
                    unexplained_N = residual_N - (others_NF * f_NF).sum(1)
                    moment_ZF.index_add_(0, segment_N, f_NF * unexplained_N[:, None])
                    observed_Z[segment_N] = True
                    for segment, member_NF in _group_by_segment(segment_N, f_NF):
                        gram_ZFF[segment] += member_NF.T @ member_NF
                observed = observed_Z[segments].nonzero().squeeze(1) + segments.start
                coefficients_ZF[observed] = torch.linalg.solve(
                    gram_ZFF[observed] + ridge_FF, moment_ZF[observed]
                )
            if (day_index := NUM_DAYS - 1 - sequences.last_day + day) >= 0:
                self.coefficients_YZF[day_index] = coefficients_ZF

    def forward(self, category_BJ: Tensor, batch: SequenceBatch, aligned_VMD: Tensor) -> Tensor:
        """Predict the residual from the user's segments for each modality of each event, [B, T, M].

        An event uses the coefficients of its own day.

        Args:
            category_BJ: Profiles of the users, as in `UserProfiles`.
            batch: Events of the users.
            aligned_VMD: Modality embeddings of `align`.
        """
        day_index_BT = (NUM_DAYS - 1 - self.last_day + batch.day_BT).clamp(0, NUM_DAYS - 1)
        coefficients = [
            self.coefficients_YZF[day_index_BT, segment_B[:, None]]
            for segment_B in self._user_segments(category_BJ).T
        ]
        coefficients_BTF = torch.stack(coefficients).sum(0)
        row_v, index_BT = batch.video_BT.unique(return_inverse=True)
        return (self.kernel_features(aligned_VMD[row_v])[index_BT] @ coefficients_BTF.unsqueeze(3)).squeeze(3)

    def kernel_features(self, x_VMD: Tensor) -> Tensor:
        """Return the kernel features of each modality of a video, [V, M, F]. They are 0 if missing."""
        unit_VMD = F.normalize(x_VMD.float(), dim=2)
        return (kernel(unit_VMD @ self.landmark_LD.T) @ self.projection_LF) * unit_VMD.any(2, keepdim=True)

    def _fit_kernel_pca(self, x_VMD: Tensor) -> None:
        """Choose landmarks, evenly spread over the content of these videos, and fit the components."""
        x_ND = x_VMD.transpose(0, 1).flatten(0, 1).float()  # one modality after the other
        unit_ND = F.normalize(x_ND[x_ND.any(1)], dim=1)
        landmark_LD = unit_ND[torch.linspace(0, len(unit_ND) - 1, min(NUM_LANDMARKS, len(unit_ND))).long()]
        eigenvalue_L, eigenvector_LL = torch.linalg.eigh(kernel(landmark_LD @ landmark_LD.T).double())
        projection_LF = (eigenvector_LL * eigenvalue_L.clamp(min=1e-6).rsqrt()).flip(1)[:, :NUM_COMPONENTS]
        self.landmark_LD[: len(landmark_LD)] = landmark_LD
        self.projection_LF[: len(landmark_LD), : projection_LF.shape[1]] = projection_LF

    def _user_segments(self, category_BJ: Tensor) -> Tensor:
        """Return segment_BJ of each user: first the segment of all users, then one for each column."""
        used_BJ = category_BJ[:, : len(self.column_sizes) - 1]
        return F.pad(used_BJ, (1, 0)) + torch.tensor([segments.start for segments in self._column_slices()])

    def _column_slices(self) -> list[slice]:
        """Return the segments of each column."""
        return [slice(*ends) for ends in pairwise(accumulate(self.column_sizes, initial=0))]


@dataclass(frozen=True)
class DailyEvents:
    """The events of all users as `GroupPreference` learns from them, in chunks."""

    group_preference: GroupPreference
    segment_UJ: Tensor
    modality_weights_UM: Tensor
    aligned_VMD: Tensor
    sequences: Sequences
    residual_E: Tensor

    @property
    def first_day(self) -> int:
        """Day of the oldest event, in days since 1970-01-01. 0 without events."""
        timestamp_E = self.sequences.timestamp_E
        return int(timestamp_E.min()) // SECONDS_PER_DAY if len(timestamp_E) else 0

    def chunks_of_day(self, day: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield segment_NJ, f_NF and residual_N of the events of a day.

        f_NF are the features of the video, weighted by the user's modality weights.
        """
        sequences = self.sequences
        events_of_day = (sequences.timestamp_E // SECONDS_PER_DAY == day).nonzero().squeeze(1)
        for event_N in events_of_day.split(CHUNK_EVENTS):
            user_N = torch.searchsorted(sequences.offsets, event_N, right=True) - 1
            row_v, video_N = sequences.video_E[event_N].unique(return_inverse=True)
            features_NMF = self.group_preference.kernel_features(self.aligned_VMD[row_v])[video_N]
            f_NF = torch.einsum("nmf,nm->nf", features_NMF, self.modality_weights_UM[user_N])
            yield self.segment_UJ[user_N], f_NF.double(), self.residual_E[event_N]


def _group_by_segment(segment_N: Tensor, f_NF: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Iterate over the segments that occur, each with its rows of f_NF."""
    segments, count = segment_N.unique(return_counts=True)
    rows = f_NF[segment_N.argsort(stable=True)].split(count.tolist())
    return zip(segments.tolist(), rows, strict=True)
