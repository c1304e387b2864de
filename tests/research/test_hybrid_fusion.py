"""Hybrid fusion reads the fused sequence and one for each modality, and trains all parameters."""

import pytest
import torch

from models.data.items import ItemEmbeddings
from models.data.user_state import UserState
from models.interest_model import InterestModel
from research.hybrid_fusion import HybridFusionModel
from tests.support.model_inputs import (
    WIDTHS,
    all_users,
    make_config,
    make_item_table,
    make_model,
    make_profiles,
    make_sequences,
)


def make_hybrid_model(**changes: object) -> InterestModel:
    return make_model(HybridFusionModel, fusion="hybrid", **changes)


def encode(model: InterestModel, widths: dict[str, int] | None = None) -> tuple[UserState, ItemEmbeddings]:
    sequences, items = make_sequences(), model.encode_items(make_item_table(widths=widths))
    return model.encode_sequence(
        sequences.padded_batch(all_users(sequences), 8), make_profiles(), items
    ), items


def test_each_modality_has_a_user_embedding_of_its_own() -> None:
    model = make_hybrid_model()
    state, items = encode(model)
    assert state.z_ND.shape == (4, 9, 8)
    assert state.modality_z_NMD is not None
    assert state.modality_z_NMD.shape == (4, 9, len(WIDTHS), 8)
    score_NV, alpha_MNV = model.score_items(
        state.select((torch.arange(4), torch.tensor([0, 1, 5, 8]))), items
    )
    assert score_NV.shape == (4, 12)
    assert alpha_MNV.shape == (len(WIDTHS), 4, 12)


def test_it_has_the_weights_of_late_fusion_and_other_scores() -> None:
    hybrid, late = make_hybrid_model(), make_model(fusion="late")
    late.load_state_dict(hybrid.state_dict())
    hybrid_state, items = encode(hybrid)
    late_state, _ = encode(late)
    assert hybrid_state.modality_z_NMD is not None
    assert late_state.modality_z_NMD is not None
    # What is added to each modality is the fused sequence.
    added_NMD = hybrid_state.modality_z_NMD - late_state.modality_z_NMD
    assert torch.allclose(added_NMD, hybrid_state.z_ND.unsqueeze(2).expand_as(added_NMD), atol=1e-5)
    newest = (torch.arange(4), torch.tensor([0, 1, 5, 8]))
    score_NV, late_score_NV = (
        late.score_items(state.select(newest), items)[0] for state in (hybrid_state, late_state)
    )
    assert not torch.allclose(score_NV, late_score_NV)


def test_every_parameter_gets_a_gradient() -> None:
    model = make_hybrid_model().train()
    state, items = encode(model)
    score_NV, _ = model.score_items(state.select(torch.ones(4, 9, dtype=torch.bool)), items)
    start = state.select((torch.arange(4), torch.zeros(4, dtype=torch.long)))
    (score_NV.sum() + model.behaviour_logits(start, items, torch.tensor([1, 2, 3, 4])).sum()).backward()
    learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    untrained = [name for name, p in learned if p.grad is None or not p.grad.any()]
    assert untrained == ["item_fusion.projections.logit_scale"]  # the temperature, which `align` learns


def test_without_modalities_only_the_fused_sequence_is_left() -> None:
    state, _ = encode(make_hybrid_model(modalities={}, encoder_fingerprints={}), widths={})
    assert state.modality_z_NMD is None


def test_hybrid_fusion_is_not_a_level_of_the_core() -> None:
    with pytest.raises(ValueError, match="unknown fusion 'hybrid'; choose one of attention, "):
        InterestModel(make_config(fusion="hybrid"))
    with pytest.raises(ValueError, match="unknown fusion 'late'; choose one of hybrid"):
        HybridFusionModel(make_config(fusion="late"))
