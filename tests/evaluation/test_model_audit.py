"""The gain of the modality weights: its sign, and when it is not measured."""

import pytest
import torch

from core.config.model_half import EvaluateConfig
from evaluation.model_audit import measure_modality_weight_gain
from evaluation.ranking import rank_model
from models.data.targets import Targets
from models.evaluation.scoring import Scorer
from tests.support.model_inputs import make_item_table, make_model, make_user_data

LENGTHS = (0, 1, 5, 3, 2, 4, 6, 2) * 4
USERS = torch.arange(len(LENGTHS))
PARAMS = EvaluateConfig(
    k=1, cutoffs=(1,), cold_events=5, recency_half_life_days=1.0, bootstrap_samples=200, seed=1
)


def make_scorer(**changes: object) -> Scorer:
    """A scorer whose learned modality weights, if it has any, are far from equal."""
    model = make_model(**changes)
    if model.modality_preference is not None:
        for parameter in model.modality_preference.parameters():
            torch.nn.init.normal_(parameter, std=5.0)
    return Scorer(model, make_item_table(widths=dict(model.config.modalities)), make_user_data(LENGTHS))


def gain_of(scorer: Scorer, liked: Scorer) -> dict:
    """Return the measured gain if each user likes the video that the scorer `liked` ranks first."""
    any_targets = Targets(USERS, (~liked.user_data.seen.mask(USERS, 12)).float().argmax(1))
    targets = Targets(USERS, rank_model("liked", liked, any_targets, 1)[0].top_BK[:, 0])
    return measure_modality_weight_gain(
        scorer, rank_model("challenger", scorer, targets, PARAMS.k)[0], targets, PARAMS
    )


@pytest.mark.parametrize("fusion", ["user", "attention", "cross", "late", "hybrid"])
def test_weights_that_find_the_targets_are_informative(fusion: str) -> None:
    scorer = make_scorer(fusion=fusion)
    measured = gain_of(scorer, liked=scorer)
    assert measured["gain"]["mean"] > measured["gain"]["low"] > 0
    assert measured["gain"]["num_users"] == len(USERS)
    assert measured["is_informative"] is True


def test_weights_that_lose_to_equal_ones_are_not_informative() -> None:
    scorer = make_scorer(fusion="user")
    measured = gain_of(scorer, liked=scorer.with_equal_modality_weights())
    assert measured["gain"]["mean"] < measured["gain"]["high"] < 0
    assert measured["is_informative"] is False


@pytest.mark.parametrize(
    "changes",
    [
        {"fusion": "uniform"},
        {"fusion": "early"},
        {"fusion": "tokens"},
        {"modalities": {"text": 4}, "encoder_fingerprints": {"text": "f"}},
        {"modalities": {}, "encoder_fingerprints": {}},
    ],
    ids=str,
)
def test_without_several_learned_weights_there_is_no_gain(changes: dict) -> None:
    scorer = make_scorer(**changes)
    assert gain_of(scorer, liked=scorer) == {"gain": None, "is_informative": False}
