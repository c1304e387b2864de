"""The validation days of a night: their choices, and the metric on them that selects the epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Protocol

import numpy as np
import torch

from models.baselines import Baseline
from models.config import ModelConfig
from models.data.folds import Fold
from models.devices import to_device
from models.evaluation.scoring import Scorer, mean_ndcg
from models.interest_model import InterestModel
from models.ranking.final_ranker import ChoiceData, FinalRanker
from models.sources import SEGMENT_SOURCE
from models.training.choices import add_sequence_scores, collect_choices
from snapshots.counted_sources import CountedSources
from snapshots.reader import SnapshotReader

VALIDATION_K = 10


class Validation(Protocol):
    """Measures a model on the validation days.

    Attributes:
        metric: Name of the metric. The epoch with the highest value is the best.
    """

    metric: ClassVar[str]

    def measure(self, model: InterestModel) -> float | None:
        """Return the metric of the model. None without targets."""
        ...

    def to(self, device: torch.device) -> "Validation":
        """Return the same validation with its tensors on a device."""
        ...


@dataclass(frozen=True)
class NdcgValidation:
    """NDCG@10 of retrieval, as the mean over all users of all folds."""

    folds: Sequence[Fold]
    metric: ClassVar[str] = f"ndcg@{VALIDATION_K}"

    def measure(self, model: InterestModel | Baseline) -> float | None:
        """Return the NDCG@10. None without targets."""
        folds = [fold for fold in self.folds if len(fold.targets.user_P)]
        if not folds:
            return None
        ndcg = [
            mean_ndcg(Scorer(model, fold.item_table, fold.users, fold.day), fold.targets, VALIDATION_K)
            for fold in folds
        ]
        return float(np.average(ndcg, weights=[len(fold.targets.users) for fold in folds]))

    def to(self, device: torch.device) -> "NdcgValidation":
        """Return the same validation with its tensors on a device."""
        return replace(self, folds=[to_device(fold, device) for fold in self.folds])


@dataclass(frozen=True)
class ChoiceValidation:
    """Log-likelihood of the choices of the validation days, given the model and the counted sources.

    It measures what the sequence model adds to the sources. NDCG of the sequence model alone would mostly
    measure how well it repeats their popularity.

    Attributes:
        folds: The validation days.
        blended: Their choices, with one source: the best blend of the counted sources.
    """

    folds: Sequence[Fold]
    blended: Sequence[ChoiceData]
    metric: ClassVar[str] = "choice_log_likelihood"

    @classmethod
    def from_counted(cls, folds: Sequence[Fold], counted: Sequence[ChoiceData]) -> "ChoiceValidation":
        """Blend the counted sources.

        Args:
            folds: The validation days.
            counted: Their choices, with the scores of the counted sources.
        """
        ranker = FinalRanker(len(counted[0].source_SBC))
        ranker.fit(counted)
        blended = [
            replace(day, source_SBC=ranker(day.source_SBC, day.activity_B, day.age_C)[None])
            for day in counted
        ]
        return cls(folds, blended)

    def measure(self, model: InterestModel) -> float | None:
        """Return the mean log-likelihood of a user. None without targets."""
        ranker = FinalRanker(2)
        return ranker.fit(add_sequence_scores(model, self.folds, self.blended))

    def to(self, device: torch.device) -> "ChoiceValidation":
        """Return the same validation with its tensors on a device."""
        folds, blended = ([to_device(x, device) for x in part] for part in (self.folds, self.blended))
        return replace(self, folds=folds, blended=blended)


def count_validation_choices(snapshot: SnapshotReader, config: ModelConfig, seed: int) -> list[ChoiceData]:
    """Return the choices of each validation day, with the scores of the counted sources.

    The sources are counted again for each day, on everything before it. So none has seen the positives of the
    day. Empty without sources.

    Args:
        snapshot: The night's snapshot.
        config: Of the model.
        seed: Of the samples.
    """
    names = [name for name in config.sources if name != SEGMENT_SOURCE]
    if not names:
        return []
    days = [
        CountedSources(snapshot, fold, names, max_length=config.max_length)
        for fold in snapshot.validation_folds
    ]
    return [
        collect_choices(partial(day.scores, names=names), day.fold, seed, config.max_length) for day in days
    ]
