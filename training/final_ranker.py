"""Fitting of the final ranker on the validation days of a night."""

from typing import Any

import torch
from torch import Tensor

from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel
from models.training.choices import collect_choices
from snapshots.counted_sources import CountedSources
from snapshots.reader import SnapshotReader


def fit_final_ranker(model: InterestModel, snapshot: SnapshotReader, seed: int) -> None:
    """Fit the final ranker on the validation days, in place.

    The sources are counted again for each day, on everything before it. The sequence model was trained before
    the first day. So nothing that is combined has seen the positives of the day.

    Args:
        model: Trained on what the first validation fold knows.
        snapshot: The night's snapshot.
        seed: Of the samples.
    """
    names = model.config.sources
    if not names:
        return
    choices = []
    for fold_name in snapshot.validation_folds:
        fold = snapshot.fold(fold_name, model.config)
        scorer = Scorer(model.eval(), fold.item_table, fold.users, fold.day)
        items: Any = model.encode_items(fold.item_table)
        counted = CountedSources(snapshot, fold_name, names, max_length=model.config.max_length)

        def score(
            users_B: Tensor, scorer: Scorer = scorer, items: Any = items, counted: CountedSources = counted
        ) -> Tensor:
            score_BV, _ = model.score_items(scorer.encode_user(users_B, items), items)
            return torch.cat([score_BV[None], counted.scores(users_B, names)])

        choices.append(collect_choices(score, counted.fold, seed, model.config.max_length))
    model.final_ranker.fit(choices)
