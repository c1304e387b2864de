"""Scoring in chunks: masks, order, and independence of the chunk size."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.data.targets import Targets
from models.evaluation import scoring
from models.evaluation.metrics import ndcg
from models.evaluation.scoring import (
    Scorer,
    average_users,
    behaviour_logits,
    mean_ndcg,
    rank_catalogue,
    rank_with_modality_weights,
    recommendation_contributions,
    score_in_chunks,
)
from models.interest_model import InterestModel
from models.ranking.final_ranker import activity_groups, age_groups
from models.retrieval import full_ranking
from models.retrieval.full_ranking import top_k
from models.sources import count_sources
from tests.support.model_inputs import make_item_table, make_model, make_user_data
from tests.support.torch_operations import TorchOperations

SCORER = Scorer(make_model(), make_item_table(), make_user_data())
USERS = torch.arange(4)


def unseen_targets() -> Targets:
    """Return one target for each user: the first video that the user has not seen."""
    row_B = (~SCORER.user_data.seen.mask(USERS, 12)).float().argmax(1)
    return Targets(USERS, row_B)


def test_chunks_do_not_change_scores_and_seen_items_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [*score_in_chunks(SCORER, USERS)]
    monkeypatch.setattr(full_ranking, "CHUNK_SCORES", 3 * 12)
    parts = [*score_in_chunks(SCORER, USERS)]
    assert [len(users) for users, _, _ in parts] == [3, 1]
    score_BV = torch.cat([score for _, score, _ in parts])
    assert torch.allclose(whole[0][1], score_BV, atol=1e-5)
    assert torch.equal(torch.isinf(score_BV), SCORER.user_data.seen.mask(USERS, 12))
    alpha_MBV = whole[0][2]
    assert torch.allclose(alpha_MBV.sum(0), SCORER.item_table.has_VM.any(1).float().expand(4, -1))


def test_ranking_gives_target_ranks_and_the_top_k() -> None:
    targets, full_V = unseen_targets(), SCORER.item_table.has_VM.all(1)
    ranked, weights = rank_with_modality_weights(score_in_chunks(SCORER, USERS), targets, 3, full_V)
    score_BV = torch.cat([score for _, score, _ in score_in_chunks(SCORER, USERS)])
    assert torch.equal(ranked.top_BK, top_k(score_BV, 3))
    plain = rank_catalogue(((users, score) for users, score, _ in score_in_chunks(SCORER, USERS)), targets, 3)
    assert torch.equal(plain.rank_P, ranked.rank_P)
    rank_B = (score_BV > score_BV[USERS, targets.row_P].unsqueeze(1)).sum(1) + 1
    assert torch.equal(ranked.rank_P, rank_B)
    assert torch.allclose(weights.alpha_BM.sum(1), torch.ones(4))
    assert weights.alpha_BKM.shape == (4, 3, 3)


def test_modality_weights_of_many_chunks_take_the_memory_of_one() -> None:
    """The mean weights of the videos are summed up, and not kept for each chunk."""
    B, V = 60, 40
    score_BV, alpha_MBV = torch.rand(B, V), torch.rand(2, B, V)
    chunks = [(torch.tensor([user]), score_BV[[user]], alpha_MBV[:, [user]]) for user in range(B)]
    targets = Targets(torch.arange(B), torch.arange(B) % V)
    with TorchOperations() as operations:
        _, weights = rank_with_modality_weights(chunks, targets, 1, torch.ones(V, dtype=torch.bool))
    torch.testing.assert_close(weights.alpha_VM, alpha_MBV.mean(1).T)
    assert operations.largest < 5 * V


def test_early_stopping_uses_the_ndcg_of_retrieval() -> None:
    targets = unseen_targets()
    retrieved = rank_catalogue(
        ((u, score) for u, score, _ in score_in_chunks(SCORER, USERS, final=False)), targets, 3
    )
    expected = ndcg(retrieved.rank_P.numpy(), targets.user_P.numpy(), 4, 10).mean()
    assert mean_ndcg(SCORER, targets, 10) == pytest.approx(expected)


def scorer_with_days(model: InterestModel | None = None, day: int | None = 20) -> Scorer:
    """Videos 0 to 2 are uploaded after day 20, and video 3 is withdrawn before it."""
    items = replace(
        SCORER.item_table,
        upload_day_V=torch.tensor([21] * 3 + [20, 19, 18, 16, 12] + [0] * 4),
        available_until_V=torch.tensor([99] * 3 + [19] + [99] * 8),
    )
    return Scorer(model or make_model(), items, SCORER.user_data, day)


def test_videos_that_are_not_available_on_the_day_are_masked() -> None:
    scorer = scorer_with_days()
    hidden_V = torch.arange(12) < 4
    for final in (True, False):
        score_BV = torch.cat([score for _, score, _ in score_in_chunks(scorer, USERS, final)])
        assert torch.equal(score_BV.isinf(), SCORER.user_data.seen.mask(USERS, 12) | hidden_V)
    assert scorer_with_days(day=None).available.all()


def test_early_stopping_ranks_the_available_videos() -> None:
    scorer = scorer_with_days()
    hidden_BV = SCORER.user_data.seen.mask(USERS, 12) | (torch.arange(12) < 4)
    targets = Targets(USERS, (~hidden_BV).float().argmax(1))
    chunks = ((u, score) for u, score, _ in score_in_chunks(scorer, USERS, final=False))
    expected = ndcg(rank_catalogue(chunks, targets, 3).rank_P.numpy(), targets.user_P.numpy(), 4, 10).mean()
    assert mean_ndcg(scorer, targets, 10) == pytest.approx(expected)
    assert mean_ndcg(scorer_with_days(day=None), targets, 10) < expected


def model_with_sources() -> InterestModel:
    """A model with two counted sources, and a final ranker of which every weight counts."""
    model = make_model(sources=["trending", "item_cf"], rerank={})
    count_sources(model.sources, SCORER.user_data.sequences, SCORER.item_table)
    for name in ("weight_S", "activity_weight_GS", "age_weight_HS", "age_bias_H"):
        torch.nn.init.normal_(getattr(model.final_ranker, name))
    model.final_ranker.is_fitted.fill_(True)
    return model


def test_final_scores_combine_the_sequence_model_and_the_sources() -> None:
    scorer = scorer_with_days(model := model_with_sources())
    model.set_average_users(average_users(scorer))
    retrieved, final = (
        torch.cat([score for _, score, _ in score_in_chunks(scorer, USERS, final)]) for final in (False, True)
    )
    items = model.encode_items(scorer.item_table)
    score_BV, _ = model.score_items(scorer.encode_user(USERS, items), items)
    average_2V, _ = model.score_items(average_users(scorer), items)
    is_active_B = scorer.user_data.sequences.lengths > 0
    assert is_active_B.tolist() == [False, True, True, True]
    batch = scorer.batch(USERS)
    sources = [source(batch, scorer.item_table) for source in model.sources.values()]
    expected = model.final_ranker(
        torch.stack([score_BV - average_2V[is_active_B.long()], *sources]),
        activity_groups(scorer.user_data.sequences.lengths),
        age_groups(scorer.item_table.upload_day_V, 20, 12),
    )
    shown_BV = ~retrieved.isinf()
    assert torch.allclose(final[shown_BV], expected[shown_BV], atol=1e-5)
    assert torch.allclose(retrieved[shown_BV], score_BV[shown_BV], atol=1e-5)
    assert not torch.equal(final[shown_BV].argsort(), retrieved[shown_BV].argsort())


@pytest.mark.parametrize("fusion", ["user", "late"])
def test_final_scores_ignore_what_all_users_like(fusion: str) -> None:
    model = make_model(fusion=fusion, sources=["trending"])
    model.final_ranker.is_fitted.fill_(True)
    scorer = scorer_with_days(model)
    final = []
    for bias in (0.0, 3.0):
        torch.nn.init.constant_(model.item_fusion.id_bias[:4], bias)
        model.set_average_users(average_users(scorer))
        final.append(torch.cat([score_BV for _, score_BV, _ in score_in_chunks(scorer, USERS)]))
    assert torch.allclose(*final, atol=1e-5)


def test_the_average_users_are_means_with_and_without_the_sequence() -> None:
    model = make_model(dropout=0.5).train()
    scorer = scorer_with_days(model)
    average = average_users(scorer)
    items = model.encode_items(scorer.item_table)
    users = scorer.user_data.sequences.lengths.nonzero().squeeze(1)
    assert torch.allclose(average.z_ND[1], scorer.encode_user(users, items).z_ND.mean(0), atol=1e-6)
    no_events = replace(scorer.user_data, sequences=scorer.user_data.sequences.until(-1))
    empty = replace(scorer, user_data=no_events)
    assert torch.allclose(average.z_ND[0], empty.encode_user(users, items).z_ND.mean(0), atol=1e-6)
    assert torch.equal(average.z_ND, average_users(scorer).z_ND), "dropout is off"


def test_the_average_users_are_a_sample_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = scorer_with_days(make_model())
    monkeypatch.setattr(scoring, "AVERAGED_USERS", 2)
    items = scorer.model.encode_items(scorer.item_table)
    expected_D = scorer.encode_user(torch.tensor([1, 2]), items).z_ND.mean(0)
    assert torch.allclose(average_users(scorer).z_ND[1], expected_D, atol=1e-6)


def test_the_average_users_keep_the_shape_of_the_bundle_in_every_fusion() -> None:
    for fusion in ("user", "attention", "uniform", "late"):
        scorer = scorer_with_days(model := make_model(fusion=fusion))
        model.set_average_users(average := average_users(scorer))
        assert model.average_u_2W.shape == (2, 8 + 3)
        assert torch.equal(model.average_u_2W[:, -average.u_NW.shape[1] :], average.u_NW)
        assert not model.average_u_2W[:, : -average.u_NW.shape[1]].any()


def test_without_a_fitted_ranker_final_scores_are_those_of_retrieval() -> None:
    model = make_model(rerank={}, sources=["trending"])
    scorer = scorer_with_days(model)
    scores = [[score for _, score, _ in score_in_chunks(scorer, USERS, final)] for final in (True, False)]
    assert torch.equal(*map(torch.cat, scores))


def test_without_sources_final_scores_are_those_of_retrieval() -> None:
    model = make_model(rerank={})
    torch.nn.init.normal_(model.final_ranker.age_bias_H)
    scorer = scorer_with_days(model)
    scores = [[score for _, score, _ in score_in_chunks(scorer, USERS, final)] for final in (True, False)]
    assert torch.equal(*map(torch.cat, scores))


def scores_and_weights(scorer: Scorer) -> tuple[Tensor, Tensor]:
    """Return score_BV and alpha_MBV of all users."""
    ((_, score_BV, alpha_MBV),) = score_in_chunks(scorer, USERS)
    return score_BV, alpha_MBV


@pytest.mark.parametrize("fusion", ["user", "attention"])
def test_equal_modality_weights_give_the_scores_of_uniform_fusion(fusion: str) -> None:
    learned, uniform = make_model(fusion=fusion), make_model(fusion="uniform")
    shared = {name: learned.state_dict()[name] for name in uniform.state_dict()}
    uniform.load_state_dict(shared)
    equal = replace(SCORER, model=learned).with_equal_modality_weights()
    pairs = zip(scores_and_weights(equal), scores_and_weights(replace(SCORER, model=uniform)), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("fusion", ["user", "attention", "late"])
def test_equal_modality_weights_leave_the_learned_ones_as_they_are(fusion: str) -> None:
    scorer = replace(SCORER, model=make_model(fusion=fusion))
    learned_BV, learned_MBV = scores_and_weights(scorer)
    equal_BV, equal_MBV = scores_and_weights(scorer.with_equal_modality_weights())
    has_MV = scorer.item_table.has_VM.T
    assert torch.allclose(equal_MBV, (has_MV / has_MV.sum(0).clamp(min=1))[:, None].expand_as(equal_MBV))
    assert not torch.allclose(equal_BV, learned_BV)
    assert torch.equal(scores_and_weights(scorer)[1], learned_MBV)


def test_targets_of_selected_users_are_renumbered() -> None:
    targets = Targets(torch.tensor([1, 1, 4, 6]), torch.tensor([5, 7, 5, 0]))
    user_P, row_P = targets.for_users(torch.tensor([1, 6]))
    assert user_P.tolist() == [0, 0, 1]
    assert row_P.tolist() == [5, 7, 0]
    assert targets.users.tolist() == [1, 4, 6]


def test_behaviour_logits_are_of_the_given_pairs() -> None:
    user_N, row_N = torch.tensor([3, 1, 3]), torch.tensor([2, 2, 5])
    logit_NH = behaviour_logits(SCORER, user_N, row_N)
    alone = behaviour_logits(SCORER, torch.tensor([3]), torch.tensor([5]))
    assert torch.allclose(logit_NH[2], alone[0], atol=1e-5)
    assert not torch.allclose(logit_NH[0], logit_NH[1])


def test_chunks_do_not_change_contributions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    top_BK = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 0]])
    whole = recommendation_contributions(SCORER, USERS, top_BK)
    assert whole.shape == (4, 2, 3)
    assert whole[3, 1].eq(0).all()  # video 0 has no modality
    monkeypatch.setattr(scoring, "CHUNK_USERS", 3)
    assert torch.allclose(recommendation_contributions(SCORER, USERS, top_BK), whole, atol=1e-6)
    ids = Scorer(
        make_model(modalities={}, encoder_fingerprints={}), make_item_table(widths={}), make_user_data()
    )
    assert recommendation_contributions(ids, USERS, top_BK).shape == (4, 2, 0)
