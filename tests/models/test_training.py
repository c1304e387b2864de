"""The training step: what is learned from, in which order, and what stops it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.training import Objective, batches, descend, losses
from tests.models.worlds import catalogue, model, people

OBJECTIVE = Objective(
    ranking_weight=0.5,
    align_weight=0.25,
    anchor_weight=2.0,
    negatives=0,
    id_dropout=0.0,
    horizon=1,
    half_life_days=0.0,
    last_day=0,
    aligned=torch.arange(12),
    twin_cosine=0.99,
)


def test_the_order_of_batches_depends_on_seed_and_epoch_only() -> None:
    users, lengths = torch.arange(10, 30), torch.ones(20)
    orders = {
        (seed, epoch): torch.cat([*batches(users, lengths, 6, "people", seed, epoch)])
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    torch.rand(7)  # the global generator is not asked
    assert torch.equal(orders[1, 0], torch.cat([*batches(users, lengths, 6, "people", 1, 0)]))
    assert all(sorted(order.tolist()) == users.tolist() for order in orders.values())
    assert len({tuple(order.tolist()) for order in orders.values()}) == 4


@pytest.mark.parametrize("batch_of", ["people", "events"])
def test_a_batch_is_of_about_one_length(batch_of: str) -> None:
    users, lengths = torch.arange(64), torch.randint(1, 50, (64,), generator=torch.Generator().manual_seed(0))
    padded = [len(at) * int(lengths[at].max()) for at in batches(users, lengths, 4, batch_of, 1, 0)]
    assert sum(padded) < 1.25 * int(lengths.sum())
    assert padded != sorted(padded)  # but the order of the batches says nothing of it


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.sampled_from(["people", "events"]))
def test_everybody_is_in_one_batch_and_batches_are_of_as_much(counts: list[int], batch_of: str) -> None:
    users, lengths = torch.arange(len(counts)), torch.tensor(counts)
    cut = list(batches(users, lengths, 8, batch_of, 1, 0))
    assert sorted(torch.cat(cut).tolist()) == users.tolist()
    if batch_of == "people":
        assert all(len(at) <= 8 for at in cut)
    elif len(counts) <= 8 * 16:  # one pool
        fair = int(lengths.sum()) / -(-len(counts) // 8)
        assert all(abs(int(lengths[at].sum()) - fair) <= 50 for at in cut)


def test_with_enough_negatives_the_sampled_softmax_is_the_full_one() -> None:
    everybody = people((3, 8, 5, 8))
    everybody.histories.video_E.clamp_(max=8)
    everybody.seen.row_E.clamp_(max=8)
    found = {}
    for negatives in (0, 50_000):
        torch.manual_seed(1)
        objective = replace(OBJECTIVE, negatives=negatives, align_weight=0.0)
        made = model()
        total = losses(made, catalogue(), everybody, torch.arange(4), objective)["retrieval"]
        total.backward()
        found[negatives] = (total.detach(), made.fusion.id.weight.grad)
    assert torch.allclose(found[0][0], found[50_000][0], rtol=0.02)
    assert torch.allclose(found[0][1], found[50_000][1], atol=0.02 * float(found[0][1].abs().max()))


@pytest.mark.parametrize("fusion", ["uniform", "user"])
@pytest.mark.parametrize("negatives", [0, 20])
def test_scores_that_are_inner_products_give_the_same_loss_and_gradients(
    fusion: str, negatives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = replace(catalogue(), born_V=torch.arange(12) // 4)
    objective, found = replace(OBJECTIVE, negatives=negatives), []
    for products in (True, False):
        made = model(fusion=fusion)
        if not products:
            monkeypatch.setattr(made, "products", lambda interest, items: None)
        torch.manual_seed(1)
        total = losses(made, videos, people(), torch.arange(4), objective)["total"]
        total.backward()
        found.append((total.detach(), [p.grad for p in made.parameters() if p.grad is not None]))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-5)
    for mine, theirs in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_a_step_with_few_negatives_computes_few_videos() -> None:
    made, videos, looked = model(), catalogue(), []
    items = made.items
    made.items = lambda some, dropped: looked.append(len(some.id_row_V)) or items(some, dropped)  # type: ignore[method-assign,func-returns-value]
    losses(made, videos, people((0, 1, 1, 1)), torch.arange(4), replace(OBJECTIVE, negatives=2))
    assert looked[0] <= 5 < len(videos.id_row_V)


def test_the_total_is_the_weighted_sum() -> None:
    parts = losses(
        model(), catalogue(), people(), torch.arange(4), OBJECTIVE
    )  # some like what is no candidate
    expected = parts["retrieval"] + 0.5 * parts["ranking"] + 0.25 * parts["align"]
    assert torch.allclose(parts["total"], expected)


def test_where_there_is_a_champion_its_space_is_an_anchor() -> None:
    made, here = model(), model().items(catalogue()).x_VMD.detach()
    there = replace(OBJECTIVE, last_VMD=-here)
    parts = losses(made, catalogue(), people(), torch.arange(4), there)
    assert float(parts["anchor"].detach()) == pytest.approx(2.0, abs=1e-5)
    expected = parts["retrieval"] + 0.5 * parts["ranking"] + 0.25 * parts["align"] + 2 * parts["anchor"]
    assert torch.allclose(parts["total"], expected)
    stayed = losses(made, catalogue(), people(), torch.arange(4), replace(OBJECTIVE, last_VMD=here))
    assert float(stayed["anchor"].detach()) == pytest.approx(0.0, abs=1e-5)


def test_the_alignment_loss_draws_only_from_the_videos_it_may_learn_from() -> None:
    objective = replace(OBJECTIVE, aligned=torch.arange(8))
    found = []
    for shift in (0.0, 5.0):
        videos = catalogue()
        for x_VF in videos.features.values():
            x_VF[8:] += shift
        found.append(losses(model(), videos, people(), torch.arange(4), objective)["align"])
    assert torch.equal(*found)


def test_videos_that_were_not_in_training_are_no_negatives() -> None:
    """A new video's features cannot change the retrieval loss, unless it is in a history."""
    made, everybody = model(), people((0, 1, 5, 8))
    everybody.histories.video_E.clamp_(max=8)
    everybody.seen.row_E.clamp_(max=8)
    found = []
    for shift in (0.0, 5.0):
        videos = catalogue()
        for x_VF in videos.features.values():
            x_VF[9:] += shift
        found.append(losses(made, videos, everybody, torch.arange(4), OBJECTIVE)["retrieval"])
    assert torch.equal(*found)


