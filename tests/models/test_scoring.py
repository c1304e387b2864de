"""Scoring in chunks: masks, order, and independence of the chunk size."""

import pytest
import torch

from models import ranks, scoring
from models.interest import InterestModel
from models.metrics import ndcg
from models.preference import Preference
from models.ranks import top
from models.scoring import (
    Scorer,
    Targets,
    behaviour_logits,
    carried,
    chunks,
    mean_ndcg,
    rank,
    rank_and_weigh,
    read_once,
    reasons,
)
from tests.models.worlds import catalogue, model, people

SCORER = Scorer(model(), catalogue(), people())
USERS = torch.arange(4)


def unseen_targets() -> Targets:
    """One target a user: the first video that the user has not seen."""
    row_B = (~SCORER.people.seen.mask(USERS, 12)).float().argmax(1)
    return Targets(USERS, row_B)


def test_chunks_do_not_change_scores_and_what_was_seen_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [*chunks(SCORER, USERS)]
    monkeypatch.setattr(ranks, "CHUNK_SCORES", 3 * 12)
    parts = [*chunks(SCORER, USERS)]
    assert [len(users) for users, _, _ in parts] == [3, 1]
    score_BV = torch.cat([score for _, score, _ in parts])
    assert torch.allclose(whole[0][1], score_BV, atol=1e-5)
    assert torch.equal(torch.isinf(score_BV), SCORER.people.seen.mask(USERS, 12))
    alpha_MBV = whole[0][2]
    assert torch.allclose(alpha_MBV.sum(0), SCORER.catalogue.has_VM.any(1).float().expand(4, -1))


def test_ranking_keeps_places_and_the_best() -> None:
    aims, full_V = unseen_targets(), SCORER.catalogue.has_VM.all(1)
    ranked, weights = rank_and_weigh(chunks(SCORER, USERS), aims, 3, full_V)
    score_BV = torch.cat([score for _, score, _ in chunks(SCORER, USERS)])
    assert torch.equal(ranked.top_BK, top(score_BV, 3))
    plain = rank(((users, score) for users, score, _ in chunks(SCORER, USERS)), aims, 3)
    assert torch.equal(plain.rank_P, ranked.rank_P)
    place = (score_BV > score_BV[USERS, aims.row_P].unsqueeze(1)).sum(1) + 1
    assert torch.equal(ranked.rank_P, place)
    assert torch.allclose(weights.alpha_BM.sum(1), torch.ones(4))
    assert weights.alpha_BKM.shape == (4, 3, 3)


def test_what_stops_training_is_the_ndcg_of_retrieval_alone() -> None:
    aims = unseen_targets()
    retrieved = rank(((u, score) for u, score, _ in chunks(SCORER, USERS, rerank=False)), aims, 3)
    expected = ndcg(retrieved.rank_P.numpy(), aims.user_P.numpy(), 4, 10).mean()
    assert mean_ndcg(SCORER, aims, 10) == pytest.approx(expected)


def test_targets_of_some_users_are_numbered_within_them() -> None:
    aims = Targets(torch.tensor([1, 1, 4, 6]), torch.tensor([5, 7, 5, 0]))
    user_P, row_P = aims.of(torch.tensor([1, 6]))
    assert user_P.tolist() == [0, 0, 1]
    assert row_P.tolist() == [5, 7, 0]
    assert aims.users.tolist() == [1, 4, 6]


def test_behaviours_are_foretold_for_the_pair_asked_for() -> None:
    user_N, row_N = torch.tensor([3, 1, 3]), torch.tensor([2, 2, 5])
    logit_NH = behaviour_logits(SCORER, user_N, row_N)
    alone = behaviour_logits(SCORER, torch.tensor([3]), torch.tensor([5]))
    assert torch.allclose(logit_NH[2], alone[0], atol=1e-5)
    assert not torch.allclose(logit_NH[0], logit_NH[1])


def test_the_reasons_are_past_events_most_looked_at_first_and_nobody_without_a_past_has_one() -> None:
    row_BE, weight_BE = reasons(SCORER, USERS, 3)
    assert row_BE[0].tolist() == [-1] * 3
    assert not weight_BE[0].any()
    assert (weight_BE.diff(dim=1) <= 0).all()
    past = SCORER.people.histories
    for user in (1, 2, 3):
        mine = past.video_E[past.offsets[user] : past.offsets[user + 1]].tolist()
        assert {int(row) for row in row_BE[user] if row >= 0} <= set(mine)
        assert (row_BE[user] >= 0).sum() == min(3, len(mine))
        assert 0 < weight_BE[user].sum() < 1
    lstm = Scorer(model(encoder="lstm"), SCORER.catalogue, SCORER.people)
    assert (reasons(lstm, USERS, 3)[0] == -1).all()


@pytest.mark.parametrize("fusion", ["attention", "user", "uniform"])
@pytest.mark.parametrize("max_length", [8, 4])
def test_what_people_go_by_is_the_same_read_once_as_read_every_time(
    fusion: str, max_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Scorer(model(fusion=fusion, max_length=max_length), catalogue(), people((0, 1, 5, 8)))
    assert isinstance(plain.model, InterestModel)
    plain.model.start_from(plain.people.histories, plain.people.profiles, plain.catalogue)
    once, items = read_once(plain), plain.model.items(plain.catalogue)
    batches = [one.people.histories.batch(USERS, max_length) for one in (plain, once)]
    there_BS = torch.nn.functional.pad(batches[0].mask_BT, (1, 0), value=True)
    told = [plain.model.preferences(batch, plain.people.profiles, items)[there_BS] for batch in batches]
    assert torch.allclose(*told, atol=1e-6)
    assert (batches[1].share_BTM is None) == (fusion == "uniform")
    if fusion == "user":
        assert told[0][..., -3:].std() > 0
        monkeypatch.setattr(Preference, "shares", None)  # what was read once needs no reading
        plain.model.preferences(batches[1], plain.people.profiles, items)


def test_what_carries_a_video_is_told_of_each_that_is_recommended_chunk_by_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    top_BK = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 0]])
    whole = carried(SCORER, USERS, top_BK)
    assert whole.shape == (4, 2, 3)
    assert whole[3, 1].eq(0).all()  # it has no modality
    monkeypatch.setattr(scoring, "CHUNK_USERS", 3)
    assert torch.allclose(carried(SCORER, USERS, top_BK), whole, atol=1e-6)
    ids = Scorer(model(modalities={}, fingerprints={}), catalogue(widths={}), people())
    assert carried(ids, USERS, top_BK).shape == (4, 2, 0)
