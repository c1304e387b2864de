"""What each corruption does to a line. test_recovery.py tests that the pipeline rejects it."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from simulator.corruption import CLOCK_FAULTS, CORRUPTIONS, LogLine, corrupt_lines, make_bot_lines
from tests.support.simulated_platforms import CLEAN

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def _line(number: int) -> LogLine:
    event = {
        "event_id": f"syn-e{number}",
        "user_id": f"syn-u{number % 400}",
        "video_id": "syn-v1",
        "event_type": "view",
        "event_time": NOON + timedelta(seconds=number % 3600),
        "watch_ms": 4000,
        "context": {"device": "android" if number % 2 else "ios"},
    }
    return LogLine(event["event_time"], event)


LINES = [_line(number) for number in range(20_000)]
CORRUPTED = corrupt_lines(3, 1, LINES, CLEAN)


def test_each_corruption_occurs_at_its_rate():
    counts = Counter(line.corruption for line in CORRUPTED)
    for corruption in CORRUPTIONS:
        assert 0.5 < counts[corruption.name] / (corruption.rate * len(LINES)) < 1.6, corruption.name
    days = [corrupt_lines(3, day, LINES[:400], CLEAN) for day in range(60)]
    num_users = Counter(line.corruption for day in days for line in day)
    for clock in CLOCK_FAULTS:
        assert 0.4 < num_users[clock.name] / (clock.rate * 60 * 400) < 2, clock.name


def test_most_lines_are_unchanged_and_none_is_lost():
    untouched = [line for line in CORRUPTED if line.corruption is None]
    assert 0.85 < len(untouched) / len(LINES) < 0.97
    assert {line.event["event_id"] for line in untouched} <= {line.event["event_id"] for line in LINES}
    repeats = sum(line.corruption == "duplicate" for line in CORRUPTED)
    assert len(CORRUPTED) == len(LINES) + repeats


def test_a_duplicate_arrives_later_and_has_the_same_content():
    first = {line.event.get("event_id"): line for line in CORRUPTED if line.corruption is None}
    for line in (line for line in CORRUPTED if line.corruption == "duplicate"):
        original = first[line.event["event_id"]]
        assert line.received_at > original.received_at
        assert line.encode() == original.encode()


def test_late_lines_arrive_within_the_limit_and_too_late_lines_beyond_it():
    for line in CORRUPTED:
        days = (
            (line.received_at.date() - line.event["event_time"].date()).days
            if line.corruption in ("late", "too_late")
            else 0
        )
        if line.corruption == "late":
            assert 1 <= days <= CLEAN.late_days
        if line.corruption == "too_late":
            assert days > CLEAN.late_days


def test_a_clock_fault_affects_all_events_of_a_user_and_day():
    names_by_user: dict[str, set[str | None]] = {}
    for line in CORRUPTED:
        names_by_user.setdefault(line.event.get("user_id") or "", set()).add(line.corruption)
    clocks = {clock.name for clock in CLOCK_FAULTS}
    faulty = [names for names in names_by_user.values() if names & clocks]
    assert len(faulty) > 3
    assert all(len(names) == 1 for names in faulty)


def test_no_line_is_late_with_zero_late_days():
    strict = corrupt_lines(3, 1, LINES, replace(CLEAN, late_days=0))
    assert not any(line.corruption == "late" for line in strict)
    skewed = [line for line in strict if line.corruption == "clock_skew"]
    assert skewed
    assert all(line.event["event_time"] >= line.received_at for line in skewed)


def test_android_writes_times_as_milliseconds_and_ios_as_text():
    ios, android = (msgspec.json.decode(line.encode()) for line in LINES[:2])
    assert ios["event_time"] == "2026-03-03T12:00:00Z"
    assert android["event_time"] == round((NOON + timedelta(seconds=1)).timestamp() * 1000)


def test_a_truncated_line_is_not_json():
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(replace(LINES[0], truncated=True).encode())


def test_a_bot_exceeds_the_limit_of_events_per_hour():
    lines = make_bot_lines(3, 1, NOON.replace(hour=0), ["syn-v1", "syn-v2"], CLEAN)
    times = [line.event["event_time"] for line in lines]
    assert len({(time.date(), time.hour) for time in times}) == 1
    assert len({line.event["event_id"] for line in lines}) > CLEAN.bot_events_per_hour
    assert {line.reject_reason for line in lines} == {"suspected_bot"}
