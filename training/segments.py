"""Training of the source `segment_interest`, on the folds of the interest model.

A first model is trained before the validation days. They select its epoch. Then the model is trained again on
all days before the test, for as many epochs. It is trained on the CPU. If torchrun starts several processes,
each trains the same model.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from core.errors import InputError
from models.data.folds import Fold
from models.data.items import ItemTable
from models.data.segments import SegmentLog, SegmentViews, views_after
from models.data.sequences import Sequences
from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel
from models.ranking.final_ranker import ChoiceData
from models.segments.segment_interest import exit_loss
from models.sources import SEGMENT_SOURCE, SegmentSource, segment_source
from models.sources.segment_interest import HISTORY_LENGTH
from models.training.segments import fit, known_id_rows
from snapshots.reader import Interactions, SnapshotReader

MAX_TRAIN_VIEWS = 60_000  # views to train on, sampled if there are more, so that the time is bounded
MAX_EPOCHS, PATIENCE, BATCH_SIZE = 10, 2, 256


def select_segment_epoch(
    model: InterestModel, snapshot: SnapshotReader, folds: Sequence[Fold], seed: int
) -> list[dict[str, float]]:
    """Train the source before the validation days, and keep the epoch with the best skip prediction on them.

    Args:
        model: Its source is trained in place.
        snapshot: Of the night.
        folds: The validation days, oldest first.
        seed: Of the batches and of dropout.

    Returns:
        The curve, as in `Trainer.fit`. Empty if the model does not have the source.

    Raises:
        InputError: The snapshot has no segments or no view to learn from, or the model has no other source.
        FloatingPointError: A loss or gradient is not finite.
    """
    source = segment_source(model.sources)
    if source is None:
        return []
    _require_inputs(model, folds[0].item_table)
    valid = [
        _views_of_day(fold, snapshot.interactions(name))
        for name, fold in zip(snapshot.validation_folds, folds, strict=True)
    ]
    return _fit(source, folds[0].users.sequences, folds[0].item_table, valid, seed, MAX_EPOCHS)


def refit_segments(scorer: Scorer, seed: int, epochs: int) -> None:
    """Train the source of a model on everything that is known before the test day.

    Args:
        scorer: Holds the model, which is changed in place.
        seed: Of the batches and of dropout.
        epochs: Number of epochs.

    Raises:
        FloatingPointError: A loss or gradient is not finite.
    """
    assert isinstance(scorer.model, InterestModel)
    source = segment_source(scorer.model.sources)
    assert source is not None
    _fit(source, scorer.user_data.sequences, scorer.item_table, [], seed, epochs)


def _require_inputs(model: InterestModel, item_table: ItemTable) -> None:
    """Check that the source can be trained, and that a final ranker will read it."""
    if item_table.segments is None:
        raise InputError(
            f"params.yaml: train.model.sources names {SEGMENT_SOURCE}, but the snapshot has no video"
            " segments; set snapshot.segments to true and run `python -m tasks.snapshot` again"
        )
    if len(model.sources) < 2:
        raise InputError(
            f"params.yaml: train.model.sources names {SEGMENT_SOURCE} only; name another source, too"
        )


def _fit(
    source: SegmentSource,
    sequences: Sequences,
    item_table: ItemTable,
    valid: Sequence[SegmentViews],
    seed: int,
    epochs: int,
) -> list[dict[str, float]]:
    """Train on these sequences, and return the curve."""
    segment_table, model = item_table.segments, source.interest
    assert segment_table is not None
    source.init_from_statistics(sequences, item_table)
    log = SegmentLog.from_sequences(sequences, segment_table)
    train = _sample(log.views(segment_table, HISTORY_LENGTH), seed)
    if not len(train):
        raise InputError(
            f"params.yaml: train.model.sources names {SEGMENT_SOURCE}, but no interaction has a watch time"
            " and a video with a duration; remove the source"
        )
    id_row_V = known_id_rows(train.video_E, segment_table.id_row_V)
    model.requires_grad_(True)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        curve = fit(
            model,
            replace(segment_table, id_row_V=id_row_V),
            train,
            valid,
            seed=seed,
            loss=exit_loss,
            epochs=epochs,
            patience=PATIENCE,
            batch_size=BATCH_SIZE,
        )
    model.requires_grad_(False)
    source.forget_ids(segment_table.id_row_V[id_row_V == 0])
    return curve


def _sample(views: SegmentViews, seed: int) -> SegmentViews:
    """Return at most `MAX_TRAIN_VIEWS` of the views, in their order."""
    order = torch.randperm(len(views), generator=torch.Generator().manual_seed(seed))
    return views.select(order[:MAX_TRAIN_VIEWS].sort().values)


def _views_of_day(fold: Fold, day: Interactions) -> SegmentViews:
    """Return the views of the day of a fold whose end is known, with what the fold knows before each."""
    segment_table, ended = fold.item_table.segments, (day.user_N, day.video_N, day.watch_ratio_N)
    assert segment_table is not None
    return views_after(fold.users.sequences, *ended, segment_table, HISTORY_LENGTH)[0]


@torch.no_grad()
def add_segment_scores(
    model: InterestModel, folds: Sequence[Fold], choices: Sequence[ChoiceData]
) -> list[ChoiceData]:
    """Return the choices with the scores of the source, if the model has it, in the order of its sources.

    Args:
        model: A model that was trained before the days.
        folds: The days.
        choices: The choices of each day, with the sequence model as the first source.
    """
    source = segment_source(model.sources)
    if source is None:
        return list(choices)
    row, extended = 1 + list(model.sources).index(SEGMENT_SOURCE), []
    for fold, day in zip(folds, choices, strict=True):
        batch = fold.users.sequences.padded_batch(day.users_B, model.config.max_length)
        score_BC = source.scores(batch, fold.item_table, day.rows_C)
        parts = (day.source_SBC[:row], score_BC[None], day.source_SBC[row:])
        extended.append(replace(day, source_SBC=torch.cat(parts)))
    return extended
