"""Ranking heads: labels, initial rates, calibration, re-ranking."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models.data.targets import BEHAVIOUR_HEADS, behaviour_labels
from models.ranking.heads import RankingHeads, platt_scaling, rerank_value
from tests.support.model_inputs import (
    BEHAVIOURS,
    all_users,
    make_item_table,
    make_model,
    make_profiles,
    make_sequences,
)

WEIGHTS = {"complete": 0.5, "like": 1.0, "comment": 0.0, "share": 0.0, "follow": 0.0, "skip": -1.0}


def test_labels_use_the_watch_ratio_where_known() -> None:
    watch_ratio_N = torch.tensor([0.97, 0.1, 0.0])
    known_N = torch.tensor([True, True, False])
    behaviour_NA = torch.zeros(3, len(BEHAVIOURS), dtype=torch.bool)
    behaviour_NA[2, BEHAVIOURS.index("shared")] = True
    label_NH, known_NH = behaviour_labels(
        watch_ratio_N, known_N, behaviour_NA, BEHAVIOURS, skip_watch_ratio=0.2
    )
    positive_heads = [{BEHAVIOUR_HEADS[h] for h in row.nonzero().flatten()} for row in label_NH & known_NH]
    assert positive_heads == [{"complete"}, {"skip"}, {"share"}]
    assert {BEHAVIOUR_HEADS[h] for h in (~known_NH[2]).nonzero().flatten()} == {"complete", "skip"}


def test_platt_scaling_is_logistic_regression_on_the_logit() -> None:
    torch.manual_seed(0)
    logit_N = torch.randn(4000, dtype=torch.float64)
    label_N = (torch.rand(4000) < torch.sigmoid(0.4 * logit_N - 1.5)).double()
    fitted = LogisticRegression(C=1e9).fit(logit_N[:, None].numpy(), label_N.numpy())
    scale, shift = platt_scaling(logit_N, label_N)
    assert (scale, shift) == pytest.approx((fitted.coef_[0, 0], fitted.intercept_[0]), abs=0.01)


def test_an_inverted_head_is_scaled_to_0() -> None:
    logit_N = torch.linspace(-3, 3, 400, dtype=torch.float64)
    label_N = (logit_N < -1.5).double()
    scale, shift = platt_scaling(logit_N, label_N)
    assert scale == 0.0
    assert torch.sigmoid(torch.tensor(shift)) == pytest.approx(0.25, abs=0.01)


def test_calibration_is_idempotent_and_needs_labels() -> None:
    torch.manual_seed(0)
    heads = RankingHeads(4, 0.0, 0, 0).eval()
    known_NH = torch.ones(500, len(BEHAVIOUR_HEADS), dtype=torch.bool)
    inputs = torch.randn(500, 4), torch.randn(500, 4), torch.full((500,), -1), torch.zeros(500, 0)
    label_NH = torch.rand(500, len(BEHAVIOUR_HEADS)) < 0.1
    label_NH[:, 1] = torch.arange(500) < 5
    with torch.no_grad():
        heads.calibrate(heads(*inputs), label_NH, known_NH)
        once = heads.scale_H.clone(), heads.shift_H.clone()
        assert (heads.scale_H[1], heads.shift_H[1]) == (1.0, 0.0)
        assert torch.sigmoid(heads(*inputs))[:, 0].mean() == pytest.approx(0.1, abs=0.03)
        heads.calibrate(heads(*inputs), label_NH, known_NH)
    assert torch.allclose(once[0], heads.scale_H, rtol=0.02)
    assert torch.allclose(once[1], heads.shift_H, atol=0.02)


def test_heads_start_from_smoothed_rates_per_video() -> None:
    """The prior counts as 10 interactions at the mean rate. Unknown labels do not count."""
    heads = RankingHeads(4, 0.0, 0, num_videos=2)
    row_E = torch.tensor([0, 0, 0, 1, -1])  # the last video has no ID row and counts for the average only
    label_EH = torch.zeros(5, len(BEHAVIOUR_HEADS), dtype=torch.bool)
    label_EH[:3] = True
    known_EH = torch.ones(5, len(BEHAVIOUR_HEADS), dtype=torch.bool)
    known_EH[2, BEHAVIOUR_HEADS.index("skip")] = False
    heads.init_from_statistics(row_E, label_EH, known_EH)
    like, skip = BEHAVIOUR_HEADS.index("like"), BEHAVIOUR_HEADS.index("skip")
    average = heads.logits.bias.sigmoid()
    assert average[[like, skip]].tolist() == pytest.approx([4 / 7, 3 / 6])
    rate_IH = (heads.item_log_odds.weight + heads.logits.bias).sigmoid()
    assert rate_IH[:, like].tolist() == pytest.approx([(3 + 40 / 7) / 13, (40 / 7) / 11])
    assert rate_IH[:, skip].tolist() == pytest.approx([(2 + 5) / 12, 5 / 11])


def test_item_log_odds_change_the_logits_of_their_video_only() -> None:
    heads = RankingHeads(4, 0.0, 0, num_videos=2).eval()
    inputs = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([1, 0, -1]), torch.zeros(3, 0)
    before_NH = heads(*inputs)
    with torch.no_grad():
        heads.item_log_odds.weight[1] += 2.0
    assert torch.allclose(heads(*inputs) - before_NH, torch.tensor([[2.0], [0.0], [0.0]]), atol=1e-6)


def test_rerank_value_is_a_weighted_sum_clipped_at_0() -> None:
    p_NH = torch.tensor([[1.0, 1.0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1], [0.5, 0.5, 0, 0, 0, 0.5]])
    weights = {**WEIGHTS, "negative_comments": -0.5}
    assert rerank_value(p_NH, torch.tensor([0.0, 1.0, 0.5]), weights).tolist() == pytest.approx(
        [3.0, 0.0, 1.5]
    )


def test_reranking_reorders_candidates_only() -> None:
    model, sequences = make_model(), make_sequences()
    items = model.encode_items(make_item_table())
    user_state = model.encode_user(sequences.padded_batch(all_users(sequences), 8), make_profiles(), items)
    score_NV = model.score_items(user_state, items)[0]
    score_NV[:, 3] = -torch.inf
    reranked_NV = model.rerank(user_state, items, score_NV)
    best_NC, first_NC = (s.topk(4, 1).indices.sort(1).values for s in (score_NV, reranked_NV))
    assert torch.equal(best_NC, first_NC)
    assert torch.isinf(reranked_NV[:, 3]).all()
    is_candidate_NV = torch.zeros_like(score_NV, dtype=torch.bool).scatter(1, best_NC, True)
    assert torch.equal(reranked_NV[~is_candidate_NV], score_NV[~is_candidate_NV])
    assert (reranked_NV[is_candidate_NV] > score_NV[is_candidate_NV]).all()


def test_reranking_without_candidates_changes_nothing() -> None:
    sequences, weights = make_sequences(), {**WEIGHTS, "candidates": 0, "negative_comments": -0.5}
    for rerank in ({}, weights):
        model = make_model(rerank=rerank)
        items = model.encode_items(make_item_table())
        user_state = model.encode_user(
            sequences.padded_batch(all_users(sequences), 8), make_profiles(), items
        )
        score_NV = model.score_items(user_state, items)[0]
        assert torch.equal(model.rerank(user_state, items, score_NV), score_NV)


def test_negative_comments_lower_the_score() -> None:
    sequences, scores = make_sequences(), []
    for weight in (0.0, -1.0):
        model = make_model(rerank={**WEIGHTS, "candidates": 12, "negative_comments": weight})
        videos = make_item_table()
        videos.item_features_VQ[:, 0] = torch.tensor([-0.8, 0.8, torch.nan]).repeat(4)
        items = model.encode_items(videos)
        user_state = model.encode_user(
            sequences.padded_batch(all_users(sequences), 8), make_profiles(), items
        )
        scores.append(model.rerank(user_state, items, model.score_items(user_state, items)[0]))
    lost_V = (scores[0] - scores[1])[1]
    assert torch.allclose(lost_V - lost_V[1], torch.tensor([0.8, 0.0, 0.0]).repeat(4), atol=1e-5)
