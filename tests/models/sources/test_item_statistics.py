"""Popularity, trending and item quality against hand-computed counts."""

from math import log

import pytest
import torch

from models.sources.item_statistics import ItemQuality, Popularity, Trending, beta_prior_count
from tests.models.sources.inputs import Event, catalogue, likes, score, to_sequences

# ID rows in another order than the catalogue; the last video has none.
ITEMS = catalogue([1, 0, 2, -1])
NO_EVENTS = [[], []]


def test_popularity_counts_each_user_once() -> None:
    source = Popularity(3)
    source.init_from_statistics(to_sequences([likes(0, 0, 3), [*likes(0), Event(1, positive=False)]]), ITEMS)
    assert score(source, NO_EVENTS, ITEMS).tolist() == [pytest.approx([log(3), 0, 0, 0])] * 2


def test_a_later_catalogue_reads_the_same_counts() -> None:
    source = Popularity(3)
    source.init_from_statistics(to_sequences([likes(0, 2), likes(0)]), ITEMS)
    later = catalogue([-1, 2, -1, 1])
    assert score(source, [[]], later)[0].tolist() == pytest.approx([0, log(2), 0, log(3)])


def test_trending_halves_with_age_from_the_last_day() -> None:
    sequences = to_sequences([[Event(0, day=0), Event(2, day=2)], [Event(0, day=1)]])
    source = Trending(3, half_life_days=1.0)
    source.init_from_statistics(sequences, ITEMS)
    assert score(source, [[]], ITEMS)[0].tolist() == pytest.approx([log(1 + 0.25 + 0.5), 0, log(2), 0])
    source.init_from_statistics(sequences, ITEMS, last_day=3)
    assert score(source, [[]], ITEMS)[0].tolist() == pytest.approx([log(1 + 0.125 + 0.25), 0, log(1.5), 0])


def test_item_quality_is_a_shrunk_rate_and_not_a_count() -> None:
    often_watched = [Event(0, positive=i % 4 == 0) for i in range(400)]
    good = [Event(1, positive=i % 4 != 0) for i in range(40)]
    once = [Event(2)]
    source = ItemQuality(3, half_life_days=0.0)
    source.init_from_statistics(to_sequences([often_watched, good, once]), ITEMS)
    frequent, better, rare, new = score(source, [[]], ITEMS)[0].tolist()
    assert frequent < 0 < rare < better
    assert new == 0
    mean = torch.tensor((131 + 1) / (441 + 2), dtype=torch.float64)
    num_I, num_positives_I = torch.tensor([[40.0, 400, 1], [30, 100, 1]], dtype=torch.float64)
    prior = float(beta_prior_count(num_I, num_positives_I, mean))
    rate = (30 + prior * float(mean)) / (40 + prior)
    assert better == pytest.approx(log(rate / (1 - rate)) - log(float(mean / (1 - mean))), rel=1e-5)


def test_item_quality_forgets() -> None:
    improved = [Event(0, positive=False, day=0)] * 20 + [Event(0, day=30)] * 20
    sequences = to_sequences([improved, [Event(2, i % 2 == 0, 30) for i in range(40)]])
    scores = []
    for half_life_days in (0.0, 5.0):
        source = ItemQuality(3, half_life_days)
        source.init_from_statistics(sequences, ITEMS)
        scores.append(score(source, [[]], ITEMS)[0, 0].item())
    assert scores[0] < scores[1]
    assert scores[1] > 0.1


def test_the_prior_of_equal_rates_is_strong_and_of_different_rates_weak() -> None:
    num_I = torch.full((50,), 100.0).double()
    mean = torch.tensor(0.5).double()
    assert beta_prior_count(num_I, num_I / 2, mean) == 1000
    generator = torch.Generator().manual_seed(0)
    gamma_2I = torch.stack([torch.rand(50, 4, generator=generator).log().neg().sum(1) for _ in range(2)])
    rate_I = (gamma_2I[0] / gamma_2I.sum(0)).double()  # Beta(4, 4)
    assert 4 < beta_prior_count(num_I, (100 * rate_I).round(), mean) < 14