def test_what_was_not_yet_uploaded_is_no_negative() -> None:
    made, everybody = model(), people((0, 1, 5, 8))
    everybody.histories.video_E.clamp_(max=5)
    everybody.seen.row_E.clamp_(max=5)
    born_V, found = torch.zeros(12, dtype=torch.long), []
    for scale in (1.0, -1.0):  # what it looks like
        for day in (0, 10**6):
            videos = replace(catalogue(), born_V=torch.where(torch.arange(12) == 8, day, born_V))
            videos.features["visual"][8] *= scale
            found.append(
                float(losses(made, videos, everybody, torch.arange(4), OBJECTIVE)["retrieval"].detach())
            )
    assert found[0] != found[2]
    assert found[1] == found[3] < found[0]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_step(poison: float) -> None:
    made = model()
    before = {name: p.clone() for name, p in made.named_parameters()}
    optimiser = torch.optim.AdamW(made.parameters(), lr=1.0)
    weight = made.gate.linear.weight
    with pytest.raises(FloatingPointError, match=r"the loss is .* at step 7"):
        descend(made, optimiser, weight.sum() * poison, 1.0, "step 7")
    infinite_slope = (weight[0, 0] - weight[0, 0].detach()).abs().sqrt()  # 0, with a slope of ∞ · 0 = NaN
    with pytest.raises(FloatingPointError, match="a gradient is not finite at step 8"):
        descend(made, optimiser, infinite_slope, 1.0, "step 8")
    assert all(torch.equal(before[name], p) for name, p in made.named_parameters())


def test_a_step_moves_every_part_of_the_model() -> None:
    made = model().train()
    before = {name: p.clone() for name, p in made.named_parameters()}
    optimiser = torch.optim.SGD(made.parameters(), lr=0.1)
    total = losses(made, catalogue(), people((3, 8, 5, 8)), torch.arange(4), OBJECTIVE)["total"]
    descend(made, optimiser, total, 1.0, "step 1")
    learned = [(name, p) for name, p in made.named_parameters() if p.requires_grad]
    unmoved = [name for name, p in learned if torch.equal(before[name], p)]
    assert unmoved == ["fusion.project.log_scale"]  # the temperature is what align has learned


@pytest.mark.parametrize("fusion", ["attention", "uniform"])
def test_what_was_liked_a_half_life_before_counts_half(fusion: str) -> None:
    """Two people with one event each, on different days: the loss is the mean of theirs, weighed."""
    both = people((1, 1))
    both.histories.video_E[:] = torch.tensor([1, 2])
    both.histories.second_E[:] = torch.tensor([4, 7]) * 86_400
    both.histories.positive_E[:] = True

    def loss(users: list[int], half_life: float) -> float:
        torch.manual_seed(1)
        objective = replace(OBJECTIVE, half_life_days=half_life, last_day=7)
        return losses(model(fusion=fusion), catalogue(), both, torch.tensor(users), objective)[
            "retrieval"
        ].item()

    old, new = loss([0], 3.0), loss([1], 3.0)
    assert loss([0, 1], 3.0) == pytest.approx((0.5 * old + new) / 1.5, rel=1e-5)
    assert loss([0, 1], 0.0) == pytest.approx((old + new) / 2, rel=1e-5)
