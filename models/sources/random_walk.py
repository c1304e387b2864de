"""The random walk as a source."""

from torch import Tensor

from models.data.items import ItemTable
from models.data.positives import known_positives_by_user, positive_id_rows
from models.data.sequences import SequenceBatch, Sequences
from models.retrieval.random_walk import RandomWalk
from models.sources.source import Source, to_catalogue


class RandomWalkLift(Source):
    """How much likelier walks from the user's positives end at a video than average walks, as a logarithm.

    Attributes:
        walk: The counted walks.
    """

    def __init__(self, num_videos: int) -> None:
        super().__init__(num_videos)
        self.walk = RandomWalk(num_videos)

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        self.walk.init_from_statistics(known_positives_by_user(sequences, item_table.id_row_V))

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        lift_BI = self.walk(*positive_id_rows(batch, item_table.id_row_V))
        return to_catalogue(lift_BI, item_table.id_row_V)
