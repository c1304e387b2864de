"""How warmly a person answered a video, beside how warmly everybody does.

Legend: B users, E events of all, T events of a batch, X any axes, A behaviours, I videos with an ID row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.histories import Batch, Histories

WORTH = {"liked": 1.0, "commented": 0.5, "shared": 1.0, "followed": 1.0, "disliked": -2.0}
WATCHED, USUAL_SHARE = 2.0, 0.6  # worth of a whole view beside an answer; the share that says nothing
PRIOR = 10.0  # average answers that each video has beside its own


class Answers(nn.Module):
    """Answers less what everybody answers to a video: a good or short one is watched to its end by anybody.

    usual: of each ID row, shrunk towards the average by `PRIOR` viewings; the last entry is a new video's.
    """

    usual: Tensor

    def __init__(self, behaviours: Sequence[str], videos: int) -> None:
        super().__init__()
        self.behaviours = behaviours
        self.register_buffer("usual", torch.zeros(videos + 1))

    def start_from(self, past: Histories, row_V: Tensor) -> None:
        """Before training: what is usual."""
        answer_E = self._answers(past).double()
        row_E, videos = row_V[past.video_E], len(self.usual) - 1
        average, in_E = answer_E.mean().nan_to_num(0.0), row_E >= 0
        sum_I = torch.zeros(videos, dtype=torch.float64).index_add(0, row_E[in_E], answer_E[in_E])
        count_I = torch.bincount(row_E[in_E], minlength=videos)
        usual_I = (sum_I + PRIOR * average) / (count_I + PRIOR)
        self.usual.copy_(torch.cat([usual_I, average[None]]))

    def forward(self, batch: Batch, row_V: Tensor) -> Tensor:
        """response_BT: about 0 on average, with a variance of about 1."""
        answer_BT = answers(batch.ratio_BT, batch.ratio_known_BT, batch.did_BTA, self.behaviours)
        return answer_BT - self.usual[row_V[batch.video_BT]]  # −1, a new video: the last

    def of(self, past: Histories, row_V: Tensor) -> Tensor:
        """response_E of everybody's events."""
        return self._answers(past) - self.usual[row_V[past.video_E]]

    def _answers(self, past: Histories) -> Tensor:
        known_E = ~past.ratio_E.isnan()
        return answers(past.ratio_E.nan_to_num(0.0), known_E, past.did_EA, self.behaviours)


def answers(ratio_X: Tensor, known_X: Tensor, did_XA: Tensor, behaviours: Sequence[str]) -> Tensor:
    """How warm what was done is [X]: the watched share, if it is known, and what was pressed."""
    worth_A = torch.tensor([WORTH.get(name, 0.0) for name in behaviours])
    watched_X = torch.where(known_X, ratio_X.clamp(max=1.0) - USUAL_SHARE, 0.0)
    return WATCHED * watched_X + did_XA.float() @ worth_A
