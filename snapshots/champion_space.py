"""The champion's embedding space. This night's projections start from it and are anchored to it.

The reference is the champion, not the model of last night. So embedding drift cannot add up over nights whose
model was refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.baselines import Baseline
from models.data.items import ItemTable
from models.evaluation.embedding_drift import embedding_drift
from models.layers.projections import ModalityProjections
from snapshots.reader import SnapshotReader
from snapshots.saved_models import read_model

NUM_PROBE_VIDEOS = 256  # videos on which embedding drift is measured


@dataclass(frozen=True)
class ChampionSpace:
    """The champion's projections, and the videos on which embedding drift is measured.

    Attributes:
        projections: The champion's. None if this night's cannot be compared with them.
        reason: Which champion it is, or why there is none to compare with.
        probe_items: Training videos of the champion with the lowest hash buckets, so the same every night.
    """

    projections: ModalityProjections | None
    reason: str
    probe_items: ItemTable

    @torch.no_grad()
    def embedding_drift(self, projections: ModalityProjections) -> dict[str, dict]:
        """Return the embedding drift of the probe videos from the champion to these projections.

        Returns:
            Modality -> number of videos, mean and 95th percentile of 1 − cosine. Empty if there is no
            champion to compare with.
        """
        if self.projections is None:
            return {}
        return embedding_drift(
            projections(self.probe_items),
            self.projections(self.probe_items),
            self.probe_items.has_VM,
            list(projections.heads),
        )


def read_champion_space(snapshot: SnapshotReader, width: int) -> ChampionSpace:
    """Return the champion's space, if it has this width and this night's encoders.

    Args:
        snapshot: The night's snapshot.
        width: D of this night's projections.

    Raises:
        InputError: This version cannot read the champion.
    """
    widths, folder = snapshot.widths, snapshot.night.workspace / "snapshot" / "champion"
    item_table = snapshot.item_table(widths, [])
    no_items = item_table.select(torch.zeros(0, dtype=torch.long))
    if not folder.is_dir():
        return ChampionSpace(None, "there is no champion yet", no_items)
    champion = read_model(folder)
    if isinstance(champion, Baseline):
        return ChampionSpace(None, "the champion is a baseline, which has no modality embeddings", no_items)
    encoders = {m: champion.config.encoder_fingerprints[m] for m in champion.config.modalities}
    if champion.config.width != width or encoders != snapshot.encoder_fingerprints:
        return ChampionSpace(None, "the champion has another width or other encoders", no_items)
    projections = ModalityProjections(widths, width)
    projections.load_state_dict(champion.item_fusion.projections.state_dict())
    return ChampionSpace(
        projections.requires_grad_(False),
        f"champion, version {snapshot.manifest['champion']}",
        item_table.select(_probe_rows(snapshot, champion.config.video_ids)),
    )


def _probe_rows(snapshot: SnapshotReader, video_ids: Sequence[str]) -> Tensor:
    """Return the catalogue rows of the probe videos among these training videos."""
    rows = snapshot.item_table({}, video_ids).id_row_V.ge(0).nonzero().squeeze(1)
    return rows[snapshot.hash_buckets[rows].argsort(stable=True)][:NUM_PROBE_VIDEOS]
