"""The mechanism `sessions` shows the behaviour that it is described by."""

from collections import Counter, defaultdict
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest

from simulator.mechanisms.ephemeral import make_ephemeral
from simulator.mechanisms.interface import Session
from simulator.mechanisms.sessions import Sessions, make_sessions
from simulator.timeline import simulate_days
from simulator.users import PROFILE_VALUES
from simulator.vectors import WIDTHS
from simulator.watching import SimulatedInteraction
from tests.support.simulated_platforms import small_calendar

SIZE = {"users": 150, "videos": 600, "history_days": 6, "nights": 2, "new_users_per_day": 2}
CALENDAR = small_calendar(mechanism="sessions", new_videos_per_day=20, **SIZE)


def _run(mechanism: Sessions) -> tuple[Sessions, list[list[SimulatedInteraction]]]:
    return mechanism, list(simulate_days(mechanism))


MECHANISM, DAYS = _run(make_sessions(CALENDAR))
INTERACTIONS = [interaction for day in DAYS for interaction in day]


def _watch_ratios(interactions: list[SimulatedInteraction]) -> list[float]:
    return [(one.watched_ms or 0) / one.video.duration_ms for one in interactions]


def test_the_volume_of_events_is_like_that_of_topics():
    active = Counter((number, one.user.user_id) for number, day in enumerate(DAYS) for one in day)
    assert 10 < np.mean(list(active.values())) < 40


def test_following_a_creator_raises_the_watch_probability():
    """The same users are shown the same videos, with and without the follow."""
    shares = {}
    for is_followed in (True, False):
        mechanism = make_sessions(CALENDAR)
        mechanism.followed[:] = is_followed
        watched = []
        for number in range(4000):
            session = Session(0, number % 100, 0.0, 12.0, "ios", "wifi")
            context = {"started_at": 0.0, "device": "ios", "network": "wifi", "feed_position": 0}
            random = np.random.default_rng(number)
            watched.append(mechanism.watch(random, session, number % 450, context).watched_ms is not None)
        shares[is_followed] = np.mean(watched)
    assert shares[True] > shares[False] + 0.08


def test_an_episode_is_watched_longer_after_the_one_before():
    later = [one for one in INTERACTIONS if one.video.episode > 1]
    wanted = _watch_ratios([one for one in later if one.is_next_episode])
    others = _watch_ratios([one for one in later if not one.is_next_episode])
    assert len(wanted) > 100
    assert np.mean(wanted) > np.mean(others) + 0.2


def test_a_follow_is_logged_once_and_lasts():
    followed: dict[str, set[int]] = defaultdict(set)
    for one in INTERACTIONS:
        if one.is_followed and one.video.creator not in followed[one.user.user_id]:
            assert one.video.creator in one.user.followed_creators
        if "follow" in one.reactions:
            assert not one.is_followed
            followed[one.user.user_id].add(one.video.creator)
    assert sum(map(len, followed.values())) > 100


