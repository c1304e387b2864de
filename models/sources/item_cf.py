"""ItemCF as a source: videos that the same users liked."""

import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.positives import known_positives_by_user
from models.data.sequences import SeenItems, SequenceBatch, Sequences
from models.sources.counting import cosine_similarity, unit_columns
from models.sources.neighbours import Neighbours
from models.sources.source import Source, distinct_positives, to_catalogue

CHUNK_ROWS, CHUNK_COSINES = 1024, 1 << 27  # videos at a time, with at most so many cosines: 2 GiB


class ItemCF(Source):
    """The summed cosine of a video to the user's positives.

    Attributes:
        neighbours: The most similar videos of each video.
    """

    def __init__(self, num_videos: int) -> None:
        super().__init__(num_videos)
        self.neighbours = Neighbours(num_videos, num_videos)

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        set_cosine_neighbours(self.neighbours, known_positives_by_user(sequences, item_table.id_row_V))

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        user_P, row_P = distinct_positives(batch, item_table.id_row_V, self.num_videos)
        weight_P = torch.ones(len(row_P), device=row_P.device)
        score_BI = self.neighbours(user_P, row_P, weight_P, len(batch.mask_BT))
        return to_catalogue(score_BI, item_table.id_row_V)


def set_cosine_neighbours(neighbours: Neighbours, positives: SeenItems) -> None:
    """Keep the most similar videos of each video."""
    num_videos = neighbours.num_videos
    scaled_UI = unit_columns(positives, num_videos)
    scaled_IU = scaled_UI.T.tocsr()
    size = max(1, min(CHUNK_ROWS, CHUNK_COSINES // max(num_videos, 1)))
    for first in range(0, num_videos, size):
        rows_i = slice(first, min(first + size, num_videos))
        neighbours.set_rows(rows_i, cosine_similarity(scaled_IU, scaled_UI, rows_i))
