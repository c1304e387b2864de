"""Segment interest: masks, gradients, metrics."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.segments import WATCHED_TO_END, SegmentInteractions, SegmentTable, SegmentViews
from models.segments.segment_interest import (
    SegmentInterest,
    exit_log_probabilities,
    exit_loss,
    expected_watch_share,
    intra_video_loss,
    position_baseline,
    skip_metrics,
    skip_probability,
    skip_ranks,
    stay_probabilities,
)

LENGTHS = torch.tensor([3, 5, 1])
MAX_SEGMENTS = 5


def _segment_table(seed: int = 0) -> SegmentTable:
    torch.manual_seed(seed)
    row_VT = torch.arange(3 * MAX_SEGMENTS).view(3, MAX_SEGMENTS)
    row_VT = row_VT.masked_fill(torch.arange(MAX_SEGMENTS) >= LENGTHS[:, None], -1)
    features = {"visual": torch.randn(3 * MAX_SEGMENTS, 4)}
    return SegmentTable(features, {"visual": row_VT}, LENGTHS, LENGTHS * 5000, torch.arange(3) + 1, 5000)


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
        exit_segment_B=torch.tensor(exits),
        history_BO2=history_BO2,
        history_mask_BO=torch.arange(max_watched) < length_B[:, None],
        history_exit_BO=torch.zeros(len(video), max_watched, dtype=torch.bool),
    )


def _make_model(seed: int = 0, num_users: int | None = 2) -> SegmentInterest:
    torch.manual_seed(seed)
    model = SegmentInterest(
        {"visual": 4}, num_users=num_users, num_videos=3, max_segments=MAX_SEGMENTS, width=8
    ).eval()
    with torch.no_grad():
        model.pair_weights.fill_(0.5)
    return model


INTERACTIONS = _interactions([[(1, 0), (1, 1)], [], [(0, 2)]], video=[0, 1, 2], exits=[1, 4, WATCHED_TO_END])


def test_padding_segments_change_nothing():
    segment_table, other = _segment_table(), _segment_table()
    other.features["visual"].view(3, MAX_SEGMENTS, 4)[~segment_table.mask(torch.arange(3))] = 1e30
    real_BN = segment_table.mask(INTERACTIONS.video_B)
    model = _make_model()
    torch.testing.assert_close(
        model(INTERACTIONS, segment_table)[real_BN], model(INTERACTIONS, other)[real_BN], rtol=0, atol=0
    )


def test_masked_history_changes_nothing():
    history_BO2 = INTERACTIONS.history_BO2.clone()
    history_BO2[~INTERACTIONS.history_mask_BO] = torch.tensor([1, 3])
    other = replace(INTERACTIONS, history_BO2=history_BO2)
    segment_table = _segment_table()
    for model in (_make_model(), _make_model(num_users=None)):
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
        segment_table.mask(INTERACTIONS.video_B),
    ).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_loss_lowers_the_exit_segment_and_raises_the_others():
    p_BT = torch.zeros(3, MAX_SEGMENTS, requires_grad=True)
    intra_video_loss(
        p_BT, INTERACTIONS.exit_segment_B, _segment_table().mask(INTERACTIONS.video_B)
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
        p_BT, torch.tensor([1, 4, WATCHED_TO_END]), _segment_table().mask(INTERACTIONS.video_B)
    )
    assert ranks.tolist() == [1, 0]


def test_skip_metrics_of_known_ranks():
    figures = skip_metrics(torch.tensor([0, 1, 4, 10]))
    assert figures["hr@1"].tolist() == [1, 0, 0, 0]
    assert figures["hr@5"].tolist() == [1, 1, 1, 0]
    assert figures["ndcg@10"].tolist() == pytest.approx([1, 0.6309, 0.3869, 0], abs=1e-4)


def test_the_position_baseline_counts_how_views_ended():
    exit_segment_E = torch.tensor([2, 2, 0, WATCHED_TO_END])
    nothing = torch.zeros(4, dtype=torch.long)
    views = SegmentViews(nothing, nothing, exit_segment_E, nothing, nothing, torch.zeros(0, 3).long(), 1)
    p_BT, mask_BT = position_baseline(views, MAX_SEGMENTS)[None], torch.ones(1, MAX_SEGMENTS).bool()
    assert exit_log_probabilities(p_BT, mask_BT).exp()[0].tolist() == pytest.approx(
        [2 / 10, 1 / 10, 3 / 10, 1 / 10, 1 / 10, 2 / 10]
    )


def test_without_users_the_id_branch_reads_the_videos_watched_before():
    model, segment_table = _make_model(num_users=None), _segment_table()
    other_ids = replace(segment_table, id_row_V=torch.tensor([1, 0, 3]))
    first = replace(INTERACTIONS, video_B=torch.tensor([0, 0, 0]))  # not the video whose ID changes
    before, after = model(first, segment_table), model(first, other_ids)
    assert not torch.allclose(before[0], after[0])  # this user watched video 1 before
    torch.testing.assert_close(before[1], after[1], rtol=0, atol=0)


def test_a_modality_without_vectors_changes_nothing():
    segment_table = _segment_table()
    no_rows = {"visual": torch.full_like(segment_table.row_VT["visual"], -1)}
    model = _make_model()
    torch.testing.assert_close(
        model(INTERACTIONS, replace(segment_table, features={}, row_VT={})),
        model(INTERACTIONS, replace(segment_table, row_VT=no_rows)),
    )


scores = st.lists(st.floats(-20, 20), min_size=1, max_size=6)


@given(scores, st.integers(0, 3))
def test_the_stay_curve_never_rises_and_ends_with_the_views_to_the_end(p, padding):
    p_BT = torch.tensor([p + [7.0] * padding])
    mask_BT = torch.arange(p_BT.shape[1])[None] < len(p)
    stay_T, share = stay_probabilities(p_BT, mask_BT)[0], float(expected_watch_share(p_BT, mask_BT))
    assert (stay_T.diff() <= 0).all()
    assert float(stay_T[0]) <= 1
    to_end = float(exit_log_probabilities(p_BT, mask_BT)[0, -1].exp())
    assert float(stay_T[-1]) == pytest.approx(to_end, abs=1e-5)
    assert to_end - 1e-5 <= share <= 1
    assert float(skip_probability(p_BT, mask_BT, 1.0)) == pytest.approx(1 - to_end, abs=1e-5)
    assert float(skip_probability(p_BT, mask_BT, 0.0)) == 0


@given(scores, st.floats(0, 5))
def test_more_interest_in_all_segments_raises_the_stay_curve(p, more):
    p_BT, mask_BT = torch.tensor([p]), torch.ones(1, len(p)).bool()
    before, after = stay_probabilities(p_BT, mask_BT), stay_probabilities(p_BT + more, mask_BT)
    assert (after >= before - 1e-6).all()


def test_a_video_without_segments_has_no_expected_watch():
    assert expected_watch_share(torch.zeros(1, 3), torch.zeros(1, 3).bool()).tolist() == [0.0]


def test_the_exit_loss_learns_from_views_to_the_end():
    p_BT = torch.zeros(3, MAX_SEGMENTS, requires_grad=True)
    exit_loss(p_BT, INTERACTIONS.exit_segment_B, _segment_table().mask(INTERACTIONS.video_B)).backward()
    gradient = p_BT.grad
    assert gradient is not None
    assert gradient[0, 1] > 0  # so gradient descent lowers it
    assert (gradient[0, [0, 2]] < 0).all()
    assert not gradient[0, 3:].any()  # padding
    assert gradient[2, 0] < 0  # watched to its end


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
