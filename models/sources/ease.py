"""EASE: a linear model of which videos are liked together, in closed form.

Steck, "Embarrassingly shallow autoencoders for sparse data" (WWW 2019, arXiv 1905.03375).
"""

import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.positives import known_positives_by_user, to_csr_matrix
from models.data.sequences import SequenceBatch, Sequences
from models.retrieval.full_ranking import top_k
from models.sources.neighbours import Neighbours
from models.sources.source import Source, distinct_positives, to_catalogue

MAX_VIDEOS = 4000
# RecBole's default is 250. Planted preferences of 500 users need no less than 200 (docs/model/sources.md).
REGULARISATION = 200.0


class Ease(Source):
    """EASE over the videos with the most positives. Σ of the weights from the user's positives.

    The weights B are those that reconstruct the matrix X of users × videos as XB, with a zero diagonal. The
    closed form inverts one matrix of `max_videos` × `max_videos`: 4,000 videos need about 0.5 GiB. The
    weights that are largest in absolute value are kept. All other videos have the score 0.

    Args:
        num_videos: Number of videos with an ID row.
        max_videos: Number of videos that are counted.
        regularisation: λ. More shrinks the weights towards 0.

    Attributes:
        row_C: ID rows of the counted videos, sorted.
        neighbours: The strongest weights from each of them.
    """

    row_C: Tensor

    def __init__(
        self, num_videos: int, max_videos: int = MAX_VIDEOS, regularisation: float = REGULARISATION
    ) -> None:
        super().__init__(num_videos)
        self.regularisation = regularisation
        num_counted = min(max_videos, num_videos)
        self.register_buffer("row_C", torch.arange(num_counted))
        self.neighbours = Neighbours(num_counted, num_videos)

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        positive_UI = to_csr_matrix(known_positives_by_user(sequences, item_table.id_row_V), self.num_videos)
        num_positives_I = torch.from_numpy(positive_UI.sum(0))
        most_liked_C = num_positives_I.argsort(descending=True, stable=True)[: len(self.row_C)]
        self.row_C.copy_(most_liked_C.sort().values)
        positive_UC = positive_UI[:, self.row_C.numpy()]
        gram_CC = torch.from_numpy((positive_UC.T @ positive_UC).toarray())
        weight_CC = ease_weights(gram_CC, self.regularisation)
        best_CK = top_k(weight_CC.abs(), self.neighbours.neighbour_XK.shape[1])
        K = best_CK.shape[1]
        self.neighbours.neighbour_XK[:, :K] = self.row_C[best_CK].int()
        self.neighbours.weight_XK[:, :K] = weight_CC.gather(1, best_CK).float()

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        user_P, row_P = distinct_positives(batch, item_table.id_row_V, self.num_videos)
        position_I = torch.full((self.num_videos,), -1, device=row_P.device)
        position_I[self.row_C] = torch.arange(len(self.row_C), device=row_P.device)
        position_P = position_I[row_P]
        score_BI = self.neighbours(
            user_P, position_P.clamp(min=0), (position_P >= 0).float(), len(batch.mask_BT)
        )
        return to_catalogue(score_BI, item_table.id_row_V)


def ease_weights(gram_CC: Tensor, regularisation: float) -> Tensor:
    """Return the weights B of EASE: −P / diag(P) with P = (G + λI)⁻¹, and 0 on the diagonal.

    Args:
        gram_CC: G, how many users liked both videos, float64.
        regularisation: λ.
    """
    regularised_CC = gram_CC.clone()
    regularised_CC.diagonal().add_(regularisation)
    p_CC = torch.cholesky_inverse(torch.linalg.cholesky(regularised_CC))
    return p_CC.div_(-p_CC.diagonal().clone()).fill_diagonal_(0.0)
