"""What counts as having happened."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models.ranking import HEADS, RankingHeads, outcomes, platt, worth
from tests.models.worlds import BEHAVIOURS, catalogue, everybody, histories, model, profiles

WEIGHTS = {"complete": 0.5, "like": 1.0, "comment": 0.0, "share": 0.0, "follow": 0.0, "skip": -1.0}


def test_outcomes_come_from_the_watched_share_where_known_and_from_the_log_always() -> None:
    ratio_N = torch.tensor([0.97, 0.1, 0.0])
    known_N = torch.tensor([True, True, False])
    did_NA = torch.zeros(3, len(BEHAVIOURS), dtype=torch.bool)
    did_NA[2, BEHAVIOURS.index("shared")] = True
    label_NH, there_NH = outcomes(ratio_N, known_N, did_NA, BEHAVIOURS, skip_below=0.2)
    happened = [{HEADS[h] for h in row.nonzero().flatten()} for row in label_NH & there_NH]
    assert happened == [{"complete"}, {"skip"}, {"share"}]
    assert {HEADS[h] for h in (~there_NH[2]).nonzero().flatten()} == {"complete", "skip"}


def test_platt_scaling_is_logistic_regression_on_the_logit() -> None:
    torch.manual_seed(0)
    logit_N = torch.randn(4000, dtype=torch.float64)
    label_N = (torch.rand(4000) < torch.sigmoid(0.4 * logit_N - 1.5)).double()
    fitted = LogisticRegression(C=1e9).fit(logit_N[:, None].numpy(), label_N.numpy())
    scale, shift = platt(logit_N, label_N)
    assert (scale, shift) == pytest.approx((fitted.coef_[0, 0], fitted.intercept_[0]), abs=0.01)


def test_a_head_that_is_upside_down_is_not_believed() -> None:
    logit_N = torch.linspace(-3, 3, 400, dtype=torch.float64)
    label_N = (logit_N < -1.5).double()
    scale, shift = platt(logit_N, label_N)
    assert scale == 0.0
    assert torch.sigmoid(torch.tensor(shift)) == pytest.approx(0.25, abs=0.01)


def test_calibrating_twice_changes_nothing_and_few_labels_change_nothing_at_all() -> None:
    torch.manual_seed(0)
    heads, known_NH = RankingHeads(4, 0.0, 0, 0).eval(), torch.ones(500, len(HEADS), dtype=torch.bool)
    inputs = torch.randn(500, 4), torch.randn(500, 4), torch.full((500,), -1), torch.zeros(500, 0)
    label_NH = torch.rand(500, len(HEADS)) < 0.1
    label_NH[:, 1] = torch.arange(500) < 5
    with torch.no_grad():
        heads.calibrate(heads(*inputs), label_NH, known_NH)
        once = heads.scale_H.clone(), heads.shift_H.clone()
        assert (heads.scale_H[1], heads.shift_H[1]) == (1.0, 0.0)
        assert torch.sigmoid(heads(*inputs))[:, 0].mean() == pytest.approx(0.1, abs=0.03)
        heads.calibrate(heads(*inputs), label_NH, known_NH)
    assert torch.allclose(once[0], heads.scale_H, rtol=0.02)
    assert torch.allclose(once[1], heads.shift_H, atol=0.02)


def test_heads_begin_with_how_often_each_behaviour_followed_at_each_video() -> None:
    """By hand: 10 viewings at the average rate beside the video's own; what is not known does not count."""
    heads = RankingHeads(4, 0.0, 0, videos=2)
    row_E = torch.tensor([0, 0, 0, 1, -1])  # the last: of a video without an ID row, for the average only
    label_EH = torch.zeros(5, len(HEADS), dtype=torch.bool)
    label_EH[:3] = True
    known_EH = torch.ones(5, len(HEADS), dtype=torch.bool)
    known_EH[2, HEADS.index("skip")] = False
    heads.start_from(row_E, label_EH, known_EH)
    like, skip = HEADS.index("like"), HEADS.index("skip")
    average = heads.logits.bias.sigmoid()
    assert average[[like, skip]].tolist() == pytest.approx([4 / 7, 3 / 6])
    at_IH = (heads.odds.weight + heads.logits.bias).sigmoid()
    assert at_IH[:, like].tolist() == pytest.approx([(3 + 40 / 7) / 13, (40 / 7) / 11])
    assert at_IH[:, skip].tolist() == pytest.approx([(2 + 5) / 12, 5 / 11])


def test_the_odds_of_a_video_move_its_own_logits_only_and_a_new_video_has_none() -> None:
    heads = RankingHeads(4, 0.0, 0, videos=2).eval()
    inputs = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([1, 0, -1]), torch.zeros(3, 0)
    before_NH = heads(*inputs)
    with torch.no_grad():
        heads.odds.weight[1] += 2.0
    assert torch.allclose(heads(*inputs) - before_NH, torch.tensor([[2.0], [0.0], [0.0]]), atol=1e-6)


def test_worth_adds_up_what_is_likely_and_is_never_below_nothing() -> None:
    p_NH = torch.tensor([[1.0, 1.0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1], [0.5, 0.5, 0, 0, 0, 0.5]])
    weights = {**WEIGHTS, "negative_comments": -0.5}
    assert worth(p_NH, torch.tensor([0.0, 1.0, 0.5]), weights).tolist() == pytest.approx([3.0, 0.0, 1.5])


def test_the_second_stage_orders_its_candidates_again_and_no_other_video_passes_them() -> None:
    made, past = model(), histories()
    items = made.items(catalogue())
    interest = made.newest(past.batch(everybody(past), 8), profiles(), items)
    score_NV = made.scores(interest, items)[0]
    score_NV[:, 3] = -torch.inf
    again_NV = made.rerank(interest, items, score_NV)
    best_NC, first_NC = (s.topk(4, 1).indices.sort(1).values for s in (score_NV, again_NV))
    assert torch.equal(best_NC, first_NC)
    assert torch.isinf(again_NV[:, 3]).all()
    there = torch.zeros_like(score_NV, dtype=torch.bool).scatter(1, best_NC, True)
    assert torch.equal(again_NV[~there], score_NV[~there])
    assert (again_NV[there] > score_NV[there]).all()


def test_without_candidates_there_is_no_second_stage() -> None:
    past, weights = histories(), {**WEIGHTS, "candidates": 0, "negative_comments": -0.5}
    for rerank in ({}, weights):
        made = model(rerank=rerank)
        items = made.items(catalogue())
        interest = made.newest(past.batch(everybody(past), 8), profiles(), items)
        score_NV = made.scores(interest, items)[0]
        assert torch.equal(made.rerank(interest, items, score_NV), score_NV)


def test_bad_comments_weigh_a_video_down_when_asked_to() -> None:
    past, found = histories(), []
    for weight in (0.0, -1.0):
        made = model(rerank={**WEIGHTS, "candidates": 12, "negative_comments": weight})
        videos = catalogue()
        videos.number_VP[:, 0] = torch.tensor([-0.8, 0.8, torch.nan]).repeat(4)
        items = made.items(videos)
        interest = made.newest(past.batch(everybody(past), 8), profiles(), items)
        found.append(made.rerank(interest, items, made.scores(interest, items)[0]))
    lost_V = (found[0] - found[1])[1]
    assert torch.allclose(lost_V - lost_V[1], torch.tensor([0.8, 0.0, 0.0]).repeat(4), atol=1e-5)
