"""The user side as plain tensors: ONNX Runtime gives the scores of torch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
import torch

from models.data.inputs import behaviour_flags
from models.data.items import ItemEmbeddings
from models.data.labels import has_behaviour, is_positive
from models.data.sequences import SequenceBatch
from models.data.users import UserProfiles
from models.export import PADDING, UserSide, input_specs
from models.interest_model import InterestModel
from tests.support.model_inputs import BEHAVIOURS, make_item_table, make_model, make_profiles, make_sequences
from undercurrent.export import write_user_side

TOLERANCE = 1e-4
MEAN, STD = 3.0, 2.0  # of the profile number
LENGTHS = ((1,), (3, 1), (0, 1, 5, 8), (8,) * 7)
VARIANTS = [
    {"fusion": "user"},
    {"fusion": "user", "encoder": "hstu", "user_numerical_features": {}},
    {"fusion": "early", "encoder": "ligr"},
    {
        "fusion": "uniform",
        "encoder": "mean",
        "positions": False,
        "contexts": {},
        "user_categorical_features": {},
    },
]


def _model(**changes: object) -> tuple[InterestModel, ItemEmbeddings]:
    model = make_model(**{"user_numerical_features": {"days": (MEAN, STD)}, **changes})
    if model.modality_preference is not None:  # otherwise α is nearly equal
        torch.nn.init.normal_(model.modality_preference.from_agreement.weight, std=3.0)
    with torch.no_grad():
        return model, model.encode_items(make_item_table())


def _feeds(batch: SequenceBatch, started_at_BT: torch.Tensor, profiles: UserProfiles) -> dict:
    """The same users as a caller of the exported network describes them."""
    return {
        "video": batch.video_BT.masked_fill(~batch.mask_BT, PADDING),
        "started_at": started_at_BT,
        "hour": batch.hour_BT,
        "watch_ratio": torch.where(batch.watch_ratio_known_BT, batch.watch_ratio_BT, torch.nan),
        "behaviours": batch.behaviour_BTA,
        "comment_sentiment": torch.where(batch.sentiment_known_BT, batch.sentiment_BT, torch.nan),
        "contexts": batch.context_BTJ,
        "profile_categories": profiles.category_BJ,
        "profile_numbers": profiles.number_BQ * STD + MEAN,
    }


def _users(user_side: UserSide, lengths: tuple[int, ...]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Users with sequences of these lengths: the inputs that describe them, and their scores by the model."""
    model, items = user_side.model, user_side.items
    sequences, profiles = make_sequences(lengths, seed=len(lengths)), make_profiles(len(lengths))
    profiles = UserProfiles(
        profiles.category_BJ[:, : len(model.config.user_categorical_features)],
        profiles.number_BQ[:, : len(model.config.user_numerical_features)],
    )
    batch = sequences.padded_batch(torch.arange(len(lengths)), model.config.max_length)
    ratio_BT = torch.where(batch.watch_ratio_known_BT, batch.watch_ratio_BT, torch.nan)
    batch = replace(
        batch,
        positive_BT=user_side.is_positive(ratio_BT, batch.behaviour_BTA),
        context_BTJ=batch.context_BTJ[:, :, : len(model.config.contexts)],
    )
    index_BT = sequences.offsets[:-1, None] + torch.arange(batch.mask_BT.shape[1])
    started_at_BT = sequences.timestamp_E[index_BT.clamp(max=len(sequences.video_E) - 1)]
    with torch.no_grad():
        score_BV, _ = model.score_items(model.encode_user(batch, profiles, items), items)
    feeds = _feeds(batch, started_at_BT, profiles)
    return {name: feeds[name] for name in user_side.names}, score_BV


def _video_vectors(user_side: UserSide) -> torch.Tensor:
    factors = user_side.model.inner_product_vectors(user_side.model.average_users, user_side.items)
    assert factors is not None
    return factors[1].detach()


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda c: c.get("encoder", "transformer"))
def test_the_vectors_of_users_and_videos_give_the_scores_of_the_model(changes: dict) -> None:
    user_side = UserSide(*_model(**changes))
    for lengths in LENGTHS:
        feeds, expected_BV = _users(user_side, lengths)
        with torch.no_grad():
            score_BV = user_side(*feeds.values()) @ _video_vectors(user_side).T
        assert (score_BV - expected_BV).abs().max() < TOLERANCE
        assert expected_BV.std() > 100 * TOLERANCE, "equal scores would prove nothing"


def test_onnx_runtime_gives_the_scores_of_torch(tmp_path: Path) -> None:
    user_side = UserSide(*_model(fusion="user", layers=1))
    write_user_side(user_side, tmp_path / "user.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "user.onnx")
    for lengths in LENGTHS:
        feeds, expected_BV = _users(user_side, lengths)
        (vector_BF,) = session.run(None, {name: x.numpy() for name, x in feeds.items()})
        score_BV = vector_BF @ _video_vectors(user_side).numpy().T
        assert np.abs(score_BV - expected_BV.numpy()).max() < TOLERANCE


def test_the_positives_follow_the_rule_of_the_labels() -> None:
    model, items = _model(fusion="user")
    bits, ratios = np.tile(np.arange(64), 3), np.repeat([0.2, 0.7, np.nan], 64).astype(np.float32)
    column = pa.array(bits)
    flags = {name: has_behaviour(column, i) for i, name in enumerate(BEHAVIOURS)}
    expected = is_positive(flags, pa.array(ratios, from_pandas=True), model.config.positive_watch_ratio)
    behaviour_BTA = behaviour_flags(column, len(BEHAVIOURS))[None]
    positive_BT = UserSide(model, items).is_positive(torch.from_numpy(ratios)[None], behaviour_BTA)
    assert positive_BT[0].tolist() == expected.to_pylist()


@pytest.mark.parametrize("fusion", ["attention", "late"])
def test_a_model_without_inner_products_is_refused(fusion: str) -> None:
    with pytest.raises(ValueError, match=f"fusion is {fusion}; only user, uniform, early can be exported"):
        UserSide(*_model(fusion=fusion))


def test_an_encoder_that_torch_exports_for_one_length_only_is_refused() -> None:
    with pytest.raises(ValueError, match="encoder is lstm"):
        UserSide(*_model(fusion="user", encoder="lstm"))


def test_only_the_inputs_that_the_model_reads_are_asked_for() -> None:
    all_names = {spec.name for spec in input_specs(_model(fusion="user")[0].config)}
    less = _model(
        fusion="user", positions=False, contexts={}, user_categorical_features={}, user_numerical_features={}
    )
    names = {spec.name for spec in input_specs(less[0].config)}
    assert all_names - names == {"started_at", "contexts", "profile_categories", "profile_numbers"}
