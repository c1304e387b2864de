import numpy as np

from simulator.mechanisms.topic_users import TopicUser, affinity, make_group_preferences, make_users
from simulator.topics import TOPICS
from tests.support.simulated_platforms import small_calendar

CALENDAR = small_calendar(users=300, history_days=5, nights=2, new_users_per_day=8, drift_share=0.6)
GROUP_PREFERENCES = make_group_preferences(3)
USERS = make_users(3, CALENDAR, GROUP_PREFERENCES)


def test_the_profile_predicts_the_initial_preference():
    initial_users = [user for user in USERS if user.arrival_day == 0]
    preferences = np.array([user.initial_preference for user in initial_users])
    same, other = [], []
    for i, one in enumerate(initial_users[:80]):
        for j in range(i + 1, 80):
            similarity = preferences[i] @ preferences[j] / len(TOPICS)
            shared = one.profile.items() & initial_users[j].profile.items()
            (same if len(shared) == 3 else other if not shared else []).append(similarity)
    assert np.mean(same) > np.mean(other) + 0.4


def test_the_preference_changes_on_the_drift_day_only():
    drifting = [user for user in USERS if user.drift_day is not None]
    assert len(drifting) > 100
    for user in drifting:
        assert np.array_equal(user.preference_on(user.drift_day - 1), user.initial_preference)
        assert np.array_equal(user.preference_on(user.drift_day), user.drifted_preference)
        assert not np.allclose(user.initial_preference, user.drifted_preference)
    stable_user = next(user for user in USERS if user.drift_day is None)
    assert np.array_equal(stable_user.preference_on(0), stable_user.preference_on(6))


def test_the_configured_share_of_users_follows_the_trend_of_their_age_band():
    before = [user for user in USERS if user.arrival_day < CALENDAR.trend_day]
    followers = [user for user in before if user.drift_day == CALENDAR.trend_day]
    assert 0.5 < len(followers) / len(before) < 0.72
    after_drift = [_trending_preference(user, user.drifted_preference) > 0.8 for user in followers]
    assert np.mean(after_drift) > 0.9  # a few drifted individually on that day
    assert np.mean([_trending_preference(user, user.initial_preference) < 0 for user in followers]) > 0.8


def _trending_preference(user: TopicUser, preference: np.ndarray) -> float:
    return float(preference[list(GROUP_PREFERENCES.trending_topics[user.profile["age_band"]])].mean())


def test_modality_weights_sum_to_one_and_differ_between_users():
    weights = np.array([user.modality_weights for user in USERS])
    assert np.allclose(weights.sum(1), 1)
    assert len(set(weights.argmax(1))) == 3
    assert (weights.max(1) > 0.6).mean() > 0.25


def test_affinity_is_the_weighted_preference_over_modalities():
    user, daypart_effect = USERS[0], np.zeros(len(TOPICS))
    visual, text, audio = user.initial_preference[[4, 7, 9]] * user.modality_weights
    assert np.isclose(affinity(user, 0, daypart_effect, (4, 7, 9)), visual + text + audio)
    daypart_effect[7] = 2
    assert np.isclose(
        affinity(user, 0, daypart_effect, (4, 7, 9)), visual + text + audio + 2 * user.modality_weights[1]
    )


def test_the_user_record_holds_no_ground_truth():
    assert set(USERS[0].to_record()) == {"user_id", "registration_time", "age_band", "city_tier", "device"}
