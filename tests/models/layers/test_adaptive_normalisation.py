"""Adaptive normalisation: it starts at the identity, follows its formula, and keeps scores inner products."""

from dataclasses import replace

import pytest
import torch

from models.data.items import ItemTable
from models.data.user_state import UserState
from models.interest_model import InterestModel
from models.layers.modality_attention import modality_weights
from models.ranking.final_ranker import activity_groups
from tests.support.model_inputs import (
    all_users,
    make_config,
    make_item_table,
    make_model,
    make_profiles,
    make_sequences,
)

CATEGORIES = {"creator": ["x"], "category": ["news", "sport"]}
LENGTHS = (0, 1, 9, 12)  # three activity groups


def make_adaptive_model(fusion: str = "user") -> InterestModel:
    return make_model(fusion=fusion, normalisation="adaptive", item_attributes=CATEGORIES, max_length=12)


def make_categorised_items() -> ItemTable:
    code_VA = torch.stack([torch.zeros(12, dtype=torch.long), torch.arange(12) % 3], 1)
    return replace(make_item_table(), attribute_VA=code_VA)


def encode(model: InterestModel, lengths: tuple[int, ...] = LENGTHS) -> UserState:
    sequences = make_sequences(lengths)
    batch = sequences.padded_batch(all_users(sequences), model.config.max_length)
    return model.encode_user(batch, make_profiles(len(lengths)), model.encode_items(make_categorised_items()))


@pytest.mark.parametrize("fusion", ["user", "attention", "late", "hybrid", "early"])
def test_it_starts_at_the_identity(fusion: str) -> None:
    adaptive = make_adaptive_model(fusion)
    for name, parameter in adaptive.named_parameters():
        if "normalisation" in name:
            torch.nn.init.zeros_(parameter)
    fixed = make_model(fusion=fusion, item_attributes=CATEGORIES, max_length=12)
    weights = {name: x for name, x in adaptive.state_dict().items() if "normalisation" not in name}
    fixed.load_state_dict(weights)
    items = fixed.encode_items(make_categorised_items())
    expected, _ = fixed.score_items(encode(fixed), items)
    actual, _ = adaptive.score_items(encode(adaptive), adaptive.encode_items(make_categorised_items()))
    assert torch.allclose(actual, expected, atol=1e-5)


def test_the_parameters_are_the_identity_before_training() -> None:
    model = InterestModel(make_config(normalisation="adaptive", item_attributes=CATEGORIES))
    parts = [p for name, p in model.named_parameters() if "normalisation" in name]
    assert len(parts) == 3
    assert not any(p.any() for p in parts)


def test_each_pair_of_groups_has_its_own_scale_and_shift() -> None:
    model, item_table = make_adaptive_model(), make_categorised_items()
    state, items = encode(model), model.encode_items(item_table)
    assert model.user_normalisation is not None
    assert item_table.attribute_VA is not None
    content, x_VMD = model.item_fusion.normalisation, model.item_fusion.projections(item_table)
    assert content is not None
    group_B = activity_groups(torch.tensor(LENGTHS))
    assert len(group_B.unique()) == 3
    for b, v in [(0, 2), (1, 3), (2, 4), (3, 5), (3, 6)]:
        category, has_M = item_table.attribute_VA[v, 1], item_table.has_VM[v]
        gamma_MD = (1 + model.user_normalisation.scale[group_B[b]]) * (1 + content.scale[category])
        shift_MD = (1 + model.user_normalisation.scale[group_B[b]]) * content.shift[category]
        normalised_MD = gamma_MD * x_VMD[v] + shift_MD
        alpha_M = modality_weights(state.u_NW[b], has_M, 0)
        content_score = (1 - items.id_gate_V[v]) * (alpha_M[:, None] * normalised_MD).sum(0) @ state.z_ND[b]
        identity_score = items.identity_VD[v] @ state.z_ND[b]
        expected = (content_score + identity_score) * 8**-0.5 + items.bias_V[v]
        assert torch.allclose(model.score_items(state, items)[0][b, v], expected, atol=1e-4)


@pytest.mark.parametrize("fusion", ["user", "uniform", "early", "cross", "tokens"])
def test_scores_stay_inner_products(fusion: str) -> None:
    model = make_adaptive_model(fusion)
    items, state = model.encode_items(make_categorised_items()), encode(model)
    factors = model.inner_product_vectors(state, items)
    assert factors is not None
    score_NV, _ = model.score_items(state, items)
    assert torch.allclose(factors[0] @ factors[1].T, score_NV, atol=1e-4)
    rows_N = torch.tensor([3, 5, 0, 11])
    assert torch.allclose(
        model.score_pairs(state, items, rows_N), score_NV[torch.arange(4), rows_N], atol=1e-4
    )


def test_events_are_scaled_by_the_group_of_their_moment() -> None:
    model = make_adaptive_model()
    assert model.user_normalisation is not None
    before = encode(model)
    with torch.no_grad():
        model.user_normalisation.scale[2] += 1.0  # 10 to 49 interactions
    after = encode(model)
    moved_B = (before.z_ND != after.z_ND).any(1)
    assert moved_B.tolist() == [False, False, False, True]


def test_longer_batches_do_not_change_a_state() -> None:
    model, sequences, user_B = make_adaptive_model(), make_sequences(LENGTHS), torch.tensor([1])
    items, together = model.encode_items(make_categorised_items()), encode(model)
    alone = model.encode_user(
        sequences.padded_batch(user_B, 12), make_profiles(len(LENGTHS)).select(user_B), items
    )
    assert together.modality_z_NMD is not None
    assert alone.modality_z_NMD is not None
    assert torch.allclose(together.modality_z_NMD[1], alone.modality_z_NMD[0], atol=1e-5)


def test_it_needs_the_category() -> None:
    with pytest.raises(ValueError, match="adaptive normalisation needs the attribute category"):
        InterestModel(make_config(normalisation="adaptive", item_attributes={"creator": ["x"]}))
