"""The study finds a planted effect of the context, and none without it."""

import numpy as np
import pytest

from models.data.targets import BEHAVIOUR_HEADS
from research.studies.request_contexts import DayOfRequests, measure


def _day(seed: int, effect: float) -> DayOfRequests:
    """Half of the requests come from a television, where long videos are skipped more often by `effect`."""
    random, count = np.random.default_rng(seed), 4000
    logit_N, is_tv_N = random.normal(size=count), random.random(count) < 0.5
    log_duration_N = random.choice([-1.0, 1.0], count)
    probability_N = 1 / (1 + np.exp(-logit_N - effect * is_tv_N * log_duration_N))
    label_NH = np.repeat(random.random(count) < probability_N, len(BEHAVIOUR_HEADS)).reshape(count, -1)
    logit_NH = np.repeat(logit_N[:, None], len(BEHAVIOUR_HEADS), 1)
    one_hot = np.eye(2)[is_tv_N.astype(int)]
    return DayOfRequests(logit_NH, label_NH, np.ones_like(label_NH), [one_hot], log_duration_N)


@pytest.mark.parametrize(("effect", "low", "high"), [(2.0, 0.03, 0.2), (0.0, -0.003, 0.003)])
def test_the_gain_is_that_of_the_planted_effect(effect: float, low: float, high: float) -> None:
    train, test = [_day(1, effect), _day(2, effect)], _day(3, effect)
    gain = measure(train, test, "skip", (0,))["auc"] - measure(train, test, "skip", ())["auc"]
    assert low < gain < high