def test_exposure_is_heavy_tailed():
    exposures = np.sort(list(Counter(one.video.video_id for one in INTERACTIONS).values()))[::-1]
    assert exposures[: len(MECHANISM.videos) // 100].sum() > 0.1 * exposures.sum()


def test_the_theme_persists_within_a_session():
    same, by_chance = [], []
    shares = Counter(one.theme for one in INTERACTIONS)
    for before, after in pairwise(INTERACTIONS):
        if before.user is after.user and after.feed_position == before.feed_position + 1:
            same.append(after.theme == before.theme)
            by_chance.append(shares[before.theme] / len(INTERACTIONS))
    assert np.mean(by_chance) + 0.3 < np.mean(same) < 0.9


def test_the_weights_of_modalities_do_not_depend_on_the_profile():
    weights = np.array([user.modality_weights for user in MECHANISM.users])
    for column, values in PROFILE_VALUES.items():
        for value in values:
            has_value = np.array([user.profile[column] == value for user in MECHANISM.users])
            for modality in range(3):
                correlation = np.corrcoef(has_value, weights[:, modality])[0, 1]
                assert abs(correlation) < 3.5 / np.sqrt(len(weights)), (column, value, modality)


def test_taste_drifts_gradually_and_differently():
    truths = [MECHANISM.user_truth(row) for row in range(len(MECHANISM.users))]
    angles_UY = np.array([_day_angles(truth["tastes"]) for truth in truths])
    abrupt = np.array([truth["drift_day"] is not None for truth in truths])
    assert 0.05 < abrupt.mean() < 0.25
    gradual = angles_UY[~abrupt].mean(1)
    assert np.percentile(gradual, 90) > 3 * np.percentile(gradual, 10) > 0
    for truth, angles_Y in zip(truths, angles_UY, strict=True):
        if truth["drift_day"] is not None:
            assert angles_Y[truth["drift_day"] - 1] > 25
    assert len({truth["drift_day"] for truth in truths}) > 4


def _day_angles(taste_YK: np.ndarray) -> np.ndarray:
    unit = taste_YK / np.linalg.norm(taste_YK, axis=1, keepdims=True)
    return np.degrees(np.arccos(np.clip((unit[1:] * unit[:-1]).sum(1), -1, 1)))


def test_vectors_are_a_nonlinear_noisy_function_of_the_content():
    vectors = MECHANISM.modality_vectors()
    assert {name: x_VF.shape[1] for name, x_VF in vectors.items()} == WIDTHS
    for column, x_VF in enumerate(vectors.values()):
        content_VK, half = MECHANISM.arrays.content_VMK[:, column], len(x_VF) // 2
        weights = np.linalg.lstsq(np.c_[x_VF[:half], np.ones(half)], content_VK[:half], rcond=None)[0]
        rest = content_VK[half:]
        error = ((np.c_[x_VF[half:], np.ones(len(rest))] @ weights - rest) ** 2).sum()
        assert 0.2 < 1 - error / ((rest - rest.mean(0)) ** 2).sum() < 0.97


def test_the_true_affinity_ranks_better_than_the_views():
    last = len(DAYS) - 1
    midnight = CALENDAR.midnight(last)
    available = np.array([video.upload_time < midnight for video in MECHANISM.videos])
    views = np.bincount([int(one.video.video_id[5:]) for one in INTERACTIONS], minlength=len(available))
    hits = {"affinity": 0, "views": 0}
    rows = {user.user_id: row for row, user in enumerate(MECHANISM.users)}
    watched = defaultdict(set)
    for one in DAYS[last]:
        if one.watched_ms and one.watched_ms > one.video.duration_ms / 2:
            watched[rows[one.user.user_id]].add(int(one.video.video_id[5:]))
    for row, positives in watched.items():
        affinity = MECHANISM.lasting_affinity(Session(last, row, 0.0, 12.0, "ios", "wifi"))
        for name, score in (("affinity", affinity), ("views", views)):
            top = np.argsort(-np.where(available, score, -np.inf))[:20]
            hits[name] += len(positives & set(top.tolist()))
    assert hits["affinity"] > 1.2 * hits["views"]


def test_a_personalised_feed_shows_what_users_like():
    calendar = small_calendar(mechanism="sessions", new_videos_per_day=20, personalised_feed=1.0, **SIZE)
    personalised = _run(make_sessions(calendar))[1]
    shown = [
        [one.affinity for day in days for one in day if one.feed_source == "platform"]
        for days in (DAYS, personalised)
    ]
    assert np.mean(shown[1]) > np.mean(shown[0]) + 0.3


@pytest.fixture(scope="module")
def ephemeral() -> tuple[Sessions, list[list[SimulatedInteraction]]]:
    return _run(make_ephemeral(small_calendar(mechanism="ephemeral", new_videos_per_day=60, **SIZE)))


def test_an_ephemeral_video_lives_one_to_three_days(ephemeral):
    lives = [(video.expires_at - video.upload_time) / timedelta(days=1) for video in ephemeral[0].videos]
    assert 1 <= min(lives) < 1.1
    assert 2.9 < max(lives) <= 3


def test_no_event_follows_the_expiry(ephemeral):
    for day in ephemeral[1]:
        assert len(day) > 500
        for one in day:
            assert all(event["event_time"] < one.video.expires_at for event in one.to_events())
            assert one.started_at >= one.video.upload_time.timestamp()
