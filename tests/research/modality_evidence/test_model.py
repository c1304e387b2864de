"""The evidence model: causality, the space of its weights, recovery of the preferred modality, training."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import config as parameters
from core.config.models import InterestModelConfig
from core.paths import PROJECT_ROOT
from core.schema import replace_nested
from models.data.sequences import Sequences
from models.data.targets import Targets
from models.data.user_state import UserState
from models.evaluation.scoring import Scorer, mean_ndcg
from models.training.initialisation import init_from_training_data
from models.training.objective import Objective
from research.modality_evidence.model import EvidenceModel
from tests.support.model_inputs import (
    all_users,
    make_config,
    make_item_table,
    make_model,
    make_profiles,
    make_sequences,
    make_user_data,
)
from training.interest import fit_interest_model


def make_evidence_model(**changes: object) -> EvidenceModel:
    model = make_model(EvidenceModel, fusion="user", **changes)
    assert isinstance(model, EvidenceModel)
    return model


def encode(model: EvidenceModel, sequences: Sequences, users: list[int] | None = None) -> UserState:
    users_B = all_users(sequences) if users is None else torch.tensor(users)
    profiles = make_profiles(len(sequences.lengths)).select(users_B)
    return model.encode_sequence(
        sequences.padded_batch(users_B, 8), profiles, model.encode_items(make_item_table())
    )


@settings(max_examples=15)
@given(cut=st.integers(0, 8))
def test_later_events_do_not_change_an_earlier_state(cut: int) -> None:
    model, sequences = make_evidence_model(), make_sequences()
    start = int(sequences.offsets[3]) + cut
    video_E, watch_ratio_E = sequences.video_E.clone(), sequences.watch_ratio_E.clone()
    video_E[start:], watch_ratio_E[start:] = (video_E[start:] + 5) % 12, 0.3
    before = encode(model, sequences)
    after = encode(model, replace(sequences, video_E=video_E, watch_ratio_E=watch_ratio_E))
    for was, now in ((before.z_ND, after.z_ND), (before.u_NW, after.u_NW)):
        assert torch.equal(was[3, : cut + 1], now[3, : cut + 1])
        assert cut == 8 or not torch.equal(was[3, cut + 1 :], now[3, cut + 1 :])


def test_batch_padding_does_not_change_the_user_state() -> None:
    model, sequences = make_evidence_model(), make_sequences()
    together = encode(model, sequences)
    for user, length in enumerate(sequences.lengths.tolist()):
        alone = encode(model, sequences, [user])
        assert torch.allclose(together.z_ND[user, : length + 1], alone.z_ND[0], atol=1e-5)
        assert torch.allclose(together.u_NW[user, : length + 1], alone.u_NW[0], atol=1e-5)


def test_modality_weights_are_inferred_in_the_space_of_align() -> None:
    model, sequences = make_evidence_model(), make_sequences()
    before = encode(model, sequences)
    with torch.no_grad():
        for parameter in model.item_fusion.projections.parameters():
            parameter.add_(torch.randn(parameter.shape))
    after = encode(model, sequences)
    assert torch.equal(before.u_NW, after.u_NW)
    assert not torch.equal(before.z_ND, after.z_ND)


def test_the_posterior_mean_is_added_to_the_user_embedding() -> None:
    model, sequences = make_evidence_model(), make_sequences()
    before = encode(model, sequences).z_ND
    with torch.no_grad():
        model.posterior_mean_weight.add_(100.0)
    after = encode(model, sequences).z_ND
    assert torch.equal(after[:, 0], before[:, 0])  # an empty sequence has no posterior mean
    assert (after - before)[3, 1:].abs().amax(1).gt(1.0).all()


def test_the_weights_recover_the_modality_that_decides_engagement() -> None:
    """Three groups of users each like videos by one modality alone."""
    sequences, items = make_sequences((8,) * 30, videos=40), make_item_table(40)
    items = replace(items, has_VM=torch.ones_like(items.has_VM))
    model, profiles = make_evidence_model(width=16, user_categorical_features={}), make_profiles(30)
    modality_B, x_VMD = torch.arange(30) % 3, model.item_fusion.projections(items)
    taste_BD = torch.randn(30, 16, generator=torch.Generator().manual_seed(5))
    user_E = torch.arange(30).repeat_interleave(8)
    score_E = (x_VMD[sequences.video_E, modality_B[user_E]] * taste_BD[user_E]).sum(1)
    sequences = replace(
        sequences,
        watch_ratio_E=(score_E > 0).float(),
        behaviour_EA=torch.zeros_like(sequences.behaviour_EA),
    )
    model.init_from_statistics(sequences, profiles, items)
    batch = sequences.padded_batch(all_users(sequences), 8)
    u_BSW = model.encode_preferences(batch, profiles, model.encode_items(items))
    weights_BM = u_BSW[:, -1, 16:].exp()
    assert torch.allclose(u_BSW[:, 0, 16:].exp(), torch.tensor(1 / 3))
    own_B = weights_BM.gather(1, modality_B[:, None])
    assert own_B.mean() > weights_BM.mean() + 0.05


def test_every_parameter_but_the_aligned_projections_gets_a_gradient() -> None:
    model, sequences = make_evidence_model().train(), make_sequences()
    items, state = model.encode_items(make_item_table()), encode(model, sequences)
    score_NV, _ = model.score_items(state.select(torch.ones(4, 9, dtype=torch.bool)), items)
    start = state.select((torch.arange(4), torch.zeros(4, dtype=torch.long)))
    (score_NV.sum() + model.behaviour_logits(start, items, torch.tensor([1, 2, 3, 4])).sum()).backward()
    untrained = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    expected = [n for n, _ in model.named_parameters() if n.startswith("aligned_projections")]
    # The temperature is learned by `align`.
    assert untrained == ["item_fusion.projections.logit_scale", *expected]


def test_it_trains_by_the_loop_of_a_night() -> None:
    params = replace_nested(
        parameters.load_params(PROJECT_ROOT / "params.yaml").train,
        {"epochs": 4, "batch_size": 4, "model.warmup_epochs": 0, "model.objective.anchor_weight": 0.0},
    )
    assert isinstance(params.model, InterestModelConfig)
    model, items, users = make_evidence_model(), make_item_table(), make_user_data((3, 8, 5, 8, 2, 7, 1, 4))
    targets = Targets(torch.arange(8), (~users.seen.mask(torch.arange(8), 12)).float().argmax(1))
    num_interactions_V = torch.bincount(users.sequences.video_E, minlength=12)
    init_from_training_data(model, items, users.sequences, num_interactions_V, half_life_days=1.0)
    model.init_from_statistics(users.sequences, users.profiles, items)
    aligned = [parameter.clone() for parameter in model.aligned_projections.parameters()]
    objective = Objective(
        params.model.objective,
        last_day=users.sequences.last_day,
        alignment_rows=torch.arange(12),
        near_duplicate_cosine=0.99,
    )
    scorer = Scorer(model, items, users)
    curve = fit_interest_model(scorer, [], params, objective, params.epochs)
    assert curve[-1]["total"] < curve[0]["total"]
    assert all(map(torch.equal, aligned, model.aligned_projections.parameters()))
    assert mean_ndcg(scorer, targets, 10) > 0


def test_another_fusion_and_a_model_without_modalities_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown fusion 'late'; choose one of user"):
        EvidenceModel(make_config(fusion="late"))
    with pytest.raises(ValueError, match="no modality weights to infer"):
        EvidenceModel(make_config(fusion="user", modalities={}, encoder_fingerprints={}))
