"""Segment interest: masks, gradients, metrics."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.segments.segment_interest import (
    WATCHED_TO_END,
    SegmentInteractions,
    SegmentInterest,
    SegmentTable,
    intra_video_loss,
    position_baseline,
    segment_mask,
    skip_metrics,
    skip_ranks,
)

LENGTHS = torch.tensor([3, 5, 1])
MAX_SEGMENTS = 5


def _segment_table(seed: int = 0) -> SegmentTable:
    torch.manual_seed(seed)
    has_VT = torch.arange(MAX_SEGMENTS) < LENGTHS[:, None]
    return SegmentTable({"visual": torch.randn(3, MAX_SEGMENTS, 4)}, {"visual": has_VT}, LENGTHS)


def _interactions(
    watched_segments: list[list[tuple[int, int]]], video: list[int], exits: list[int]
) -> SegmentInteractions:
    max_watched = 4
    history_BO2 = torch.zeros(len(video), max_watched, 2, dtype=torch.long)
    for row, segments in enumerate(watched_segments):
        for i, pair in enumerate(segments):
            history_BO2[row, i] = torch.tensor(pair)
    length_B = torch.tensor([len(segments) for segments in watched_segments])
    return SegmentInteractions(
        user_B=torch.tensor([1] * len(video)),
        video_B=torch.tensor(video),
        id_row_B=torch.tensor(video) + 1,
        exit_segment_B=torch.tensor(exits),
        history_BO2=history_BO2,
        history_mask_BO=torch.arange(max_watched) < length_B[:, None],
        history_exit_BO=torch.zeros(len(video), max_watched, dtype=torch.bool),
    )


def _make_model(seed: int = 0) -> SegmentInterest:
    torch.manual_seed(seed)
    model = SegmentInterest(
        {"visual": 4}, num_users=2, num_videos=3, max_segments=MAX_SEGMENTS, width=8
    ).eval()
    with torch.no_grad():
        model.pair_weights.fill_(0.5)
    return model


INTERACTIONS = _interactions([[(1, 0), (1, 1)], [], [(0, 2)]], video=[0, 1, 2], exits=[1, 4, WATCHED_TO_END])


def test_padding_segments_change_nothing():
    segment_table, other = _segment_table(), _segment_table()
    for v, length in enumerate(LENGTHS):
        other.features["visual"][v, length:] = torch.nan_to_num(torch.tensor(float("inf")))
    real_BN = segment_mask(INTERACTIONS, segment_table)
    model = _make_model()
    torch.testing.assert_close(
        model(INTERACTIONS, segment_table)[real_BN], model(INTERACTIONS, other)[real_BN], rtol=0, atol=0
    )


def test_masked_history_changes_nothing():
    other = INTERACTIONS.select(torch.arange(3))
    other.history_BO2[~other.history_mask_BO] = torch.tensor([1, 3])
    model, segment_table = _make_model(), _segment_table()
    torch.testing.assert_close(
        model(INTERACTIONS, segment_table), model(other, segment_table), rtol=0, atol=0
    )


def test_earlier_exits_change_the_prediction():
    model, segment_table = _make_model(), _segment_table()
    with_exits = replace(INTERACTIONS, history_exit_BO=INTERACTIONS.history_mask_BO)
    assert not torch.allclose(model(INTERACTIONS, segment_table)[0], model(with_exits, segment_table)[0])


def test_the_history_changes_the_prediction():
    other = _interactions([[(0, 0), (2, 0)], [], [(0, 2)]], video=[0, 1, 2], exits=[1, 4, WATCHED_TO_END])
    model, segment_table = _make_model(), _segment_table()
    assert not torch.allclose(model(INTERACTIONS, segment_table)[0], model(other, segment_table)[0])
    torch.testing.assert_close(model(INTERACTIONS, segment_table)[1], model(other, segment_table)[1])


def test_every_layer_changes_the_prediction():
    model, segment_table = _make_model(), _segment_table()
    before = model(INTERACTIONS, segment_table)
    for branch in ("id", "visual"):
        with torch.no_grad():
            model.layers[branch][-1].feed_forward[-1].weight.mul_(3)
        after = model(INTERACTIONS, segment_table)
        assert not torch.allclose(before, after)
        before = after


def test_every_parameter_gets_a_gradient():
    model, segment_table = _make_model(), _segment_table()
    intra_video_loss(
        model(INTERACTIONS, segment_table),
        INTERACTIONS.exit_segment_B,
        segment_mask(INTERACTIONS, segment_table),
    ).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_loss_lowers_the_exit_segment_and_raises_the_others():
    p_BT = torch.zeros(3, MAX_SEGMENTS, requires_grad=True)
    intra_video_loss(
        p_BT, INTERACTIONS.exit_segment_B, segment_mask(INTERACTIONS, _segment_table())
    ).backward()
    gradient = p_BT.grad
    assert gradient is not None
    assert gradient[0, 1] > 0  # so gradient descent lowers it
    assert (gradient[0, [0, 2]] < 0).all()
    assert not gradient[0, 3:].any()  # padding
    assert not gradient[2].any()  # watched to its end


def test_a_batch_without_exits_gives_no_loss_and_no_gradient():
    p_BT = torch.randn(1, MAX_SEGMENTS, requires_grad=True)
    loss = intra_video_loss(p_BT, torch.tensor([WATCHED_TO_END]), torch.ones(1, MAX_SEGMENTS).bool())
    loss.backward()
    assert loss.item() == 0
    assert p_BT.grad is not None
    assert not p_BT.grad.any()


def test_skip_ranks_are_within_the_video_and_ties_go_to_the_earlier():
    p_BT = torch.tensor([[0.5, 0.5, 0.9, -9.0, -9.0], [0.1, 0.2, 0.3, 0.4, 0.0], [9.0, 0, 0, 0, 0]])
    ranks = skip_ranks(
        p_BT, torch.tensor([1, 4, WATCHED_TO_END]), segment_mask(INTERACTIONS, _segment_table())
    )
    assert ranks.tolist() == [1, 0]


def test_skip_metrics_of_known_ranks():
    figures = skip_metrics(torch.tensor([0, 1, 4, 10]))
    assert figures["hr@1"].tolist() == [1, 0, 0, 0]
    assert figures["hr@5"].tolist() == [1, 1, 1, 0]
    assert figures["ndcg@10"].tolist() == pytest.approx([1, 0.6309, 0.3869, 0], abs=1e-4)


def test_the_position_baseline_ranks_by_exit_frequency():
    interactions = _interactions([[]] * 4, video=[1] * 4, exits=[2, 2, 0, WATCHED_TO_END])
    assert position_baseline(interactions, MAX_SEGMENTS).tolist() == [-1, 0, -2, 0, 0]


@settings(max_examples=50)
@given(st.integers(1, MAX_SEGMENTS), st.integers(0, 1000))
def test_a_random_scorer_hits_at_chance(length, seed):
    """Padding must not take part. It would lower the hits in short videos, or raise them."""
    generator = torch.Generator().manual_seed(seed)
    B = 2000
    exit_segment_B = torch.randint(length, (B,), generator=generator)
    mask_BT = (torch.arange(MAX_SEGMENTS) < length).expand(B, -1)
    ranks = skip_ranks(torch.rand(B, MAX_SEGMENTS, generator=generator), exit_segment_B, mask_BT)
    assert int(ranks.max()) < length
    assert float((ranks == 0).float().mean()) == pytest.approx(1 / length, abs=0.06)
