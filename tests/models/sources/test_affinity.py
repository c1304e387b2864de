"""Affinity to creators and categories against hand-computed odds."""

from math import log

import pytest
import torch

from models.sources.affinity import (
    CATEGORY_PRIOR_COUNT,
    CREATOR_PRIOR_COUNT,
    FOLLOW_COUNT,
    USER_PRIOR_COUNT,
    CategoryAffinity,
    CreatorAffinity,
)
from tests.models.sources.inputs import Event, catalogue, score, to_sequences
from tests.support.model_inputs import BEHAVIOURS

# Videos 0 and 1 are by creator 1, 2 by creator 2, 3 by creator 3, 4 by an unknown one. 1 and 3 are new.
ITEMS = catalogue(
    [0, -1, 1, -1, 2], author_V=torch.tensor([1, 1, 2, 3, 0]), category_V=torch.tensor([0, 2, 1, 1, 2])
)
USERS = [[Event(0), Event(0), Event(2, positive=False), Event(4, positive=False)]]


def logit(p: float) -> float:
    return log(p / (1 - p))


def creator_affinity(**settings: float) -> CreatorAffinity:
    source = CreatorAffinity(3, BEHAVIOURS, **settings)
    source.init_from_statistics(to_sequences(USERS), ITEMS)
    return source


def test_creator_affinity_is_relative_to_the_users_rate() -> None:
    rate = (2 + USER_PRIOR_COUNT * 0.5) / (4 + USER_PRIOR_COUNT)  # 3 of 6 in all, with one more of each
    liked = (2 + CREATOR_PRIOR_COUNT * rate) / (2 + CREATOR_PRIOR_COUNT)
    disliked = CREATOR_PRIOR_COUNT * rate / (1 + CREATOR_PRIOR_COUNT)
    expected = [logit(liked) - logit(rate)] * 2 + [logit(disliked) - logit(rate), 0, 0]
    assert score(creator_affinity(), USERS, ITEMS)[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_follow_counts_as_many_positives() -> None:
    followed = [Event(2, positive=True, followed=True)]
    rate = (1 + USER_PRIOR_COUNT * 0.5) / (1 + USER_PRIOR_COUNT)
    followed_rate = (1 + FOLLOW_COUNT + CREATOR_PRIOR_COUNT * rate) / (1 + FOLLOW_COUNT + CREATOR_PRIOR_COUNT)
    score_V = score(creator_affinity(), [followed, []], ITEMS)
    assert score_V[0].tolist() == pytest.approx([0, 0, logit(followed_rate) - logit(rate), 0, 0], abs=1e-5)
    assert not score_V[1].any()
    without = CreatorAffinity(3, ("viewed", "liked"))
    assert 0 < score(without, [followed], ITEMS)[0, 2] < score_V[0, 2]


def test_category_affinity_reads_the_category_and_no_follow() -> None:
    source = CategoryAffinity(3)
    source.init_from_statistics(to_sequences(USERS), ITEMS)
    rate = (1 + USER_PRIOR_COUNT * 0.5) / (2 + USER_PRIOR_COUNT)
    liked = (1 + CATEGORY_PRIOR_COUNT * rate) / (1 + CATEGORY_PRIOR_COUNT)
    disliked = CATEGORY_PRIOR_COUNT * rate / (1 + CATEGORY_PRIOR_COUNT)
    high, low = logit(liked) - logit(rate), logit(disliked) - logit(rate)
    score_V = score(source, [[Event(2, followed=True), Event(4, positive=False)]], ITEMS)[0]
    assert score_V.tolist() == pytest.approx([0, low, high, high, low], abs=1e-5)


def test_the_newest_events_count_most_with_a_half_life() -> None:
    users = [[Event(0, positive=False, day=0), Event(0, day=20), Event(2, day=20), Event(4, False, day=20)]]
    equal, recent = (score(creator_affinity(half_life_days=h), users, ITEMS)[0] for h in (0.0, 5.0))
    assert recent[0] > equal[0]
    one_user, two_users = users, [*users, [Event(0, day=400)]]
    source = creator_affinity(half_life_days=5.0)
    assert torch.allclose(score(source, one_user, ITEMS)[0], score(source, two_users, ITEMS)[0])


def test_without_the_columns_nothing_is_known() -> None:
    assert score(creator_affinity(), USERS, catalogue([0, 1, 2, -1, -1])).tolist() == [[0] * 5]
