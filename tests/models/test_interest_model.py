"""The whole model is causal, masks and padding change nothing, and every part is used."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.sequences import Sequences
from models.data.user_state import UserState
from models.data.users import UserProfiles
from models.interest_model import USER_INDEPENDENT_FUSIONS, InterestModel
from tests.support.model_inputs import (
    all_users,
    make_config,
    make_item_table,
    make_model,
    make_profiles,
    make_sequences,
)

ENCODERS = ("transformer", "ligr", "lstm", "hstu", "mean")
FUSIONS = ("attention", "user", "early", "late", "uniform", "cross", "hybrid", "tokens")
ENCODER_FUSION_PAIRS = [
    *((encoder, "attention") for encoder in ENCODERS),
    *(("transformer", level) for level in FUSIONS[1:]),
]


def encode(model: InterestModel, sequences: Sequences, users: torch.Tensor | None = None) -> UserState:
    users_B = all_users(sequences) if users is None else users
    profiles = make_profiles(len(sequences.offsets) - 1).select(users_B)
    return model.encode_sequence(
        sequences.padded_batch(users_B, model.config.max_length),
        profiles,
        model.encode_items(make_item_table()),
    )


def disturb(sequences: Sequences, first: int) -> Sequences:
    """Replace the events from index `first` of the flat list on, with later times."""
    other = make_sequences((1, 0, 5, 8), seed=99)
    parts = {
        name: torch.cat([getattr(sequences, name)[:first], getattr(other, name)[first:]])
        for name in (
            "video_E",
            "hour_E",
            "watch_ratio_E",
            "behaviour_EA",
            "sentiment_E",
            "positive_E",
            "context_EJ",
        )
    }
    later = sequences.timestamp_E.clone()
    later[first:] += 12345
    return replace(sequences, timestamp_E=later, **parts)


@pytest.mark.parametrize(("encoder", "fusion"), ENCODER_FUSION_PAIRS)
@settings(max_examples=15)
@given(cut=st.integers(0, 8))
def test_later_events_do_not_change_an_earlier_state(encoder: str, fusion: str, cut: int) -> None:
    model, sequences = make_model(encoder=encoder, fusion=fusion), make_sequences()
    start = int(sequences.offsets[3])
    before, after = encode(model, sequences), encode(model, disturb(sequences, start + cut))
    for name in ("z_ND", "u_NW", "modality_z_NMD"):
        was, now = getattr(before, name), getattr(after, name)
        if was is None:
            continue
        assert torch.equal(was[3, : cut + 1], now[3, : cut + 1])
        if cut < 8 and was.any():
            assert not torch.equal(was[3, cut + 1 :], now[3, cut + 1 :])


@pytest.mark.parametrize(("encoder", "fusion"), ENCODER_FUSION_PAIRS)
def test_batch_padding_does_not_change_the_user_state(encoder: str, fusion: str) -> None:
    model, sequences = make_model(encoder=encoder, fusion=fusion), make_sequences()
    together = model.encode_user(
        sequences.padded_batch(all_users(sequences), 8),
        make_profiles(),
        model.encode_items(make_item_table()),
    )
    for user in range(4):
        alone_B = torch.tensor([user])
        alone = model.encode_user(
            sequences.padded_batch(alone_B, 8),
            make_profiles().select(alone_B),
            model.encode_items(make_item_table()),
        )
        assert torch.allclose(together.z_ND[user], alone.z_ND[0], atol=1e-5)
        assert torch.allclose(together.u_NW[user], alone.u_NW[0], atol=1e-5)


@pytest.mark.parametrize(("encoder", "fusion"), ENCODER_FUSION_PAIRS)
def test_padding_values_change_nothing(encoder: str, fusion: str) -> None:
    model, sequences = make_model(encoder=encoder, fusion=fusion), make_sequences()
    batch, items = sequences.padded_batch(all_users(sequences), 8), model.encode_items(make_item_table())
    generator, changed = torch.Generator().manual_seed(3), {}
    for name, value in vars(batch).items():
        if name in ("users_B", "mask_BT"):
            continue
        other = torch.randint(2, value.shape, generator=generator).to(value.dtype)
        changed[name] = value.clone()
        changed[name][~batch.mask_BT] = other[~batch.mask_BT]
    filled = replace(batch, **changed)
    assert torch.equal(
        model.encode_user(batch, make_profiles(), items).z_ND,
        model.encode_user(filled, make_profiles(), items).z_ND,
    )


def test_the_profile_decides_for_an_empty_sequence() -> None:
    model, sequences = make_model(), make_sequences((0, 0, 0))
    items, batch = model.encode_items(make_item_table()), sequences.padded_batch(all_users(sequences), 8)
    z_ND = model.encode_user(
        batch, UserProfiles(torch.tensor([[1], [2], [1]]), torch.zeros(3, 1)), items
    ).z_ND
    assert torch.equal(z_ND[0], z_ND[2])
    assert not torch.allclose(z_ND[0], z_ND[1])


def test_comment_sentiment_changes_the_user_state() -> None:
    sequences, model = make_sequences((3,)), make_model()
    states = []
    for sentiment in (0.8, -0.8, 0.0, torch.nan):
        changed = replace(sequences, sentiment_E=torch.tensor([torch.nan, sentiment, torch.nan]))
        states.append(
            model.encode_user(
                changed.padded_batch(all_users(changed), 8),
                make_profiles(1),
                model.encode_items(make_item_table()),
            ).z_ND
        )
    assert len({tuple(z_ND[0].tolist()) for z_ND in states}) == 4


def test_context_changes_the_user_state_and_an_unknown_one_does_not() -> None:
    sequences, model, states = make_sequences((3,)), make_model(), []
    with torch.no_grad():
        model.event_embedding.context_embeddings[0].weight[0] = 0.0  # type: ignore[union-attr, operator]
    for code in (0, 1, 2):
        changed = replace(sequences, context_EJ=torch.full((3, 1), code))
        states.append(
            model.encode_user(
                changed.padded_batch(all_users(changed), 8),
                make_profiles(1),
                model.encode_items(make_item_table()),
            ).z_ND
        )
    without_context = make_model(contexts={})
    without_context.load_state_dict(
        {k: v for k, v in model.state_dict().items() if "context_embeddings" not in k}
    )
    batch = replace(sequences, context_EJ=None).padded_batch(all_users(sequences), 8)
    expected = without_context.encode_user(
        batch, make_profiles(1), without_context.encode_items(make_item_table())
    )
    assert torch.equal(states[0], expected.z_ND)
    assert len({tuple(z_ND[0].tolist()) for z_ND in states}) == 3


def test_item_features_change_ranking_but_not_retrieval() -> None:
    model, sequences, outputs = make_model(), make_sequences(), []
    for number in (1.0, 0.0, torch.nan):
        videos = replace(make_item_table(), item_features_VQ=torch.full((12, 2), number))
        items = model.encode_items(videos)
        user_state = model.encode_user(
            sequences.padded_batch(all_users(sequences), 8), make_profiles(), items
        )
        outputs.append(
            (
                model.behaviour_logits(user_state, items, torch.arange(4)),
                model.score_items(user_state, items)[0],
            )
        )
    ranked, retrieved = zip(*outputs, strict=True)
    assert len({tuple(logit_NH.flatten().tolist()) for logit_NH in ranked}) == 3
    assert torch.equal(retrieved[0], retrieved[1])
    assert torch.equal(retrieved[0], retrieved[2])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_scores_are_inner_products_unless_weights_depend_on_user_and_video(
    fusion: str,
) -> None:
    model, sequences = make_model(fusion=fusion).eval(), make_sequences()
    items = model.encode_items(make_item_table())
    assert len(items.has_VM.unique(dim=0)) > 2  # videos that lack a modality, and one that lacks all
    user_state = model.encode_user(sequences.padded_batch(all_users(sequences), 8), make_profiles(), items)
    pair = model.inner_product_vectors(user_state, items)
    assert (pair is None) == (fusion in ("attention", "late", "hybrid"))
    if pair is not None:
        q_NF, w_VX = pair
        assert torch.allclose(q_NF @ w_VX.T, model.score_items(user_state, items)[0], atol=1e-5)
        assert w_VX[:, -1].equal(items.bias_V)


def test_without_profile_all_empty_sequences_have_the_same_embedding() -> None:
    model, sequences = make_model(profile=False), make_sequences((0, 0))
    z_ND = model.encode_user(
        sequences.padded_batch(all_users(sequences), 8),
        make_profiles(2),
        model.encode_items(make_item_table()),
    ).z_ND
    assert torch.equal(z_ND[0], z_ND[1])


@pytest.mark.parametrize("encoder", ["transformer", "ligr", "hstu"])
def test_event_order_matters_only_with_positions(encoder: str) -> None:
    sequences, order = make_sequences((6,)), torch.tensor([4, 2, 0, 3, 1, 5])
    event_fields = (
        "video_E",
        "hour_E",
        "watch_ratio_E",
        "behaviour_EA",
        "sentiment_E",
        "positive_E",
        "context_EJ",
    )
    shuffled = replace(sequences, **{name: getattr(sequences, name)[order] for name in event_fields})
    for positions in (True, False):
        model = make_model(
            encoder=encoder, layers=1, positions=positions, modalities={}, encoder_fingerprints={}
        )
        items = model.encode_items(make_item_table(widths={}))
        z = [
            model.encode_user(p.padded_batch(all_users(p), 8), make_profiles(1), items).z_ND
            for p in (sequences, shuffled)
        ]
        assert torch.allclose(*z, atol=1e-5) is not positions


@pytest.mark.parametrize(("encoder", "fusion"), ENCODER_FUSION_PAIRS)
def test_every_parameter_gets_a_gradient(encoder: str, fusion: str) -> None:
    model, sequences = make_model(encoder=encoder, fusion=fusion).train(), make_sequences()
    items = model.encode_items(make_item_table())
    user_state = model.encode_sequence(
        sequences.padded_batch(all_users(sequences), 8), make_profiles(), items
    )
    score_NV, _ = model.score_items(user_state.select(torch.ones(4, 9, dtype=torch.bool)), items)
    start = user_state.select((torch.arange(4), torch.zeros(4, dtype=torch.long)))
    logits = model.behaviour_logits(start, items, torch.tensor([1, 2, 3, 4]))
    (score_NV.sum() + logits.sum()).backward()
    learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    untrained = [name for name, p in learned if p.grad is None or not p.grad.any()]
    assert untrained == ["item_fusion.projections.logit_scale"]  # the temperature, which `align` learns


def test_each_fusion_gives_other_scores_and_its_own_weights() -> None:
    sequences, score_by_fusion = make_sequences(), {}
    for fusion in FUSIONS:
        model = make_model(fusion=fusion)
        items = model.encode_items(make_item_table())
        score_NV, alpha_MNV = model.score_items(
            model.encode_user(sequences.padded_batch(all_users(sequences), 8), make_profiles(), items), items
        )
        score_by_fusion[fusion] = score_NV
        even_MNV = (items.has_VM / items.has_VM.sum(1, keepdim=True).clamp(min=1)).T[:, None, :]
        is_even = torch.allclose(alpha_MNV, even_MNV.expand_as(alpha_MNV))
        assert is_even is (fusion in USER_INDEPENDENT_FUSIONS)
    pairs = [(a, b) for a in FUSIONS for b in FUSIONS if a < b]
    assert not any(torch.allclose(score_by_fusion[a], score_by_fusion[b]) for a, b in pairs)


def test_hybrid_fusion_adds_the_fused_sequence_to_that_of_each_modality() -> None:
    hybrid, late, sequences = make_model(fusion="hybrid"), make_model(fusion="late"), make_sequences()
    late.load_state_dict(hybrid.state_dict())
    state, late_state = encode(hybrid, sequences), encode(late, sequences)
    assert state.modality_z_NMD is not None
    assert late_state.modality_z_NMD is not None
    added_NMD = state.modality_z_NMD - late_state.modality_z_NMD
    assert torch.allclose(added_NMD, state.z_ND.unsqueeze(2).expand_as(added_NMD), atol=1e-5)
    assert not torch.allclose(state.z_ND, late_state.z_ND)


@pytest.mark.parametrize("fusion", ["late", "hybrid", "cross", "tokens"])
def test_without_modalities_every_level_scores_by_id(fusion: str) -> None:
    model, sequences = make_model(fusion=fusion, modalities={}, encoder_fingerprints={}), make_sequences()
    items = model.encode_items(make_item_table(widths={}))
    user_state = model.encode_user(sequences.padded_batch(all_users(sequences), 8), make_profiles(), items)
    assert user_state.modality_z_NMD is None
    assert model.score_items(user_state, items)[0].isfinite().all()


@pytest.mark.parametrize(
    "switch", [{"normalisation": "adaptive"}, {"reliability": True}, {"token_budget": 3}], ids=str
)
def test_a_switch_that_is_off_adds_no_tensor(switch: dict) -> None:
    default, switched = (
        InterestModel(make_config(item_attributes={"category": ["x"]}, **changes)).state_dict()
        for changes in ({}, switch)
    )
    assert default.keys() < switched.keys()
    for part in ("normalisation", "reliability", "truncation"):
        assert not any(part in name for name in default)


def test_unknown_names_and_indivisible_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown fusion 'middle'"):
        InterestModel(make_config(fusion="middle"))
    with pytest.raises(ValueError, match="unknown encoder 'gru'"):
        InterestModel(make_config(encoder="gru"))
    with pytest.raises(ValueError, match="width 8 cannot be split among 3"):
        InterestModel(make_config(heads=3))


def test_initial_scores_follow_popularity() -> None:
    torch.manual_seed(0)
    model, sequences = InterestModel(make_config()), make_sequences()
    model.item_fusion.init_from_statistics(torch.ones(9, dtype=torch.long), torch.arange(9) ** 2)
    items = model.eval().encode_items(make_item_table())
    user_state = model.encode_user(sequences.padded_batch(all_users(sequences), 8), make_profiles(), items)
    score_BV, _ = model.score_items(user_state, items)
    deviation_BV = score_BV - items.bias_V
    assert 0 < deviation_BV.std() < 0.25 * items.bias_V.std()


@pytest.mark.parametrize(("encoder", "fusion"), ENCODER_FUSION_PAIRS)
def test_empty_sequences_differ_by_profile_only(encoder: str, fusion: str) -> None:
    model, sequences = make_model(encoder=encoder, fusion=fusion), make_sequences()
    empty_batch = sequences.padded_batch(torch.tensor([0, 0]), 8)
    items = model.encode_items(make_item_table())
    profiles = make_profiles().select(torch.tensor([1, 2]))
    before = model.encode_user(empty_batch, profiles, items).z_ND
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(torch.randn(parameter.shape))
    assert torch.equal(model.encode_user(empty_batch, profiles, items).z_ND, before)
    assert not torch.equal(before[0], before[1])


def test_modality_preference_uses_events_beyond_max_length() -> None:
    model, sequences = make_model(max_length=4), make_sequences()
    batch, items = sequences.padded_batch(all_users(sequences), 8), model.encode_items(make_item_table())
    u_BSW = model.encode_preferences(batch, make_profiles(), items)
    assert u_BSW.shape == (4, 9, 8 + 3)
    assert not torch.equal(u_BSW[3, 8], u_BSW[3, 4])
