from dataclasses import replace

import numpy as np
import pytest

from simulator import comments
from simulator.catalogue import make_videos
from simulator.mechanisms.topic_users import make_group_preferences, make_users
from simulator.mechanisms.topics import simulate_watch
from simulator.topics import TOPICS
from simulator.watching import MAX_PLAYS, SimulatedInteraction
from tests.support.simulated_platforms import small_calendar

CALENDAR = small_calendar()
USER = make_users(3, CALENDAR, make_group_preferences(3))[0]
VIDEO = replace(
    make_videos(3, CALENDAR)[0],
    topics=(0, 0, 0),
    segment_topics=(0, 0, 0, 0),
    segment_appeal=(0.0, 0.0, 0.0, 0.0),
    quality=0.0,
    duration_ms=20_000,
)
CONTEXT = {"started_at": 1_772_409_600.0, "device": "ios", "network": "wifi", "feed_position": 3}


def _interactions(preference: float, count: int = 400, **changes) -> list[SimulatedInteraction]:
    """Simulate interactions of a user with this preference for topic 0."""
    preferences = np.zeros(len(TOPICS))
    preferences[0] = preference
    user = replace(USER, initial_preference=preferences, drift_day=None)
    video = replace(VIDEO, **changes)
    random = np.random.default_rng(1)
    return [simulate_watch(random, user, video, 0, np.zeros(len(TOPICS)), **CONTEXT) for _ in range(count)]


def _ratio(interactions: list[SimulatedInteraction]) -> float:
    return float(
        np.mean(
            [(interaction.watched_ms or 0) / interaction.video.duration_ms for interaction in interactions]
        )
    )


def test_watch_time_and_reactions_follow_the_preference():
    low, middle, high = (_interactions(preference) for preference in (-1.0, 0.3, 1.5))
    assert _ratio(low) < _ratio(middle) - 0.1 < _ratio(high) - 0.2
    for reaction, order in (("like", 1), ("share", 1), ("follow", 1), ("dislike", -1)):
        shares = [
            np.mean([reaction in interaction.reactions for interaction in group]) for group in (low, high)
        ]
        assert order * (shares[1] - shares[0]) > 0, reaction
    assert sum(v.watched_ms is None for v in low) > sum(v.watched_ms is None for v in high)


def test_users_leave_at_the_segment_without_appeal():
    interactions = _interactions(1.0, segment_appeal=(1.0, 1.0, -4.0, 1.0))
    num_exits = np.bincount([interaction.exit_segment + 1 for interaction in interactions], minlength=5)[1:]
    assert num_exits.argmax() == 2
    assert num_exits[2] > num_exits.sum() / 2


def test_watch_time_ends_in_the_exit_segment_or_at_the_end_of_the_video():
    for interaction in _interactions(0.5):
        if interaction.watched_ms is None:
            assert interaction.reactions == ()
        elif interaction.exit_segment < 0:
            plays, rest = divmod(interaction.watched_ms, VIDEO.duration_ms)
            assert rest == 0
            assert 1 <= plays <= MAX_PLAYS
        else:
            assert interaction.watched_ms // 5000 == interaction.exit_segment


def test_events_of_an_interaction_are_in_order():
    interaction = next(v for v in _interactions(1.5, 2000) if "like" in v.reactions and v.comment)
    events = list(interaction.to_events())
    assert [event["event_type"] for event in events] == ["impression", "view", *interaction.reactions]
    times = [event["event_time"].timestamp() for event in events]
    assert times == sorted(times)
    assert times[1] - times[0] == pytest.approx(interaction.watched_ms / 1000, abs=0.002)
    assert [event.get("comment_text") for event in events if event["event_type"] == "comment"] == [
        interaction.comment
    ]
    assert events[0]["context"]["feed_position"] == 3
    scrolled = next(v for v in _interactions(-2.0) if v.watched_ms is None)
    assert [event["event_type"] for event in scrolled.to_events()] == ["impression"]


def test_comments_of_users_who_like_the_topic_are_positive():
    for preference, expected in ((2.0, 1), (-1.5, -1)):
        written = [interaction for interaction in _interactions(preference, 1500) if interaction.comment]
        assert np.mean([interaction.sentiment == expected for interaction in written]) > 0.8
    random = np.random.default_rng(0)
    positive = {comments.write_comment(random, 3, 1) for _ in range(60)}
    assert not positive & {comments.write_comment(random, 3, -1) for _ in range(60)}
