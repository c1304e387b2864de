"""The whole model: the future never reaches the past, padding and masks never leak, every part is used."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.histories import Histories
from models.interest import Interest, InterestModel
from models.profiles import Profiles
from tests.models.worlds import catalogue, everybody, histories, model, profiles, spec

ENCODERS = ("transformer", "lstm", "hstu", "mean")
FUSIONS = ("attention", "user", "early", "late", "hybrid", "uniform")
KINDS = [
    *((encoder, "attention") for encoder in ENCODERS),
    *(("transformer", level) for level in FUSIONS[1:]),
]


def read(made: InterestModel, past: Histories, users: torch.Tensor | None = None) -> Interest:
    users_B = everybody(past) if users is None else users
    people = profiles(len(past.offsets) - 1).take(users_B)
    return made.read(past.batch(users_B, made.spec.max_length), people, made.items(catalogue()))


def disturb(past: Histories, first: int) -> Histories:
    """Other events from index `first` of the flat list on, at later times."""
    other = histories((1, 0, 5, 8), seed=99)
    parts = {
        name: torch.cat([getattr(past, name)[:first], getattr(other, name)[first:]])
        for name in ("video_E", "hour_E", "ratio_E", "did_EA", "sentiment_E", "positive_E", "context_EC")
    }
    later = past.second_E.clone()
    later[first:] += 12345
    return replace(past, second_E=later, **parts)


@pytest.mark.parametrize(("encoder", "fusion"), KINDS)
@settings(max_examples=15)
@given(cut=st.integers(0, 8))
def test_a_change_to_later_events_never_changes_an_earlier_state(encoder: str, fusion: str, cut: int) -> None:
    made, past = model(encoder=encoder, fusion=fusion), histories()
    start = int(past.offsets[3])
    before, after = read(made, past), read(made, disturb(past, start + cut))
    for name in ("z_ND", "u_NE", "own_NMD"):
        was, now = getattr(before, name), getattr(after, name)
        if was is None:
            continue
        assert torch.equal(was[3, : cut + 1], now[3, : cut + 1])
        if cut < 8 and was.any():
            assert not torch.equal(was[3, cut + 1 :], now[3, cut + 1 :])


@pytest.mark.parametrize(("encoder", "fusion"), KINDS)
def test_padding_changes_nothing(encoder: str, fusion: str) -> None:
    made, past = model(encoder=encoder, fusion=fusion), histories()
    together = made.newest(past.batch(everybody(past), 8), profiles(), made.items(catalogue()))
    for user in range(4):
        alone_B = torch.tensor([user])
        alone = made.newest(past.batch(alone_B, 8), profiles().take(alone_B), made.items(catalogue()))
        assert torch.allclose(together.z_ND[user], alone.z_ND[0], atol=1e-5)
        assert torch.allclose(together.u_NE[user], alone.u_NE[0], atol=1e-5)


@pytest.mark.parametrize(("encoder", "fusion"), KINDS)
def test_what_stands_in_the_padding_changes_nothing(encoder: str, fusion: str) -> None:
    made, past = model(encoder=encoder, fusion=fusion), histories()
    batch, items = past.batch(everybody(past), 8), made.items(catalogue())
    draw, changed = torch.Generator().manual_seed(3), {}
    for name, value in vars(batch).items():
        if name in ("users_B", "mask_BT", "share_BTM"):
            continue
        other = torch.randint(2, value.shape, generator=draw).to(value.dtype)
        changed[name] = value.clone()
        changed[name][~batch.mask_BT] = other[~batch.mask_BT]
    filled = replace(batch, **changed)
    assert torch.equal(
        made.newest(batch, profiles(), items).z_ND, made.newest(filled, profiles(), items).z_ND
    )


def test_a_person_without_a_history_is_known_by_the_profile() -> None:
    made, past = model(), histories((0, 0, 0))
    items, batch = made.items(catalogue()), past.batch(everybody(past), 8)
    z_ND = made.newest(batch, Profiles(torch.tensor([[1], [2], [1]]), torch.zeros(3, 1)), items).z_ND
    assert torch.equal(z_ND[0], z_ND[2])
    assert not torch.allclose(z_ND[0], z_ND[1])


def test_a_comment_that_means_well_is_read_unlike_one_that_does_not_and_unlike_none() -> None:
    past, made = histories((3,)), model()
    states = []
    for sentiment in (0.8, -0.8, 0.0, torch.nan):
        told = replace(past, sentiment_E=torch.tensor([torch.nan, sentiment, torch.nan]))
        states.append(made.newest(told.batch(everybody(told), 8), profiles(1), made.items(catalogue())).z_ND)
    assert len({tuple(z_ND[0].tolist()) for z_ND in states}) == 4


def test_the_moment_of_a_viewing_is_told_and_an_unknown_one_tells_nothing() -> None:
    past, made, states = histories((3,)), model(), []
    with torch.no_grad():
        made.events.contexts[0].weight[0] = 0.0  # type: ignore[union-attr, operator]
    for code in (0, 1, 2):
        told = replace(past, context_EC=torch.full((3, 1), code))
        states.append(made.newest(told.batch(everybody(told), 8), profiles(1), made.items(catalogue())).z_ND)
    blind = model(contexts={})
    blind.load_state_dict({k: v for k, v in made.state_dict().items() if "contexts" not in k})
    batch = replace(past, context_EC=None).batch(everybody(past), 8)
    untold = blind.newest(batch, profiles(1), blind.items(catalogue()))
    assert torch.equal(states[0], untold.z_ND)
    assert len({tuple(z_ND[0].tolist()) for z_ND in states}) == 3


def test_what_is_known_of_a_video_reaches_its_ranking_and_not_its_retrieval_and_unknown_is_not_average() -> (
    None
):
    made, past, told = model(), histories(), []
    for number in (1.0, 0.0, torch.nan):
        videos = replace(catalogue(), number_VP=torch.full((12, 2), number))
        items = made.items(videos)
        newest = made.newest(past.batch(everybody(past), 8), profiles(), items)
        told.append((made.rank(newest, items, torch.arange(4)), made.scores(newest, items)[0]))
    ranked, retrieved = zip(*told, strict=True)
    assert len({tuple(logit_NH.flatten().tolist()) for logit_NH in ranked}) == 3
    assert torch.equal(retrieved[0], retrieved[1])
    assert torch.equal(retrieved[0], retrieved[2])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_scores_are_inner_products_exactly_where_no_weight_depends_on_person_and_video_both(
    fusion: str,
) -> None:
    made, past = model(fusion=fusion).eval(), histories()
    items = made.items(catalogue())
    assert len(items.has_VM.unique(dim=0)) > 2  # videos that lack a modality, and one that lacks all
    interest = made.newest(past.batch(everybody(past), 8), profiles(), items)
    pair = made.products(interest, items)
    assert (pair is None) == (fusion in ("attention", "late", "hybrid"))
    if pair is not None:
        q_NX, w_VX = pair
        assert torch.allclose(q_NX @ w_VX.T, made.scores(interest, items)[0], atol=1e-5)
        assert w_VX[:, -1].equal(items.bias_V)


def test_without_a_profile_everybody_without_a_history_is_alike() -> None:
    made, past = model(profile=False), histories((0, 0))
    z_ND = made.newest(past.batch(everybody(past), 8), profiles(2), made.items(catalogue())).z_ND
    assert torch.equal(z_ND[0], z_ND[1])


@pytest.mark.parametrize("encoder", ["transformer", "hstu"])
def test_the_order_of_earlier_events_matters_exactly_when_positions_are_told(encoder: str) -> None:
    past, order = histories((6,)), torch.tensor([4, 2, 0, 3, 1, 5])
    kept = ("video_E", "hour_E", "ratio_E", "did_EA", "sentiment_E", "positive_E", "context_EC")
    mixed = replace(past, **{name: getattr(past, name)[order] for name in kept})
    for positions in (True, False):
        made = model(encoder=encoder, layers=1, positions=positions, modalities={}, fingerprints={})
        items = made.items(catalogue(widths={}))
        z = [made.newest(p.batch(everybody(p), 8), profiles(1), items).z_ND for p in (past, mixed)]
        assert torch.allclose(*z, atol=1e-5) is not positions


@pytest.mark.parametrize(("encoder", "fusion"), KINDS)
def test_every_parameter_is_trained_by_some_loss(encoder: str, fusion: str) -> None:
    made, past = model(encoder=encoder, fusion=fusion).train(), histories()
    items = made.items(catalogue())
    interest = made.read(past.batch(everybody(past), 8), profiles(), items)
    score_NV, _ = made.scores(interest.at(torch.ones(4, 9, dtype=torch.bool)), items)
    start = interest.at((torch.arange(4), torch.zeros(4, dtype=torch.long)))
    logits = made.rank(start, items, torch.tensor([1, 2, 3, 4]))
    (score_NV.sum() + logits.sum()).backward()
    learned = [(name, p) for name, p in made.named_parameters() if p.requires_grad]
    still = [name for name, p in learned if p.grad is None or not p.grad.any()]
    assert still == ["fusion.project.log_scale"]  # the temperature, which align learns


@pytest.mark.parametrize(("encoder", "fusion"), [kind for kind in KINDS if kind[0] != "lstm"])
def test_attention_is_over_past_events_only_and_says_what_the_encoder_does(encoder: str, fusion: str) -> None:
    made, past = model(encoder=encoder, fusion=fusion), histories()
    weight_BT = made.attention(past.batch(everybody(past), 8), profiles(), made.items(catalogue()))
    assert weight_BT is not None
    assert weight_BT[0].eq(0).all()
    assert weight_BT[1, 1:].eq(0).all()
    assert weight_BT[3].gt(0).all()
    assert weight_BT.sum(1).le(1 + 1e-6).all()


def test_the_levels_of_fusion_score_differently_and_weigh_as_they_should() -> None:
    past, found = histories(), {}
    for fusion in FUSIONS:
        made = model(fusion=fusion)
        items = made.items(catalogue())
        score_NV, alpha_MNV = made.scores(
            made.newest(past.batch(everybody(past), 8), profiles(), items), items
        )
        found[fusion] = score_NV
        even_MNV = (items.has_VM / items.has_VM.sum(1, keepdim=True).clamp(min=1)).T[:, None, :]
        assert torch.allclose(alpha_MNV, even_MNV.expand_as(alpha_MNV)) is (fusion in ("early", "uniform"))
    pairs = [(a, b) for a in FUSIONS for b in FUSIONS if a < b]
    assert not any(torch.allclose(found[a], found[b]) for a, b in pairs)


def test_late_fusion_without_any_modality_is_an_id_model() -> None:
    made, past = model(fusion="late", modalities={}, fingerprints={}), histories()
    items = made.items(catalogue(widths={}))
    interest = made.newest(past.batch(everybody(past), 8), profiles(), items)
    assert made.scores(interest, items)[0].isfinite().all()


def test_an_unknown_name_and_a_width_that_heads_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown fusion 'middle'"):
        InterestModel(spec(fusion="middle"))
    with pytest.raises(ValueError, match="unknown encoder 'gru'"):
        InterestModel(spec(encoder="gru"))
    with pytest.raises(ValueError, match="width 8 cannot be split among 3"):
        InterestModel(spec(heads=3))


def test_training_begins_near_popularity_and_what_is_foretold_of_the_person() -> None:
    """An untrained model ranks nearly as its biases and the person's answers so far do."""
    torch.manual_seed(0)
    made, past = InterestModel(spec()), histories()
    made.fusion.start_from(torch.ones(9, dtype=torch.long), torch.arange(9) ** 2)
    items = made.eval().items(catalogue())
    interest = made.newest(past.batch(everybody(past), 8), profiles(), items)
    score_BV, _ = made.scores(interest, items)
    away_BV = score_BV - items.bias_V
    assert 0 < away_BV.std() < 0.25 * items.bias_V.std()
    with torch.no_grad():
        made.foretold.fill_(100.0)  # type: ignore[union-attr]
    told_BV, _ = made.scores(made.newest(past.batch(everybody(past), 8), profiles(), items), items)
    assert torch.equal(told_BV[0], score_BV[0])  # nobody without a history is foretold anything
    assert (told_BV - score_BV)[1:].abs().amax(1).gt(1.0).all()


