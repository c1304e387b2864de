"""Sources that are counted on what a fold knows, for the final ranker and for the counted baselines."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.tables import BEHAVIOURS
from models.sources import build_sources, count_sources
from snapshots.reader import SnapshotReader


class CountedSources:
    """Sources with all that they need to score the catalogue for the users of a fold.

    Args:
        snapshot: Of the night.
        fold: Name of the fold.
        names: Of the sources.
        settings: Source -> its own arguments. Default: those of the source.
        max_length: Number of newest interactions of a user that are read. None: all of the sequence.

    Attributes:
        fold: What the fold knows, and its targets.
    """

    def __init__(
        self,
        snapshot: SnapshotReader,
        fold: str,
        names: Sequence[str],
        settings: Mapping[str, Mapping[str, float]] | None = None,
        max_length: int | None = None,
    ) -> None:
        self.fold = snapshot.content_fold(fold)
        num_videos = int((self.fold.item_table.id_row_V >= 0).sum())
        self.sources = build_sources(names, num_videos, BEHAVIOURS, snapshot.widths, settings)
        count_sources(self.sources, self.fold.users.sequences, self.fold.item_table)
        self._max_length = max_length or int(self.fold.users.sequences.lengths.max())

    @torch.no_grad()
    def scores(self, users_B: Tensor, names: Sequence[str]) -> Tensor:
        """Return source_SBV: the scores of the catalogue by these sources, for these users."""
        batch = self.fold.users.sequences.padded_batch(users_B, self._max_length)
        return torch.stack([self.sources[name](batch, self.fold.item_table) for name in names])
