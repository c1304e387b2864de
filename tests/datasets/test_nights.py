from datetime import date

from datasets.landing_form import Record, Release
from datasets.nights import PossibleNight, possible_nights, promotable


def _day(number: int) -> date:
    return date(2026, 3, number)


def _view(user: str, video: str, event_type: str = "view", watch_ms: int | None = None) -> Record:
    return {"user_id": user, "video_id": video, "event_type": event_type, "watch_ms": watch_ms}


def _release(events_by_day: dict[int, list[Record]], duration_ms: int | None = None) -> Release:
    """A release whose catalogue has the videos v1 to v9."""
    videos = [{"video_id": f"v{n}", "duration_ms": duration_ms} for n in range(1, 10)]
    events = {_day(number): rows for number, rows in events_by_day.items()}
    return Release({"events": events, "videos": {_day(1): videos}})


def _nights(release: Release) -> list[tuple[int, int, int, int]]:
    nights = possible_nights(release, positive_watch_ratio=0.5)
    return [(night.day.day, night.events, night.test_users, night.known_users) for night in nights]


def test_a_night_needs_events_on_its_day_the_day_before_and_earlier():
    view = _view("a", "v1")
    assert [night[0] for night in _nights(_release({1: [view], 2: [view], 3: [view], 5: [view]}))] == [3]
    assert [night[0] for night in _nights(_release({1: [view], 4: [view], 5: [view]}))] == [5]
    assert _nights(_release({1: [view], 2: [view]})) == []
    assert _nights(Release({})) == []


def test_users_with_a_new_positive_are_counted():
    before = {1: [_view("a", "v1"), _view("b", "v1")], 2: [_view("a", "v2")]}
    today = [
        _view("a", "v1"),  # not new
        _view("b", "v2"),
        _view("c", "v3"),  # a new user
        _view("d", "v4"),
        _view("d", "v4", "dislike"),
        _view("e", "v99"),  # not in the catalogue
        _view("f", "v5", "impression"),
    ]
    assert _nights(_release({**before, 3: today})) == [(3, 7, 2, 1)]


def test_a_short_view_is_no_positive():
    events = [_view("a", "v1", watch_ms=4000), _view("b", "v1", watch_ms=6000), _view("c", "v1", "like")]
    release = _release({1: [_view("a", "v2")], 2: [_view("a", "v2")], 3: events}, duration_ms=10_000)
    assert _nights(release) == [(3, 3, 2, 0)]


def test_only_nights_that_reach_the_bounds_can_be_promoted():
    nights = [
        PossibleNight(_day(3), events=100, test_users=30, known_users=9),
        PossibleNight(_day(4), events=99, test_users=50, known_users=9),
        PossibleNight(_day(5), events=100, test_users=29, known_users=29),
        PossibleNight(_day(6), events=500, test_users=40, known_users=1),
    ]
    assert [night.day.day for night in promotable(nights, min_events=100, min_users=30)] == [6, 3]
