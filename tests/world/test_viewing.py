from dataclasses import replace

import numpy as np
import pytest

from tests.world.worlds import days
from world import comments
from world.audience import make_culture, make_people
from world.catalogue import make_videos
from world.topics import TOPICS
from world.viewing import MAX_LOOPS, Viewing, watch

CALENDAR = days()
PERSON = make_people(3, CALENDAR, make_culture(3))[0]
VIDEO = replace(
    make_videos(3, CALENDAR)[0],
    topics=(0, 0, 0),
    segment_topics=(0, 0, 0, 0),
    appeal=(0.0, 0.0, 0.0, 0.0),
    quality=0.0,
    duration_ms=20_000,
)
AT = {"started": 1_772_409_600.0, "device": "ios", "network": "wifi", "feed_position": 3}


def _viewings(liking: float, count: int = 400, **changes) -> list[Viewing]:
    """Viewings by somebody who likes topic 0 that much."""
    taste = np.zeros(len(TOPICS))
    taste[0] = liking
    person = replace(PERSON, first_taste=taste, drift_day=None)
    video = replace(VIDEO, **changes)
    random = np.random.default_rng(1)
    return [watch(random, person, video, 0, np.zeros(len(TOPICS)), **AT) for _ in range(count)]


def _ratio(viewings: list[Viewing]) -> float:
    return float(np.mean([(viewing.watched_ms or 0) / viewing.video.duration_ms for viewing in viewings]))


def test_watching_liking_and_disliking_follow_interest():
    low, middle, high = (_viewings(liking) for liking in (-1.0, 0.3, 1.5))
    assert _ratio(low) < _ratio(middle) - 0.1 < _ratio(high) - 0.2
    for kind, order in (("like", 1), ("share", 1), ("follow", 1), ("dislike", -1)):
        shares = [np.mean([kind in viewing.reactions for viewing in group]) for group in (low, high)]
        assert order * (shares[1] - shares[0]) > 0, kind
    assert sum(v.watched_ms is None for v in low) > sum(v.watched_ms is None for v in high)


def test_people_leave_at_the_segment_that_does_not_appeal():
    viewings = _viewings(1.0, appeal=(1.0, 1.0, -4.0, 1.0))
    left = np.bincount([viewing.left_segment + 1 for viewing in viewings], minlength=5)[1:]
    assert left.argmax() == 2
    assert left[2] > left.sum() / 2


def test_the_watch_time_ends_in_the_segment_left_or_at_the_end_of_a_loop():
    for viewing in _viewings(0.5):
        if viewing.watched_ms is None:
            assert viewing.reactions == ()
        elif viewing.left_segment < 0:
            loops, rest = divmod(viewing.watched_ms, VIDEO.duration_ms)
            assert rest == 0
            assert 1 <= loops <= MAX_LOOPS
        else:
            assert viewing.watched_ms // 5000 == viewing.left_segment


def test_a_viewing_is_logged_as_impression_view_and_what_was_done_in_order():
    viewing = next(v for v in _viewings(1.5, 2000) if "like" in v.reactions and v.comment)
    events = list(viewing.events())
    assert [event["event_type"] for event in events] == ["impression", "view", *viewing.reactions]
    times = [event["event_time"].timestamp() for event in events]
    assert times == sorted(times)
    assert times[1] - times[0] == pytest.approx(viewing.watched_ms / 1000, abs=0.002)
    assert [event.get("comment_text") for event in events if event["event_type"] == "comment"] == [
        viewing.comment
    ]
    assert events[0]["context"]["feed_position"] == 3
    scrolled = next(v for v in _viewings(-2.0) if v.watched_ms is None)
    assert [event["event_type"] for event in scrolled.events()] == ["impression"]


def test_comments_are_friendly_from_those_who_like_it_and_their_words_say_so():
    for liking, expected in ((2.0, 1), (-1.5, -1)):
        written = [viewing for viewing in _viewings(liking, 1500) if viewing.comment]
        assert np.mean([viewing.sentiment == expected for viewing in written]) > 0.8
    random = np.random.default_rng(0)
    friendly = {comments.write(random, 3, 1) for _ in range(60)}
    assert not friendly & {comments.write(random, 3, -1) for _ in range(60)}