@pytest.mark.parametrize(("encoder", "fusion"), KINDS)
def test_who_has_watched_nothing_differs_from_everybody_by_the_profile_only(
    encoder: str, fusion: str
) -> None:
    made, past = model(encoder=encoder, fusion=fusion), histories()
    nobody, items = past.batch(torch.tensor([0, 0]), 8), made.items(catalogue())
    people = profiles().take(torch.tensor([1, 2]))
    before = made.newest(nobody, people, items).z_ND
    with torch.no_grad():
        for parameter in made.encoder.parameters():
            parameter.add_(torch.randn(parameter.shape))
    assert torch.equal(made.newest(nobody, people, items).z_ND, before)
    assert not torch.equal(before[0], before[1])


def test_u_reads_histories_that_are_longer_than_the_encoder_reads() -> None:
    made, past = model(max_length=4), histories()
    batch, items = past.batch(everybody(past), 8), made.items(catalogue())
    u_BSE = made.preferences(batch, profiles(), items)
    assert u_BSE.shape == (4, 9, 8 + 3)
    assert not torch.equal(u_BSE[3, 8], u_BSE[3, 4])


def test_what_a_person_goes_by_is_read_in_the_space_of_align_whatever_training_makes_of_it() -> None:
    made, past = model(fusion="user"), histories()
    made.fusion.start_from(torch.ones(9, dtype=torch.long), torch.ones(9))
    before = read(made, past)
    with torch.no_grad():
        for parameter in made.fusion.project.parameters():
            parameter.add_(torch.randn(parameter.shape))
    after = read(made, past)
    assert torch.equal(before.u_NE, after.u_NE)
    assert not torch.equal(before.z_ND, after.z_ND)
