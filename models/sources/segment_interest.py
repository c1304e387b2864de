"""Segment interest as a source: how much of each video the user is expected to watch.

It is the only source that is learned (training/segments.py). Its weights get no gradient from the other
losses.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.segment_grid import MAX_SEGMENTS
from models.data.segments import WATCHED_TO_END, SegmentLog, SegmentTable, SegmentViews
from models.data.sequences import SequenceBatch, Sequences
from models.segments.segment_interest import (
    SegmentInterest,
    expected_watch_share,
    interest_in_chunks,
    predict_interest,
)
from models.sources.source import Source

MODALITIES = ("visual", "audio")  # modalities with segments
HISTORY_LENGTH = 20  # newest watched segments that the model reads; 100 as in the paper take 5 × as long


class SegmentSource(Source):
    """Expected watch share by segment interest, minus the average watch share.

    Args:
        num_videos: Number of videos with an ID row, I.
        modalities: Modality -> width of its features.

    Attributes:
        interest: The model.
        mean_share: Mean watch share of the counted interactions. 0: nothing was counted.
    """

    needs = ("modalities",)
    mean_share: Tensor

    def __init__(self, num_videos: int, modalities: Mapping[str, int]) -> None:
        super().__init__(num_videos)
        widths = {name: width for name, width in modalities.items() if name in MODALITIES}
        with torch.random.fork_rng(devices=()):  # so that the rest of a model has the same initial weights
            self.interest = SegmentInterest(widths, None, num_videos, MAX_SEGMENTS).requires_grad_(False)
        self.register_buffer("mean_share", torch.tensor(0.0))

    @torch.no_grad()
    def forget_ids(self, id_rows: Tensor) -> None:
        """Treat these videos as unknown.

        Args:
            id_rows: Rows of the ID embedding, of videos with too few views to learn from.
        """
        self.interest.id_embedding.weight[id_rows] = self.interest.id_embedding.weight[0].clone()

    def _count(self, sequences: Sequences, item_table: ItemTable, last_day: int) -> None:
        share_E = sequences.watch_ratio_E.clamp(max=1.0)
        self.mean_share.copy_(share_E.nanmean().nan_to_num(0.0))

    def forward(self, batch: SequenceBatch, item_table: ItemTable) -> Tensor:
        return self.scores(batch, item_table, torch.arange(len(item_table.id_row_V)))

    def scores(self, batch: SequenceBatch, item_table: ItemTable, rows_C: Tensor) -> Tensor:
        """Return score_BC of these videos. 0 if the snapshot has no segments, or for an unknown duration."""
        B, C, segment_table = len(batch.mask_BT), len(rows_C), item_table.segments
        if segment_table is None or not segment_table.max_segments or not self.mean_share or not B * C:
            return torch.zeros(B, C)
        views = _next_views(batch, segment_table, torch.arange(B).repeat_interleave(C), rows_C.repeat(B))
        chunks = interest_in_chunks(self.interest, segment_table, views)
        share_BC = torch.cat([expected_watch_share(*chunk) for chunk in chunks]).view(B, C)
        return torch.where(segment_table.num_segments_V[rows_C] > 0, share_BC - self.mean_share, 0.0)

    def segment_curves(
        self, batch: SequenceBatch, segment_table: SegmentTable, user_N: Tensor, row_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the interest p_NT in each segment of some videos, and which segments exist.

        Args:
            batch: Sequences of users.
            segment_table: The segments of all videos.
            user_N: The users, as rows of the batch.
            row_N: A video for each of them.
        """
        return predict_interest(
            self.interest, segment_table, _next_views(batch, segment_table, user_N, row_N)
        )


def _next_views(
    batch: SequenceBatch, segment_table: SegmentTable, user_N: Tensor, row_N: Tensor
) -> SegmentViews:
    """Return views of these videos after the sequences of these users. Their end is not known."""
    unknown_N = torch.full_like(user_N, WATCHED_TO_END)
    log = SegmentLog.from_batch(batch, segment_table)
    return log.later_views(user_N, row_N, unknown_N, segment_table, HISTORY_LENGTH)
