"""The metric on the validation days."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.data.folds import Fold
from models.data.targets import Targets
from models.ranking.final_ranker import ChoiceData
from reporting import plots
from tests.support.model_inputs import make_item_table, make_model, make_user_data
from training import interest, validation
from training.validation import ChoiceValidation, NdcgValidation

ITEM_TABLE = replace(make_item_table(), upload_day_V=torch.tensor([0] * 11 + [9]))
USER_DATA = make_user_data()


def make_fold(targets: Targets, day: int | None = None) -> Fold:
    return Fold(day, ITEM_TABLE, USER_DATA, targets)


def test_every_user_of_every_validation_day_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    one_user = Targets(torch.tensor([3, 3]), torch.tensor([0, 1]))
    three_users = Targets(torch.tensor([1, 2, 4]), torch.tensor([0, 1, 0]))
    nobody = Targets(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    folds = [make_fold(targets) for targets in (one_user, three_users, nobody)]
    monkeypatch.setattr(
        validation, "mean_ndcg", lambda scorer, targets, k: 0.1 if targets is one_user else 0.5
    )
    assert NdcgValidation(folds).measure(make_model()) == pytest.approx(0.4)
    assert NdcgValidation(folds[2:]).measure(make_model()) is None


def test_a_validation_day_ranks_its_available_videos() -> None:
    targets = Targets(torch.tensor([0, 1]), torch.tensor([0, 1]))
    early, late = (NdcgValidation([make_fold(targets, day)]).measure(make_model()) for day in (8, 9))
    assert early is not None
    assert late is not None
    assert early > late  # the last video, which is uploaded on day 9, competes with the targets


def make_choices(popularity_C: Tensor, taste_BC: Tensor) -> ChoiceData:
    """Each user draws one video from the softmax of popularity and taste. Popularity is counted, too."""
    users, videos = taste_BC.shape
    logit_BC = popularity_C + taste_BC
    chosen_B1 = logit_BC.softmax(1).multinomial(1, generator=torch.Generator().manual_seed(1))
    return ChoiceData(
        users_B=torch.arange(users),
        rows_C=torch.arange(videos),
        source_SBC=popularity_C.expand(1, users, -1),
        activity_B=torch.zeros(users, dtype=torch.long),
        age_C=torch.zeros(videos, dtype=torch.long),
        is_target_BC=torch.zeros(users, videos, dtype=torch.bool).scatter(1, chosen_B1, True),
        is_candidate_BC=torch.ones(users, videos, dtype=torch.bool),
        log_weight_C=torch.zeros(videos),
    )


def test_the_likelihood_measures_what_a_model_adds_to_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    popularity_C = torch.randn(20, generator=generator)
    taste_BC = torch.randn(300, 20, generator=generator)
    choices = make_choices(popularity_C, taste_BC)
    measured = ChoiceValidation.from_counted([], [choices])

    def likelihood(score_BC: Tensor) -> float:
        def add(model: object, folds: object, days: Sequence[ChoiceData]) -> list[ChoiceData]:
            return [replace(day, source_SBC=torch.cat([score_BC[None], day.source_SBC])) for day in days]

        monkeypatch.setattr(validation, "add_sequence_scores", add)
        value = measured.measure(make_model())
        assert value is not None
        return value

    nothing = likelihood(torch.zeros(300, 20))
    assert likelihood(popularity_C.expand(300, -1)) == pytest.approx(nothing, abs=0.005)
    assert likelihood(taste_BC + torch.randn(300, 20, generator=generator)) > nothing + 0.05
    assert likelihood(taste_BC) > likelihood(taste_BC + torch.randn(300, 20, generator=generator))


def test_a_night_without_targets_selects_no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = make_choices(torch.zeros(4), torch.zeros(3, 4))
    nobody = replace(choices, is_target_BC=torch.zeros(3, 4, dtype=torch.bool))
    monkeypatch.setattr(validation, "add_sequence_scores", lambda model, folds, days: days)
    assert ChoiceValidation.from_counted([], [nobody]).measure(make_model()) is None


def test_the_learning_curve_shows_every_metric_that_selects_an_epoch() -> None:
    assert tuple(plots.SELECTION_METRICS) == interest.SELECTION_METRICS
