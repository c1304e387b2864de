"""The space that is served: the champion's, which tonight's projections start from and are held to.

The champion's and not last night's: a night that was refused has changed nothing, and drift cannot add up
over such nights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.alignment import drift
from models.baselines import Baseline
from models.fusion import Catalogue, Projections
from tasks.pinned import Pinned
from tasks.saved import read_model

PROBE = 256  # videos that the drift of the space is measured on


@dataclass(frozen=True)
class Space:
    """The champion's projections, None where tonight's cannot be compared with them, which `why` tells.

    aligned: as they were before any training, where the champion reads people in them.
    probe: of the videos that the champion was trained on, the first by lot; the same ones every night.
    """

    last: Projections | None
    why: str
    probe: Catalogue
    aligned: Projections | None = None

    @torch.no_grad()
    def drift(self, heads: Projections) -> dict[str, dict]:
        """How far these projections have moved the probe videos, per modality; empty without a champion's."""
        if self.last is None:
            return {}
        return drift(heads(self.probe), self.last(self.probe), self.probe.has_VM, list(heads.heads))


def served(pinned: Pinned, width: int) -> Space:
    """The champion's space, if it has this width and the champion reads tonight's encoders.

    Raises:
        InputError: the champion cannot be read by this version.
    """
    widths = pinned.widths
    catalogue, folder = pinned.catalogue(widths, []), pinned.night.workspace / "snapshot" / "champion"
    none = catalogue.take(torch.zeros(0, dtype=torch.long))
    if not folder.is_dir():
        return Space(None, "there is no champion yet", none)
    champion = read_model(folder)
    if isinstance(champion, Baseline):
        return Space(None, "the champion is a baseline, which has no such space", none)
    encoders = {m: champion.spec.fingerprints[m] for m in champion.spec.modalities}
    if champion.spec.width != width or encoders != pinned.encoders:
        return Space(None, "the champion has another width, or its encoders are not tonight's", none)
    last = Projections(widths, width)
    last.load_state_dict(champion.fusion.project.state_dict())
    probe = catalogue.take(_first_by_lot(pinned, champion.spec.video_ids))
    why = f"champion, version {pinned.manifest['champion']}"
    return Space(last.requires_grad_(False), why, probe, champion.fusion.aligned)


def _first_by_lot(pinned: Pinned, video_ids: Sequence[str]) -> Tensor:
    rows = pinned.catalogue({}, video_ids).id_row_V.ge(0).nonzero().squeeze(1)
    return rows[pinned.lots[rows].argsort(stable=True)][:PROBE]
