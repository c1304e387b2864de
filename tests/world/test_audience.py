import numpy as np

from tests.world.worlds import days
from world.audience import Person, interest, make_culture, make_people
from world.topics import TOPICS

CALENDAR = days(users=300, history_days=5, nights=2, new_users_per_day=8, drift_share=0.6)
CULTURE = make_culture(3)
PEOPLE = make_people(3, CALENDAR, CULTURE)


def test_the_profile_predicts_the_first_taste():
    here = [person for person in PEOPLE if person.arrives == 0]
    tastes = np.array([person.first_taste for person in here])
    same, other = [], []
    for i, one in enumerate(here[:80]):
        for j in range(i + 1, 80):
            alike = tastes[i] @ tastes[j] / len(TOPICS)
            shared = one.profile.items() & here[j].profile.items()
            (same if len(shared) == 3 else other if not shared else []).append(alike)
    assert np.mean(same) > np.mean(other) + 0.4


def test_taste_changes_on_the_drift_day_and_on_no_other():
    drifting = [person for person in PEOPLE if person.drift_day is not None]
    assert len(drifting) > 100
    for person in drifting:
        assert np.array_equal(person.taste(person.drift_day - 1), person.first_taste)
        assert np.array_equal(person.taste(person.drift_day), person.later_taste)
        assert not np.allclose(person.first_taste, person.later_taste)
    steady = next(person for person in PEOPLE if person.drift_day is None)
    assert np.array_equal(steady.taste(0), steady.taste(6))


def test_the_trend_takes_the_share_asked_for_to_what_rises_in_their_age_band():
    before = [person for person in PEOPLE if person.arrives < CALENDAR.trend_day]
    followers = [person for person in before if person.drift_day == CALENDAR.trend_day]
    assert 0.5 < len(followers) / len(before) < 0.72
    rises = [_liking_of_what_rises(person, person.later_taste) > 0.8 for person in followers]
    assert np.mean(rises) > 0.9  # a few changed on that day in a way of their own
    assert np.mean([_liking_of_what_rises(person, person.first_taste) < 0 for person in followers]) > 0.8


def _liking_of_what_rises(person: Person, taste: np.ndarray) -> float:
    return float(taste[list(CULTURE.rising[person.profile["age_band"]])].mean())


def test_the_weights_sum_to_one_and_differ_from_person_to_person():
    weights = np.array([person.weights for person in PEOPLE])
    assert np.allclose(weights.sum(1), 1)
    assert len(set(weights.argmax(1))) == 3
    assert (weights.max(1) > 0.6).mean() > 0.25


def test_interest_is_the_taste_in_what_is_seen_read_and_heard_by_the_weights():
    person, mood = PEOPLE[0], np.zeros(len(TOPICS))
    seen, read, heard = person.first_taste[[4, 7, 9]] * person.weights
    assert np.isclose(interest(person, 0, mood, (4, 7, 9)), seen + read + heard)
    mood[7] = 2
    assert np.isclose(interest(person, 0, mood, (4, 7, 9)), seen + read + heard + 2 * person.weights[1])


def test_what_the_platform_is_told_of_a_person_holds_no_truth():
    assert set(PEOPLE[0].record()) == {"user_id", "registration_time", "age_band", "city_tier", "device"}
