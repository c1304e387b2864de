"""Sources: simple scores of all videos that the final ranker combines. They also serve as baselines."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.data.items import ItemTable
from models.data.sequences import SequenceBatch, Sequences
from models.sources.affinity import CategoryAffinity, CreatorAffinity
from models.sources.content_kernel import ContentKernel
from models.sources.ease import Ease
from models.sources.item_cf import ItemCF
from models.sources.item_statistics import ItemQuality, Popularity, Trending
from models.sources.random_walk import RandomWalk
from models.sources.segment_interest import SegmentSource
from models.sources.source import Source
from models.sources.transition import Transition

SOURCES: dict[str, type[Source]] = {
    "popularity": Popularity,
    "trending": Trending,
    "item_quality": ItemQuality,
    "item_cf": ItemCF,
    "ease": Ease,
    "random_walk": RandomWalk,
    "transition": Transition,
    "creator_affinity": CreatorAffinity,
    "category_affinity": CategoryAffinity,
    "content_kernel": ContentKernel,
    "segment_interest": SegmentSource,
}
SEGMENT_SOURCE = "segment_interest"  # the only source that is learned instead of counted


def build_sources(
    names: Sequence[str],
    num_videos: int,
    behaviours: Sequence[str] = (),
    modalities: Mapping[str, int] | None = None,
    settings: Mapping[str, Mapping[str, float]] | None = None,
) -> nn.ModuleDict:
    """Build sources that have counted nothing yet.

    Args:
        names: Names of the sources, in the order of the result.
        num_videos: Number of videos with an ID row.
        behaviours: Names of the logged behaviours, in the order of `SequenceBatch.behaviour_BTA`.
        modalities: Modality -> width of its features.
        settings: Source -> its own arguments. Default: those of the source.

    Returns:
        Name -> source.

    Raises:
        ValueError: A name is not in `SOURCES`.
    """
    if unknown := [name for name in (*names, *(settings or {})) if name not in SOURCES]:
        raise ValueError(f"unknown sources {', '.join(unknown)}; known are {', '.join(SOURCES)}")
    inputs: dict[str, Any] = {"behaviours": behaviours, "modalities": modalities or {}}
    sources = {}
    for name in names:
        source = SOURCES[name]
        arguments = {key: inputs[key] for key in source.needs}
        sources[name] = source(num_videos, **arguments, **(settings or {}).get(name, {}))
    return nn.ModuleDict(sources)


def count_sources(sources: nn.ModuleDict, sequences: Sequences, item_table: ItemTable) -> None:
    """Count what the sources need, on all events of these sequences.

    Args:
        sources: As of `build_sources`.
        sequences: Sequences of all users.
        item_table: The videos that `sequences` names.
    """
    for source in sources.values():
        assert isinstance(source, Source)
        source.init_from_statistics(sequences, item_table)


def source_scores(
    score_BV: Tensor, sources: nn.ModuleDict, batch: SequenceBatch, item_table: ItemTable
) -> Tensor:
    """Return source_SBV: these scores, then those of each source.

    Args:
        score_BV: Scores of the sequence model.
        sources: As of `build_sources`.
        batch: Sequences of the users.
        item_table: All videos.
    """
    return torch.stack([score_BV, *(source(batch, item_table) for source in sources.values())])


def segment_source(sources: nn.ModuleDict) -> SegmentSource | None:
    """Return the source `segment_interest`. None if it is not among these sources."""
    if SEGMENT_SOURCE not in sources:
        return None
    source = sources[SEGMENT_SOURCE]
    assert isinstance(source, SegmentSource)
    return source


__all__ = [
    "SEGMENT_SOURCE",
    "SOURCES",
    "SegmentSource",
    "Source",
    "build_sources",
    "count_sources",
    "segment_source",
    "source_scores",
]
