"""The second phase of training: the selected model is trained again on all days before the test."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from core.config import load_params
from core.config.model_half import TrainConfig
from core.config.models import PopularityConfig, TransformerConfig
from core.paths import PROJECT_ROOT, Night
from core.schema import replace_nested
from models.bundle import load_bundle
from models.interest_model import InterestModel
from models.ranking.final_ranker import FinalRanker
from models.sources.counting import trending
from models.training import trainer
from models.training.checkpoint import Checkpoint
from snapshots.reader import SnapshotReader
from tasks import train
from training import baseline, interest
from training.interest import best_epoch
from training.validation import ChoiceValidation

BASE = load_params(PROJECT_ROOT / "params.yaml")
PARAMS = replace_nested(
    BASE.train,
    {
        "epochs": 3,
        "patience": 3,
        "batch_size": 16,
        "model.warmup_epochs": 0,
        "model.layers": 1,
        "model.max_length": 20,
        "model.sources": ("trending", "item_cf"),
    },
)
SASREC = TransformerConfig(
    "sasrec", layers=1, heads=2, dropout=0.0, max_length=20, num_negatives=0, share_negatives=True
)
PHASES = ("selection", "refit")
STEPS_OF_AN_EPOCH = 3  # 40 users in batches of 16


class KilledError(Exception):
    """Simulates a kill of the process."""


def trained(night: Night, params: TrainConfig = PARAMS) -> InterestModel:
    train.run(params, night)
    model = load_bundle(night.folder("train"))
    assert isinstance(model, InterestModel)
    return model


def videos_known_by(snapshot: SnapshotReader, fold: str) -> list[str]:
    known_V = (snapshot.num_interactions(fold) > 0).tolist()
    return [
        video for video, known in zip(snapshot.videos["video_id"].to_pylist(), known_V, strict=True) if known
    ]


@pytest.mark.parametrize("model", [PARAMS.model, SASREC], ids=["interest", "sasrec"])
def test_a_video_that_is_known_since_the_validation_days_has_an_id_row(model: Any, night: Night) -> None:
    train.run(replace(PARAMS, model=model), night)
    snapshot, config = SnapshotReader(night), load_bundle(night.folder("train")).config
    since_validation = set(videos_known_by(snapshot, "test")) - set(videos_known_by(snapshot, "valid_1"))
    assert since_validation
    assert since_validation <= set(config.video_ids)
    assert config.video_ids == videos_known_by(snapshot, "test")


def test_statistics_and_sources_of_the_saved_model_are_of_the_newest_days(night: Night) -> None:
    model, snapshot = trained(night), SnapshotReader(night)
    fold = snapshot.fold("test", model.config)
    known_V = fold.item_table.id_row_V >= 0
    assert torch.equal(
        model.item_fusion.num_interactions_I.long(), snapshot.num_interactions("test")[known_V]
    )
    expected_V = trending(fold.users.sequences, 50, model.sources["trending"].half_life_days).log1p()
    assert torch.allclose(model.sources["trending"].score_I, expected_V[known_V])


def test_a_saved_baseline_counts_the_newest_days(night: Night) -> None:
    train.run(replace(PARAMS, model=PopularityConfig("popularity")), night)
    model, snapshot = load_bundle(night.folder("train")), SnapshotReader(night)
    sequences = snapshot.sequences("test")
    user_E = torch.arange(len(sequences.lengths)).repeat_interleave(sequences.lengths)
    pairs = {
        pair
        for pair, positive in zip(
            zip(user_E.tolist(), sequences.video_E.tolist(), strict=True),
            sequences.positive_E.tolist(),
            strict=True,
        )
        if positive
    }
    assert int(model.num_positives_I.sum()) == len(pairs)


@pytest.mark.parametrize("best", [1, 2, 3])
def test_the_refit_has_the_epochs_of_the_best_epoch(
    best: int, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = count(1)
    monkeypatch.setattr(ChoiceValidation, "measure", lambda *_: -1.0 - abs(next(epoch) - best))
    calls: list[tuple[int, int, list[Mapping[str, float]]]] = []
    fit = interest.fit_interest_model

    def recorded(scorer: Any, validation: Any, params: Any, objective: Any, epochs: int, *more: Any) -> Any:
        curve = fit(scorer, validation, params, objective, epochs, *more)
        calls.append((0 if validation is None else len(validation.folds), epochs, curve))
        return curve

    monkeypatch.setattr(interest, "fit_interest_model", recorded)
    facts = train.run(PARAMS, night).facts
    (num_folds, max_epochs, curve), (refit_folds, refit_epochs, refit_curve) = calls
    assert (num_folds, max_epochs) == (2, PARAMS.epochs)
    assert (refit_folds, refit_epochs) == (0, best)
    assert facts["best_epoch"] == len(refit_curve) == best_epoch(curve)["epoch"] == best
    assert [row["learning_rate"] for row in refit_curve] == [
        row["learning_rate"] for row in curve[: len(refit_curve)]
    ]


def test_a_baseline_is_refitted_for_the_epochs_of_the_best_epoch(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, list[dict[str, float]]]] = []
    fit = baseline.fit_baseline

    def recorded(model: Any, sequences: Any, rows: Any, params: TrainConfig, *more: Any) -> Any:
        curve = fit(model, sequences, rows, params, *more)
        calls.append((params.epochs, curve))
        return curve

    monkeypatch.setattr(baseline, "fit_baseline", recorded)
    train.run(replace(PARAMS, model=SASREC, epochs=6, patience=6, learning_rate=0.1), night)
    (epochs, curve), (refit_epochs, refit_curve) = calls
    assert (epochs, len(curve)) == (6, 6)
    assert refit_epochs == len(refit_curve) == best_epoch(curve)["epoch"]


def test_what_was_fitted_on_the_validation_days_is_kept(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    rankers: list[FinalRanker] = []
    fit = FinalRanker.fit

    def recorded(self: FinalRanker, data: Any) -> Any:
        assert len(data) == 2  # the validation days
        rankers.append(self)
        return fit(self, data)

    monkeypatch.setattr(FinalRanker, "fit", recorded)
    model = trained(night)
    ranker = rankers[-1]  # those before select the epoch
    assert len(ranker.weight_S) == 3
    assert not torch.equal(ranker.weight_S, FinalRanker(3).weight_S)
    saved = model.final_ranker.state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in ranker.state_dict().items())


@pytest.mark.parametrize("steps", [1, 4, 9, 10, 11])
def test_a_run_killed_in_either_phase_resumes_to_the_same_bytes(
    steps: int, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train.run(PARAMS, night)
    steps_of_selection = STEPS_OF_AN_EPOCH * int(expected.facts["num_epochs"])
    steps_of_refit = STEPS_OF_AN_EPOCH * int(expected.facts["best_epoch"])
    assert (steps_of_selection, steps_of_refit > 2) == (9, True)
    real_step, steps_done = trainer.optimizer_step, []

    def until_killed(*arguments: Any) -> float:
        if len(steps_done) == steps:
            raise KilledError
        steps_done.append(1)
        return real_step(*arguments)

    monkeypatch.setattr(interest, "Checkpoint", partial(Checkpoint, min_interval=0))
    monkeypatch.setattr(trainer, "optimizer_step", until_killed)
    with pytest.raises(KilledError):
        train.run(PARAMS, night)
    left = {phase for phase in PHASES if (night.workspace / f"train.{phase}.checkpoint").exists()}
    assert left == ({"selection"} if steps <= steps_of_selection else {"selection", "refit"})

    def counted(*arguments: Any) -> float:
        steps_done.append(1)
        return real_step(*arguments)

    monkeypatch.setattr(trainer, "optimizer_step", counted)
    assert train.run(PARAMS, night).digests == expected.digests
    assert len(steps_done) == steps_of_selection + steps_of_refit, "no step is repeated"
    assert not list(Path(night.workspace).glob("train.*.checkpoint"))
