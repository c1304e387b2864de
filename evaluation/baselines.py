"""The counted baselines of a night: they know everything before the test day, as the platform would.

A baseline ranks by one source or by two. The weights of two are fitted on the validation days by the final
ranker's own code, with everything counted before each of these days.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from core.config.model_half import EvaluateConfig
from core.time_split import TEST_FOLD
from models.data.targets import Targets
from models.evaluation.scoring import RankingResult, rank_catalogue
from models.ranking.final_ranker import FinalRanker, activity_groups, age_groups
from models.retrieval.full_ranking import users_per_chunk
from models.training.choices import collect_choices
from snapshots.counted_sources import CountedSources
from snapshots.reader import SnapshotReader

# Name of the baseline -> its sources.
COUNTED_BASELINES: Mapping[str, Sequence[str]] = {
    "popularity": ("popularity",),
    "trending": ("trending",),
    "itemcf": ("item_cf",),
    "ease": ("ease",),
    "content_kernel": ("content_kernel",),
    "ease_trending": ("ease", "trending"),
    "creator_trending": ("creator_affinity", "trending"),
}
SOURCE_NAMES = tuple(dict.fromkeys(name for names in COUNTED_BASELINES.values() for name in names))
POPULARITY_WEIGHT = 1e-6  # popularity orders the videos to which a single source gives equal scores


def rank_counted_baselines(
    snapshot: SnapshotReader, targets: Targets, params: EvaluateConfig
) -> dict[str, RankingResult]:
    """Rank the catalogue by every counted baseline.

    They read the newest `sequences.max_length` interactions of each user.

    Args:
        snapshot: Of the night.
        targets: Of the test day.
        params: Section `evaluate` of params.yaml.

    Returns:
        Name of the baseline -> its ranking.
    """
    settings = {"trending": {"half_life_days": params.recency_half_life_days}}
    validation, test = (
        [CountedSources(snapshot, fold, SOURCE_NAMES, settings) for fold in folds]
        for folds in (snapshot.validation_folds, [TEST_FOLD])
    )
    ranked = {}
    for name, sources in COUNTED_BASELINES.items():
        ranker = fit_weights(validation, sources, params.seed) if len(sources) > 1 else None
        chunks = _score_chunks(test[0], sources, ranker, targets.users)
        ranked[name] = rank_catalogue(chunks, targets, max(params.cutoffs))
    return ranked


def fit_weights(validation: Sequence[CountedSources], names: Sequence[str], seed: int) -> FinalRanker:
    """Return a ranker of these sources, fitted on the validation days.

    Args:
        validation: The sources as each validation day knows them.
        names: Of the sources to combine.
        seed: Of the samples.
    """
    ranker = FinalRanker(len(names))
    ranker.fit([collect_choices(partial(day.scores, names=names), day.fold, seed) for day in validation])
    return ranker


def _score_chunks(
    counted: CountedSources, names: Sequence[str], ranker: FinalRanker | None, users: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield users_B and score_BV, with −inf for seen and unavailable videos.

    Args:
        counted: The sources as the test day knows them.
        names: Of the sources of the baseline.
        ranker: Combines them. None: there is only one.
        users: All users to score.
    """
    fold = counted.fold
    num_videos = len(fold.item_table.id_row_V)
    age_V = age_groups(fold.item_table.upload_day_V, fold.day, num_videos)
    for users_B in users.split(users_per_chunk(num_videos)):
        if ranker is None:
            source_SBV = counted.scores(users_B, (*names, "popularity"))
            score_BV = source_SBV[0] + POPULARITY_WEIGHT * source_SBV[1]
        else:
            activity_B = activity_groups(fold.users.sequences.lengths[users_B])
            score_BV = ranker(counted.scores(users_B, names), activity_B, age_V)
        hidden_BV = fold.users.seen.mask(users_B, num_videos) | ~fold.available
        yield users_B, score_BV.masked_fill(hidden_BV, -torch.inf)
