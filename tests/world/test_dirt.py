"""What the dirt does line by line; that the pipeline refuses it as told is tested in test_recovery.py."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tests.world.worlds import CLEAN
from world.dirt import CLOCKS, KINDS, Line, bot, dirty

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def _line(number: int) -> Line:
    event = {
        "event_id": f"syn-e{number}",
        "user_id": f"syn-u{number % 400}",
        "video_id": "syn-v1",
        "event_type": "view",
        "event_time": NOON + timedelta(seconds=number % 3600),
        "watch_ms": 4000,
        "context": {"device": "android" if number % 2 else "ios"},
    }
    return Line(event["event_time"], event)


LINES = [_line(number) for number in range(20_000)]
DIRTY = dirty(3, 1, LINES, CLEAN)


def test_every_kind_of_dirt_befalls_about_the_share_it_says():
    counts = Counter(line.kind for line in DIRTY)
    for dirt in KINDS:
        assert 0.5 < counts[dirt.kind] / (dirt.share * len(LINES)) < 1.6, dirt.kind
    days = [dirty(3, day, LINES[:400], CLEAN) for day in range(60)]
    people = Counter(line.kind for day in days for line in day)
    for clock in CLOCKS:
        assert 0.4 < people[clock.kind] / (clock.share * 60 * 400) < 2, clock.kind


def test_most_lines_stay_as_they_are_and_none_is_lost():
    untouched = [line for line in DIRTY if line.kind is None]
    assert 0.85 < len(untouched) / len(LINES) < 0.97
    assert {line.event["event_id"] for line in untouched} <= {line.event["event_id"] for line in LINES}
    repeats = sum(line.kind == "duplicate" for line in DIRTY)
    assert len(DIRTY) == len(LINES) + repeats


def test_a_line_sent_again_comes_later_than_the_first_and_says_the_same():
    first = {line.event.get("event_id"): line for line in DIRTY if line.kind is None}
    for line in (line for line in DIRTY if line.kind == "duplicate"):
        original = first[line.event["event_id"]]
        assert line.received > original.received
        assert line.encode() == original.encode()


def test_late_lines_come_within_the_bound_or_beyond_it():
    for line in DIRTY:
        days = (
            (line.received.date() - line.event["event_time"].date()).days
            if line.kind in ("late", "too_late")
            else 0
        )
        if line.kind == "late":
            assert 1 <= days <= CLEAN.late_days
        if line.kind == "too_late":
            assert days > CLEAN.late_days


def test_a_wrong_clock_is_wrong_for_all_of_a_persons_events_of_the_day():
    kinds: dict[str, set[str | None]] = {}
    for line in DIRTY:
        kinds.setdefault(line.event.get("user_id") or "", set()).add(line.kind)
    clocks = {clock.kind for clock in CLOCKS}
    wrong = [kind for user, kind in kinds.items() if kind & clocks]
    assert len(wrong) > 3
    assert all(len(kind) == 1 for kind in wrong)


def test_nothing_is_late_where_nothing_late_is_taken():
    strict = dirty(3, 1, LINES, replace(CLEAN, late_days=0))
    assert not any(line.kind == "late" for line in strict)
    skewed = [line for line in strict if line.kind == "clock_skew"]
    assert skewed
    assert all(line.event["event_time"] >= line.received for line in skewed)


def test_android_writes_times_as_milliseconds_and_others_as_text():
    ios, android = (msgspec.json.decode(line.encode()) for line in LINES[:2])
    assert ios["event_time"] == "2026-03-03T12:00:00Z"
    assert android["event_time"] == round((NOON + timedelta(seconds=1)).timestamp() * 1000)


def test_a_truncated_line_is_no_json():
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(replace(LINES[0], truncated=True).encode())


def test_a_bot_does_more_in_one_clock_hour_than_is_taken_for_human():
    lines = bot(3, 1, NOON.replace(hour=0), ["syn-v1", "syn-v2"], CLEAN)
    times = [line.event["event_time"] for line in lines]
    assert len({(time.date(), time.hour) for time in times}) == 1
    assert len({line.event["event_id"] for line in lines}) > CLEAN.bot_events_per_hour
    assert {line.reason for line in lines} == {"bot"}
