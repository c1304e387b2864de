"""Logs with planted corruption, next to valid events that look like it.

The generators follow docs/data-contract.md, not the code of the rules. Every line belongs to a case. A case
has the reason for which its lines must be rejected, or none if they must be kept. A generator says what
happened to the log. So a heavy user is a person, whatever the limit for bots is.

Watch times of people have the median and the mean of the SegMM sample, 9.5 s and 18.8 s.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np

from core.config import CleanConfig

Event = dict[str, Any]
DAYS = [date(2026, 3, 2) + timedelta(n) for n in range(5)]  # days received
DAY = timedelta(1)
DURATION_MS = 20_000
WATCH_MEDIAN_S, WATCH_SIGMA = 9.5, 1.17  # a log-normal distribution with the mean of 18.8 s
USER_SIGMA = 0.4  # assumed spread of the users' own medians
VIDEOS = [f"v{n}" for n in range(500)]
UNKNOWN_DURATION, LATE_ENTRY = "v-no-duration", "v-same-day"
LONG_COMMENT = 64 << 10  # characters; the benchmark sets ingest.max_record_kib below it


class PlantedLine(NamedTuple):
    """A line of an events file.

    Attributes:
        received: The day of its landing folder.
        file: The name of its file.
        content: The line.
        case: The name of its case.
        user_day: The user and the day of the event.
    """

    received: date
    file: str
    content: bytes
    case: str
    user_day: tuple[str, date]


@dataclass(frozen=True)
class Case:
    """A kind of line.

    Attributes:
        reason: Why the pipeline must reject it, None if it must keep it.
        change: Returns the event, or the bytes of the line, in place of a valid view. None if the lines of
            the case are generated together.
    """

    reason: str | None
    change: Callable[[Event, np.random.Generator, CleanConfig], Event | bytes] | None = None


def _set(**values: Any) -> Callable[[Event, np.random.Generator, CleanConfig], Event]:
    """Set fields. The value of a callable is drawn."""

    def change(event: Event, random: np.random.Generator, clean: CleanConfig) -> Event:
        drawn = {name: value(random, clean) if callable(value) else value for name, value in values.items()}
        return event | drawn

    return change


def _without(field: str) -> Callable[[Event, np.random.Generator, CleanConfig], Event]:
    return lambda event, random, clean: {name: value for name, value in event.items() if name != field}


def _shift(draw: Callable[[np.random.Generator, CleanConfig], timedelta]) -> Any:
    """Move the event in time. The day received stays."""
    return lambda event, random, clean: event | {"event_time": event["event_time"] + draw(random, clean)}


def _end_of_day(event: Event, random: np.random.Generator, clean: CleanConfig) -> Event:
    """Return an event of a fast clock, a little after the end of the day received."""
    midnight = event["event_time"].replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    return event | {"event_time": midnight + timedelta(minutes=random.uniform(0, clean.clock_skew_minutes))}


def _fast_clock(event: Event, random: np.random.Generator, clean: CleanConfig) -> Event:
    midnight = event["event_time"].replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    minutes = clean.clock_skew_minutes + 0.1 + random.lognormal(5, 2)
    return event | {"event_time": midnight + timedelta(minutes=min(minutes, 10**6))}


def _other_time_zone(event: Event, random: np.random.Generator, clean: CleanConfig) -> Event:
    hours = int(random.integers(-11, 14))
    local = event["event_time"] + timedelta(hours=hours)
    return event | {"event_time": f"{local:%Y-%m-%dT%H:%M:%S}{hours:+03d}:00"}


def _as_milliseconds(event: Event, random: np.random.Generator, clean: CleanConfig) -> Event:
    return event | {
        "event_time": int(event["event_time"].timestamp() * 1000),
        "watch_ms": float(event["watch_ms"]),
    }


def _as_seconds(event: Event, random: np.random.Generator, clean: CleanConfig) -> Event:
    return event | {"event_time": int(event["event_time"].timestamp())}


def _misspelt_video(event: Event, random: np.random.Generator, clean: CleanConfig) -> Event:
    video = event["video_id"]
    return event | {"video_id": [video.upper(), f"{video} ", f"{video}9999"][int(random.integers(3))]}


def _cut_line(event: Event, random: np.random.Generator, clean: CleanConfig) -> bytes:
    line = msgspec.json.encode(event)
    return line[: int(random.integers(1, len(line)))]


def _one_of(*values: Any) -> Callable[[np.random.Generator, CleanConfig], Any]:
    return lambda random, clean: values[int(random.integers(len(values)))]


def _later_today(event: Event, random: np.random.Generator, clean: CleanConfig) -> Event:
    return event | {"event_time": event["event_time"] + timedelta(hours=float(random.uniform(0.2, 3)))}


CASES: Mapping[str, Case] = {
    # valid, and easy to take for corruption
    "ordinary_user": Case(None),
    "heavy_user": Case(None),
    "rewatch_with_new_id": Case(None),
    "same_id_of_another_user": Case(None),
    "odd_text": Case(None, _set(comment_text='🎉 "quoted" \\ \u0007\u2028 ' + "e\u0301")),
    "unknown_fields": Case(None, _set(client={"version": [1, 2]}, experiment="b")),
    "numbers_as_floats_and_epoch_ms": Case(None, _as_milliseconds),
    "time_with_offset": Case(None, _other_time_zone),
    "watch_time_at_the_bound": Case(
        None, _set(watch_ms=lambda _, clean: int(clean.max_replays * DURATION_MS))
    ),
    "watch_time_of_unknown_duration": Case(
        None,
        _set(
            video_id=UNKNOWN_DURATION,
            watch_ms=lambda random, clean: int(random.uniform(0, 1) * clean.max_watch_minutes * 60_000),
        ),
    ),
    "watch_time_missing": Case(None, _without("watch_ms")),
    "fast_clock_within_the_bound": Case(None, _end_of_day),
    "late_within_the_bound": Case(
        None, _shift(lambda random, clean: -DAY * int(random.integers(1, clean.late_days + 1)))
    ),
    "catalogue_entry_of_the_same_day": Case(None, _set(video_id=LATE_ENTRY)),
    # corruption that the contract names
    "cut_line": Case("malformed_json", _cut_line),
    "message_of_a_program": Case("malformed_json", lambda *_: b"WARN retrying upload (attempt 3)"),
    "text_as_watch_time": Case("wrong_type", _set(watch_ms=_one_of("12s", "full", {"ms": 5}, 12.5))),
    "words_as_time": Case("wrong_type", _set(event_time=_one_of("yesterday", "12:30", "13/03/2026"))),
    "seconds_as_time": Case("wrong_type", _as_seconds),
    "id_as_object": Case("wrong_type", _set(user_id=_one_of({"id": "u1"}, ["u1"], True))),
    "long_comment": Case("too_long", _set(comment_text="x" * LONG_COMMENT)),
    "no_event_id": Case("missing_event_id", _set(event_id=_one_of(None, ""))),
    "no_user": Case("missing_user", _set(user_id=_one_of(None, ""))),
    "no_video": Case("missing_video", _without("video_id")),
    "no_time": Case("missing_event_time", _set(event_time=_one_of(None, "", 0))),
    "other_event_type": Case(
        "unknown_event_type", _set(event_type=_one_of("View", "view ", "scroll", "", None))
    ),
    "clock_ahead": Case("event_time_in_future", _fast_clock),
    "clock_reset": Case(
        "arrived_too_late", _set(event_time=_one_of("2000-01-01T00:00:09Z", "1970-01-01T00:00:09Z"))
    ),
    "delivered_too_late": Case(
        "arrived_too_late",
        _shift(lambda random, clean: -DAY * int(clean.late_days + random.integers(1, 30))),
    ),
    "misspelt_video": Case("unknown_video", _misspelt_video),
    "negative_watch_time": Case(
        "impossible_watch_time", _set(watch_ms=lambda random, _: -int(random.lognormal(7, 2)) - 1)
    ),
    "watch_time_beyond_the_bound": Case(
        "impossible_watch_time",
        _set(
            watch_ms=lambda random, clean: int(
                clean.max_replays * DURATION_MS * (1.001 + random.lognormal(0, 2))
            )
        ),
    ),
    "watch_time_beyond_the_bound_of_unknown_duration": Case(
        "impossible_watch_time",
        _set(
            video_id=UNKNOWN_DURATION,
            watch_ms=lambda random, clean: int(
                clean.max_watch_minutes * 60_000 * (1.001 + random.lognormal(0, 1))
            ),
        ),
    ),
    "repeated_upload": Case("duplicate_event"),
    "bot": Case("suspected_bot"),
    # corruption that the contract does not name
    "repeated_upload_with_new_id": Case(None),
    "clock_ahead_within_the_day": Case(None, _later_today),
    "watch_time_in_wrong_unit": Case(
        None,
        _set(watch_ms=lambda random, clean: int(random.uniform(0.05, 1) * clean.max_replays * DURATION_MS)),
    ),
}


def plant_lines(seed: int, clean: CleanConfig, lines_per_case: int) -> list[PlantedLine]:
    """Return the lines of all cases, in the order of writing.

    Args:
        seed: Of all draws.
        clean: The bounds that the corruptions exceed.
        lines_per_case: Lines of each case of single lines. Other cases have a number of users instead.
    """
    random = np.random.default_rng(seed)
    lines = [
        _single_line(name, case, number, random, clean)
        for name, case in CASES.items()
        if case.change
        for number in range(lines_per_case if case.reason != "too_long" else lines_per_case // 10)
    ]
    for number in range(lines_per_case):
        lines += _ordinary_user(f"ordinary-{number}", random)
        lines += _rewatches(number, random)
        lines += _same_ids_of_two_users(number, random)
        lines += _repeated_uploads(number, random)
    for number in range(lines_per_case // 2):
        lines += _heavy_user(f"heavy-{number}", random)
    for number in range(lines_per_case // 4):
        lines += _bot(f"bot-{number}", random)
    return lines


def catalogue() -> Iterator[tuple[date, dict[str, Any]]]:
    """Yield the day received and the entry of each video."""
    for video in VIDEOS:
        yield DAYS[0], {"video_id": video, "duration_ms": DURATION_MS}
    yield DAYS[0], {"video_id": UNKNOWN_DURATION}
    yield DAYS[-1], {"video_id": LATE_ENTRY, "duration_ms": DURATION_MS}


def _single_line(
    name: str, case: Case, number: int, random: np.random.Generator, clean: CleanConfig
) -> PlantedLine:
    received = DAYS[-1] if name == "catalogue_entry_of_the_same_day" else _draw_day(random)
    event = _view(f"{name}-{number}", f"{name}-user-{number % 500}", _draw_time(received, random), random)
    assert case.change
    changed = case.change(event, random, clean)
    content = changed if isinstance(changed, bytes) else _encode(changed)
    return PlantedLine(received, "a.jsonl", content, name, (event["user_id"], received))


def _ordinary_user(user: str, random: np.random.Generator) -> list[PlantedLine]:
    start = _draw_time(_draw_day(random), random)
    return _session(user, start, float(random.uniform(3, 15)), random, "ordinary_user")


def _heavy_user(user: str, random: np.random.Generator) -> list[PlantedLine]:
    """Return one to three hours without a break."""
    start = _draw_time(_draw_day(random), random)
    return _session(user, start, float(random.uniform(60, 180)), random, "heavy_user")


def _session(
    user: str, start: datetime, minutes: float, random: np.random.Generator, case: str
) -> list[PlantedLine]:
    """Return an impression, a view and sometimes a like for one video after the other."""
    median_s = WATCH_MEDIAN_S * float(random.lognormal(0, USER_SIGMA))
    lines: list[PlantedLine] = []
    time = start
    while time < start + timedelta(minutes=minutes):
        watched_s = min(median_s * float(random.lognormal(0, WATCH_SIGMA)), 7 * DURATION_MS / 1000)
        view = _view(f"{user}-{len(lines)}", user, time, random) | {"watch_ms": int(1000 * watched_s)}
        impression = _event_like(view, "impression")
        likes = [_event_like(view, "like")] if random.random() < 0.08 else []
        lines += [_line(event, case) for event in (impression, view, *likes)]
        time += timedelta(seconds=watched_s + float(random.uniform(0.3, 1.5)))
    return lines


def _bot(user: str, random: np.random.Generator) -> list[PlantedLine]:
    """Return the views of a program that leaves each video within a second, for 30 to 120 minutes."""
    time = _draw_time(_draw_day(random), random)
    end = time + timedelta(minutes=float(random.uniform(30, 120)))
    pause_s = float(np.exp(random.uniform(np.log(0.1), np.log(2))))
    lines: list[PlantedLine] = []
    while time < end:
        watch_ms = int(random.integers(200, 900))
        lines.append(_line(_view(f"{user}-{len(lines)}", user, time, random) | {"watch_ms": watch_ms}, "bot"))
        time += timedelta(seconds=watch_ms / 1000 + pause_s)
    return lines


def _rewatches(number: int, random: np.random.Generator) -> list[PlantedLine]:
    """Return two views of a video within a second to an hour, each with an id of its own."""
    user = f"rewatch-{number}"
    first = _view(f"{user}-0", user, _draw_time(_draw_day(random), random), random)
    later = first["event_time"] + timedelta(seconds=float(random.uniform(1, 3600)))
    again = first | {"event_id": f"{user}-1", "event_time": later}
    return [_line(event, "rewatch_with_new_id") for event in (first, again)]


def _same_ids_of_two_users(number: int, random: np.random.Generator) -> list[PlantedLine]:
    """Return events of two apps that number their events from 0."""
    time = _draw_time(_draw_day(random), random)
    users = (f"counter-a-{number}", f"counter-b-{number}")
    return [_line(_view("0", user, time, random), "same_id_of_another_user") for user in users]


def _repeated_uploads(number: int, random: np.random.Generator) -> list[PlantedLine]:
    """Return an event and a repeated upload of it: in the same file, another one, or the next day.

    A third of the uploads has a longer watch time. One more upload has a new id, as of an app that forgot
    the first one.
    """
    user, day = f"upload-{number}", DAYS[int(random.integers(len(DAYS) - 1))]
    event = _view(f"{user}-0", user, _draw_time(day, random), random)
    copy = event | ({"watch_ms": event["watch_ms"] + 1000} if random.random() < 1 / 3 else {})
    received, file = [(day, "a.jsonl"), (day, "b.jsonl"), (day + DAY, "a.jsonl")][int(random.integers(3))]
    first = _line(event, "ordinary_user")
    renamed = _line(event | {"event_id": f"{user}-1"}, "repeated_upload_with_new_id")
    repeated = first._replace(received=received, file=file, content=_encode(copy), case="repeated_upload")
    return [first, repeated, renamed]


def _view(event_id: str, user: str, time: datetime, random: np.random.Generator) -> Event:
    return {
        "event_id": event_id,
        "user_id": user,
        "video_id": VIDEOS[int(random.integers(len(VIDEOS)))],
        "event_type": "view",
        "event_time": time,
        "watch_ms": int(random.uniform(0.05, 1) * DURATION_MS),
        "context": {"device": "android", "network": "wifi"},
    }


def _event_like(view: Event, event_type: str) -> Event:
    """Return another event of the same moment."""
    event = view | {"event_id": f"{view['event_id']}-{event_type}", "event_type": event_type}
    del event["watch_ms"]
    return event


def _draw_day(random: np.random.Generator) -> date:
    return DAYS[int(random.integers(len(DAYS)))]


def _draw_time(day: date, random: np.random.Generator) -> datetime:
    """Return a time between 2 and 20 o'clock, so that no session of a case crosses midnight."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return midnight + timedelta(milliseconds=int(random.uniform(2, 20) * 3_600_000))


def _line(event: Event, case: str) -> PlantedLine:
    day = event["event_time"].date()
    return PlantedLine(day, "a.jsonl", _encode(event), case, (event["user_id"], day))


def _encode(event: Event) -> bytes:
    return msgspec.json.encode(event)
