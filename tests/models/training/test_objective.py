"""The losses of a training step, the order of batches, and the optimizer step."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.config.models import ObjectiveConfig
from core.schema import replace_nested
from models.training.batching import batches
from models.training.objective import Objective, compute_losses
from models.training.trainer import TrainingTask, optimizer_step
from tests.support.model_inputs import make_item_table, make_model, make_user_data

OBJECTIVE = Objective(
    ObjectiveConfig(
        ranking_weight=0.5,
        align_weight=0.25,
        anchor_weight=2.0,
        num_negatives=0,
        id_dropout=0.0,
        horizon=1,
        recency_half_life_days=0.0,
    ),
    last_day=0,
    alignment_rows=torch.arange(12),
    near_duplicate_cosine=0.99,
)


def test_batch_order_depends_on_seed_and_epoch_only() -> None:
    users, lengths = torch.arange(10, 30), torch.ones(20)
    orders = {
        (seed, epoch): torch.cat([*batches(users, lengths, 6, "users", seed, epoch)])
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    torch.rand(7)  # the global generator has no effect
    assert torch.equal(orders[1, 0], torch.cat([*batches(users, lengths, 6, "users", 1, 0)]))
    assert all(sorted(order.tolist()) == users.tolist() for order in orders.values())
    assert len({tuple(order.tolist()) for order in orders.values()}) == 4


@pytest.mark.parametrize("batch_by", ["users", "events"])
def test_a_batch_holds_sequences_of_similar_length(batch_by: str) -> None:
    users, lengths = torch.arange(64), torch.randint(1, 50, (64,), generator=torch.Generator().manual_seed(0))
    padded = [len(rows) * int(lengths[rows].max()) for rows in batches(users, lengths, 4, batch_by, 1, 0)]
    assert sum(padded) < 1.25 * int(lengths.sum())
    assert padded != sorted(padded)  # batches are not in order of length


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.sampled_from(["users", "events"]))
def test_batches_partition_the_users_evenly(counts: list[int], batch_by: str) -> None:
    users, lengths = torch.arange(len(counts)), torch.tensor(counts)
    user_batches = list(batches(users, lengths, 8, batch_by, 1, 0))
    assert sorted(torch.cat(user_batches).tolist()) == users.tolist()
    if batch_by == "users":
        assert all(len(rows) <= 8 for rows in user_batches)
    elif len(counts) <= 8 * 16:  # one pool
        fair = int(lengths.sum()) / -(-len(counts) // 8)
        assert all(abs(int(lengths[rows].sum()) - fair) <= 50 for rows in user_batches)


def test_many_negatives_approximate_the_full_softmax() -> None:
    user_data = make_user_data((3, 8, 5, 8))
    user_data.sequences.video_E.clamp_(max=8)
    user_data.seen.row_E.clamp_(max=8)
    results = {}
    for negatives in (0, 50_000):
        torch.manual_seed(1)
        objective = replace_nested(
            OBJECTIVE, {"settings.num_negatives": negatives, "settings.align_weight": 0.0}
        )
        model = make_model()
        loss = compute_losses(model, make_item_table(), user_data, torch.arange(4), objective)["retrieval"]
        loss.backward()
        results[negatives] = (loss.detach(), model.item_fusion.id_embedding.weight.grad)
    assert torch.allclose(results[0][0], results[50_000][0], rtol=0.02)
    assert torch.allclose(results[0][1], results[50_000][1], atol=0.02 * float(results[0][1].abs().max()))


@pytest.mark.parametrize("fusion", ["uniform", "user"])
@pytest.mark.parametrize("negatives", [0, 20])
def test_the_inner_product_path_gives_the_same_loss_and_gradients(
    fusion: str, negatives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = replace(make_item_table(), upload_day_V=torch.arange(12) // 4)
    objective, results = replace_nested(OBJECTIVE, {"settings.num_negatives": negatives}), []
    for products in (True, False):
        model = make_model(fusion=fusion)
        if not products:
            monkeypatch.setattr(model, "inner_product_vectors", lambda user_state, items: None)
        torch.manual_seed(1)
        loss = compute_losses(model, videos, make_user_data(), torch.arange(4), objective)["total"]
        loss.backward()
        results.append((loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]))
    assert torch.allclose(results[0][0], results[1][0], rtol=1e-5)
    for gradient, reference in zip(results[0][1], results[1][1], strict=True):
        assert torch.allclose(gradient, reference, atol=1e-5)


def test_few_negatives_encode_few_videos() -> None:
    model, videos, num_encoded = make_model(), make_item_table(), []
    items = model.encode_items
    model.encode_items = lambda item_table, dropped: (
        num_encoded.append(len(item_table.id_row_V)) or items(item_table, dropped)
    )  # type: ignore[method-assign,func-returns-value]
    compute_losses(
        model,
        videos,
        make_user_data((0, 1, 1, 1)),
        torch.arange(4),
        replace_nested(OBJECTIVE, {"settings.num_negatives": 2}),
    )
    assert num_encoded[0] <= 5 < len(videos.id_row_V)


def test_the_total_loss_is_the_weighted_sum() -> None:
    losses = compute_losses(make_model(), make_item_table(), make_user_data(), torch.arange(4), OBJECTIVE)
    expected = losses["retrieval"] + 0.5 * losses["ranking"] + 0.25 * losses["alignment"]
    assert torch.allclose(losses["total"], expected)


def test_the_embedding_anchor_pulls_to_the_reference() -> None:
    model, reference_VMD = make_model(), make_model().encode_items(make_item_table()).x_VMD.detach()
    moved = replace(OBJECTIVE, reference_VMD=-reference_VMD)
    losses = compute_losses(model, make_item_table(), make_user_data(), torch.arange(4), moved)
    assert float(losses["embedding_anchor"].detach()) == pytest.approx(2.0, abs=1e-5)
    expected = (
        losses["retrieval"]
        + 0.5 * losses["ranking"]
        + 0.25 * losses["alignment"]
        + 2 * losses["embedding_anchor"]
    )
    assert torch.allclose(losses["total"], expected)
    unmoved_losses = compute_losses(
        model,
        make_item_table(),
        make_user_data(),
        torch.arange(4),
        replace(OBJECTIVE, reference_VMD=reference_VMD),
    )
    assert float(unmoved_losses["embedding_anchor"].detach()) == pytest.approx(0.0, abs=1e-5)


def test_the_alignment_loss_samples_alignment_rows_only() -> None:
    objective = replace(OBJECTIVE, alignment_rows=torch.arange(8))
    losses = []
    for shift in (0.0, 5.0):
        videos = make_item_table()
        for x_VF in videos.modality_features.values():
            x_VF[8:] += shift
        losses.append(
            compute_losses(make_model(), videos, make_user_data(), torch.arange(4), objective)["alignment"]
        )
    assert torch.equal(*losses)


def test_videos_outside_training_are_no_negatives() -> None:
    """Features of a new video cannot change the retrieval loss if it is in no sequence."""
    model, user_data = make_model(), make_user_data((0, 1, 5, 8))
    user_data.sequences.video_E.clamp_(max=8)
    user_data.seen.row_E.clamp_(max=8)
    losses = []
    for shift in (0.0, 5.0):
        videos = make_item_table()
        for x_VF in videos.modality_features.values():
            x_VF[9:] += shift
        losses.append(compute_losses(model, videos, user_data, torch.arange(4), OBJECTIVE)["retrieval"])
    assert torch.equal(*losses)


def test_videos_uploaded_later_are_no_negatives() -> None:
    model, user_data = make_model(), make_user_data((0, 1, 5, 8))
    user_data.sequences.video_E.clamp_(max=5)
    user_data.seen.row_E.clamp_(max=5)
    upload_day_V, losses = torch.zeros(12, dtype=torch.long), []
    for scale in (1.0, -1.0):  # of its visual features
        for day in (0, 10**6):
            videos = replace(
                make_item_table(), upload_day_V=torch.where(torch.arange(12) == 8, day, upload_day_V)
            )
            videos.modality_features["visual"][8] *= scale
            losses.append(
                float(
                    compute_losses(model, videos, user_data, torch.arange(4), OBJECTIVE)["retrieval"].detach()
                )
            )
    assert losses[0] != losses[2]
    assert losses[1] == losses[3] < losses[0]


def make_task(model: torch.nn.Module) -> TrainingTask:
    task = TrainingTask()
    task.model = model
    return task


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_non_finite_loss_or_gradient_stops_before_the_step(factor: float) -> None:
    model = make_model()
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    weight = model.static_gate.linear.weight
    with pytest.raises(FloatingPointError, match=r"the loss is .* at step 7"):
        optimizer_step(make_task(model), optimizer, weight.sum() * factor, 1.0, "step 7")
    infinite_slope = (weight[0, 0] - weight[0, 0].detach()).abs().sqrt()  # 0, with a slope of ∞ · 0 = NaN
    with pytest.raises(FloatingPointError, match="a gradient is not finite at step 8"):
        optimizer_step(make_task(model), optimizer, infinite_slope, 1.0, "step 8")
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_a_step_updates_every_parameter() -> None:
    model = make_model().train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    total = compute_losses(
        model, make_item_table(), make_user_data((3, 8, 5, 8)), torch.arange(4), OBJECTIVE
    )["total"]
    optimizer_step(make_task(model), optimizer, total, 1.0, "step 1")
    learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    unmoved = [name for name, p in learned if torch.equal(before[name], p)]
    assert unmoved == ["item_fusion.projections.logit_scale"]  # the temperature is that of align


@pytest.mark.parametrize("fusion", ["attention", "uniform"])
def test_a_positive_one_half_life_old_counts_half(fusion: str) -> None:
    """Two users with one event each, on different days: the loss is their weighted mean."""
    user_data = make_user_data((1, 1))
    user_data.sequences.video_E[:] = torch.tensor([1, 2])
    user_data.sequences.timestamp_E[:] = torch.tensor([4, 7]) * 86_400
    user_data.sequences.positive_E[:] = True

    def loss(users: list[int], half_life: float) -> float:
        torch.manual_seed(1)
        objective = replace_nested(OBJECTIVE, {"settings.recency_half_life_days": half_life, "last_day": 7})
        return compute_losses(
            make_model(fusion=fusion), make_item_table(), user_data, torch.tensor(users), objective
        )["retrieval"].item()

    old, new = loss([0], 3.0), loss([1], 3.0)
    assert loss([0, 1], 3.0) == pytest.approx((0.5 * old + new) / 1.5, rel=1e-5)
    assert loss([0, 1], 0.0) == pytest.approx((old + new) / 2, rel=1e-5)


def test_training_reaches_every_position_of_a_full_sequence() -> None:
    user_data = make_user_data((7, 7, 7, 7))
    user_data.sequences.positive_E.fill_(True)
    user_data.sequences.video_E.copy_(torch.arange(7).repeat(4))
    user_data.seen.row_E.clamp_(max=6)
    model = make_model(max_length=6)
    compute_losses(model, make_item_table(), user_data, torch.arange(4), OBJECTIVE)["retrieval"].backward()
    assert model.event_embedding.position_embedding is not None
    gradient = model.event_embedding.position_embedding.weight.grad
    assert gradient is not None
    assert gradient.abs().sum(1).gt(0).tolist() == [True] * 7


def test_the_newest_event_of_a_full_sequence_is_a_target_only() -> None:
    user_data = make_user_data((7, 7, 7, 7))
    user_data.sequences.positive_E.fill_(True)
    changed = replace(
        user_data,
        sequences=replace(user_data.sequences, behaviour_EA=user_data.sequences.behaviour_EA.clone()),
    )
    changed.sequences.behaviour_EA[6::7] ^= True
    losses = []
    for data in (user_data, changed):
        torch.manual_seed(1)
        model = make_model(max_length=6)
        losses.append(compute_losses(model, make_item_table(), data, torch.arange(4), OBJECTIVE)["retrieval"])
    assert torch.equal(*losses)
