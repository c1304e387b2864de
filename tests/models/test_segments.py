from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.segments import (
    FINISHED,
    SegmentCatalogue,
    SegmentInterest,
    Views,
    intra_video_loss,
    position_only,
    skip_metrics,
    skip_ranks,
    there,
)

LENGTHS = torch.tensor([3, 5, 1])
N = 5


def _catalogue(seed: int = 0) -> SegmentCatalogue:
    torch.manual_seed(seed)
    has_VN = torch.arange(N) < LENGTHS[:, None]
    return SegmentCatalogue({"visual": torch.randn(3, N, 4)}, {"visual": has_VN}, LENGTHS)


def _views(watched: list[list[tuple[int, int]]], video: list[int], left: list[int]) -> Views:
    M = 4
    table = torch.zeros(len(video), M, 2, dtype=torch.long)
    for row, own in enumerate(watched):
        for i, pair in enumerate(own):
            table[row, i] = torch.tensor(pair)
    length_B = torch.tensor([len(own) for own in watched])
    return Views(
        user_B=torch.tensor([1] * len(video)),
        video_B=torch.tensor(video),
        id_B=torch.tensor(video) + 1,
        left_B=torch.tensor(left),
        watched_BM2=table,
        mask_BM=torch.arange(M) < length_B[:, None],
        ended_BM=torch.zeros(len(video), M, dtype=torch.bool),
    )


def _model(seed: int = 0) -> SegmentInterest:
    torch.manual_seed(seed)
    model = SegmentInterest({"visual": 4}, users=2, videos=3, max_segments=N, width=8).eval()
    with torch.no_grad():
        model.together.fill_(0.5)
    return model


VIEWS = _views([[(1, 0), (1, 1)], [], [(0, 2)]], video=[0, 1, 2], left=[1, 4, FINISHED])


def test_what_stands_beyond_a_videos_end_cannot_matter():
    catalogue, other = _catalogue(), _catalogue()
    for v, length in enumerate(LENGTHS):
        other.features["visual"][v, length:] = torch.nan_to_num(torch.tensor(float("inf")))
    real_BN = there(VIEWS, catalogue)
    model = _model()
    torch.testing.assert_close(model(VIEWS, catalogue)[real_BN], model(VIEWS, other)[real_BN], rtol=0, atol=0)


def test_what_is_not_in_the_history_cannot_matter():
    other = VIEWS.take(torch.arange(3))
    other.watched_BM2[~other.mask_BM] = torch.tensor([1, 3])
    model, catalogue = _model(), _catalogue()
    torch.testing.assert_close(model(VIEWS, catalogue), model(other, catalogue), rtol=0, atol=0)


def test_where_the_person_left_before_matters():
    model, catalogue = _model(), _catalogue()
    left = replace(VIEWS, ended_BM=VIEWS.mask_BM)
    assert not torch.allclose(model(VIEWS, catalogue)[0], model(left, catalogue)[0])


def test_what_was_watched_before_matters():
    other = _views([[(0, 0), (2, 0)], [], [(0, 2)]], video=[0, 1, 2], left=[1, 4, FINISHED])
    model, catalogue = _model(), _catalogue()
    assert not torch.allclose(model(VIEWS, catalogue)[0], model(other, catalogue)[0])
    torch.testing.assert_close(model(VIEWS, catalogue)[1], model(other, catalogue)[1])


def test_every_layer_counts_also_the_last():
    model, catalogue = _model(), _catalogue()
    before = model(VIEWS, catalogue)
    for side in ("id", "visual"):
        with torch.no_grad():
            model.layers[side][-1].feed[-1].weight.mul_(3)
        after = model(VIEWS, catalogue)
        assert not torch.allclose(before, after)
        before = after


def test_every_parameter_that_is_meant_to_learn_gets_a_gradient():
    model, catalogue = _model(), _catalogue()
    intra_video_loss(model(VIEWS, catalogue), VIEWS.left_B, there(VIEWS, catalogue)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_loss_lowers_the_segment_left_and_raises_the_videos_others():
    p_BN = torch.zeros(3, N, requires_grad=True)
    intra_video_loss(p_BN, VIEWS.left_B, there(VIEWS, _catalogue())).backward()
    gradient = p_BN.grad
    assert gradient is not None
    assert gradient[0, 1] > 0  # descent lowers it
    assert (gradient[0, [0, 2]] < 0).all()
    assert not gradient[0, 3:].any()  # padding
    assert not gradient[2].any()  # watched to its end


def test_a_batch_of_finished_views_gives_no_loss_and_no_gradient():
    p_BN = torch.randn(1, N, requires_grad=True)
    loss = intra_video_loss(p_BN, torch.tensor([FINISHED]), torch.ones(1, N).bool())
    loss.backward()
    assert loss.item() == 0
    assert p_BN.grad is not None
    assert not p_BN.grad.any()


def test_ranks_are_among_the_videos_own_segments_and_ties_go_to_the_earlier():
    p_BN = torch.tensor([[0.5, 0.5, 0.9, -9.0, -9.0], [0.1, 0.2, 0.3, 0.4, 0.0], [9.0, 0, 0, 0, 0]])
    ranks = skip_ranks(p_BN, torch.tensor([1, 4, FINISHED]), there(VIEWS, _catalogue()))
    assert ranks.tolist() == [1, 0]


def test_hits_and_gains_of_known_ranks():
    figures = skip_metrics(torch.tensor([0, 1, 4, 10]))
    assert figures["hr@1"].tolist() == [1, 0, 0, 0]
    assert figures["hr@5"].tolist() == [1, 1, 1, 0]
    assert figures["ndcg@10"].tolist() == pytest.approx([1, 0.6309, 0.3869, 0], abs=1e-4)


def test_the_position_baseline_puts_first_where_most_training_views_ended():
    views = _views([[]] * 4, video=[1] * 4, left=[2, 2, 0, FINISHED])
    assert position_only(views, N).tolist() == [-1, 0, -2, 0, 0]


@settings(max_examples=50)
@given(st.integers(1, N), st.integers(0, 1000))
def test_a_random_scorer_hits_as_often_as_chance_says(length, seed):
    """Padding that took part would make it hit less often in short videos, or more with an end to find."""
    generator = torch.Generator().manual_seed(seed)
    B = 2000
    left_B = torch.randint(length, (B,), generator=generator)
    there_BN = (torch.arange(N) < length).expand(B, -1)
    ranks = skip_ranks(torch.rand(B, N, generator=generator), left_B, there_BN)
    assert int(ranks.max()) < length
    assert float((ranks == 0).float().mean()) == pytest.approx(1 / length, abs=0.06)
