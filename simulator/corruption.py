"""Corrupt logs. Each corruption has a rate and the reason for which the pipeline must reject the row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from core.config import CleanConfig
from simulator.seeds import make_rng

EventDict = dict[str, Any]
DAY = timedelta(days=1)


@dataclass(frozen=True)
class LogLine:
    """One line of an events file, before it is written.

    Attributes:
        received_at: when it reaches the platform. It determines the file and the position there.
        event: the fields of the event.
        corruption: name of the corruption, None for a correct line.
        reject_reason: why the pipeline must reject the line, None if it must keep it.
        truncated: only the first half of the line is written.
    """

    received_at: datetime
    event: EventDict
    corruption: str | None = None
    reject_reason: str | None = None
    truncated: bool = False

    def encode(self) -> bytes:
        """Return the line as bytes without the line end. Android devices log times as epoch ms."""
        event = dict(self.event)
        time, device = event.get("event_time"), event.get("context", {}).get("device")
        if isinstance(time, datetime) and device == "android":
            event["event_time"] = round(time.timestamp() * 1000)
        text = msgspec.json.encode(event)
        return text[: len(text) // 2] if self.truncated else text


@dataclass(frozen=True)
class ClockFault:
    """A fault of a user's clock that lasts a day.

    Attributes:
        rate: share of the users.
        shift: draws the error of the clock.
        reject_reason: why the pipeline must reject the user's events, None if it must keep them.
    """

    name: str
    rate: float
    shift: Callable[[np.random.Generator, CleanConfig], timedelta]
    reject_reason: str | None = None


@dataclass(frozen=True)
class Corruption:
    """A fault of single events.

    Attributes:
        rate: share of the events.
        apply: returns the corrupted line, or the correct line followed by its corrupted copies.
        reject_reason: why the pipeline must reject the result, None if it must keep it.
    """

    name: str
    rate: float
    apply: Callable[[LogLine, np.random.Generator, CleanConfig], Sequence[LogLine]]
    reject_reason: str | None = None


def corrupt_lines(seed: int, day: int, lines: Sequence[LogLine], clean: CleanConfig) -> list[LogLine]:
    """Corrupt the lines of a day. A line has at most one corruption.

    Args:
        lines: correct lines.
        clean: the limits of the pipeline (`clean` in params.yaml), which the corruptions exceed.
    """
    random = make_rng(seed, "dirt", day)
    lines = _apply_clock_faults(random, lines, clean)
    bounds = np.cumsum([corruption.rate for corruption in CORRUPTIONS])
    drawn_indices = np.searchsorted(bounds, random.random(len(lines)), side="right")
    return [
        result
        for line, position in zip(lines, drawn_indices, strict=True)
        for result in (
            _apply_corruption(CORRUPTIONS[position], line, random, clean)
            if position < len(CORRUPTIONS) and _is_applicable(CORRUPTIONS[position], line, clean)
            else [line]
        )
    ]


def _apply_corruption(
    corruption: Corruption, line: LogLine, random: np.random.Generator, clean: CleanConfig
) -> list[LogLine]:
    first, *copies = corruption.apply(line, random, clean)
    if copies:  # the first of several is correct; only its copies are corrupted
        return [
            first,
            *(
                replace(copy, corruption=corruption.name, reject_reason=corruption.reject_reason)
                for copy in copies
            ),
        ]
    return [replace(first, corruption=corruption.name, reject_reason=corruption.reject_reason)]


def _apply_clock_faults(
    random: np.random.Generator, lines: Sequence[LogLine], clean: CleanConfig
) -> list[LogLine]:
    """Give some users a wrong clock for the whole day."""
    user_ids = sorted({line.event["user_id"] for line in lines})
    bounds = np.cumsum([clock.rate for clock in CLOCK_FAULTS])
    drawn_indices = np.searchsorted(bounds, random.random(len(user_ids)), side="right")
    faults_by_user = {
        user: (CLOCK_FAULTS[position], CLOCK_FAULTS[position].shift(random, clean))
        for user, position in zip(user_ids, drawn_indices, strict=True)
        if position < len(CLOCK_FAULTS)
    }
    return [
        _shift_event_time(line, *faults_by_user[user])
        if (user := line.event["user_id"]) in faults_by_user
        else line
        for line in lines
    ]


def _shift_event_time(line: LogLine, fault: ClockFault, shift: timedelta) -> LogLine:
    event = line.event | {"event_time": line.event["event_time"] + shift}
    return replace(line, event=event, corruption=fault.name, reject_reason=fault.reject_reason)


def make_bot_lines(
    seed: int, day: int, midnight: datetime, videos: Sequence[str], clean: CleanConfig
) -> list[LogLine]:
    """Return one hour of a bot's events, 60 more than `clean.bot_events_per_hour`.

    Args:
        midnight: start of the day (UTC).
        videos: ids of the videos that the bot may watch.
    """
    random = make_rng(seed, "bot", day)
    count = clean.bot_events_per_hour + 60
    start = midnight + timedelta(hours=int(random.integers(1, 22)), minutes=1)
    lines = []
    for number in range(count):
        time = start + timedelta(seconds=58 * 60 * number / count)
        event = {
            "event_id": f"syn-b{day:03d}-{number:05d}",
            "user_id": bot_id(day),
            "video_id": str(random.choice(videos)),
            "event_type": "view" if number % 2 else "impression",
            "event_time": time,
            **({"watch_ms": 700} if number % 2 else {}),
            "context": {"device": "android", "network": "wifi"},
        }
        lines.append(LogLine(time, event, "bot", "suspected_bot"))
    return lines


def bot_id(day: int) -> str:
    """Return the id of the day's bot. Each day has its own."""
    return f"syn-bot{day:03d}"


def _is_applicable(corruption: Corruption, line: LogLine, clean: CleanConfig) -> bool:
    """Whether the line is correct so far and has the field that the corruption changes."""
    if line.corruption or (corruption.name == "late" and not clean.late_days):
        return False
    return corruption.name not in WATCH_TIME_CORRUPTIONS or "watch_ms" in line.event


def _remove_field(field: str) -> Callable[[LogLine, np.random.Generator, CleanConfig], list[LogLine]]:
    def apply(line: LogLine, random: np.random.Generator, clean: CleanConfig) -> list[LogLine]:
        return [replace(line, event={key: value for key, value in line.event.items() if key != field})]

    return apply


def _replace_field(
    field: str, *values: Any
) -> Callable[[LogLine, np.random.Generator, CleanConfig], list[LogLine]]:
    def apply(line: LogLine, random: np.random.Generator, clean: CleanConfig) -> list[LogLine]:
        return [replace(line, event=line.event | {field: values[int(random.integers(len(values)))]})]

    return apply


def _duplicate(line: LogLine, random: np.random.Generator, clean: CleanConfig) -> list[LogLine]:
    """Send the line once or twice more, seconds or sometimes a day later."""
    delay = (
        DAY if clean.late_days and random.random() < 0.1 else timedelta(seconds=int(random.integers(1, 90)))
    )
    copies = 1 + int(random.random() < 0.2)
    return [line, *(replace(line, received_at=line.received_at + delay * (n + 1)) for n in range(copies))]


def _late(line: LogLine, random: np.random.Generator, clean: CleanConfig) -> list[LogLine]:
    """Deliver the line on a later day, early enough to be kept."""
    return [replace(line, received_at=line.received_at + DAY * int(random.integers(1, clean.late_days + 1)))]


def _too_late(line: LogLine, random: np.random.Generator, clean: CleanConfig) -> list[LogLine]:
    days = clean.late_days + int(random.integers(1, 3))
    return [replace(line, received_at=line.received_at + DAY * days)]


def _out_of_order(line: LogLine, random: np.random.Generator, clean: CleanConfig) -> list[LogLine]:
    """Deliver the line some minutes after later events."""
    return [replace(line, received_at=line.received_at + timedelta(minutes=float(random.uniform(1, 20))))]


def _draw_small_skew(random: np.random.Generator, clean: CleanConfig) -> timedelta:
    """Draw less than the allowed skew. It is negative only if late events are accepted."""
    low = -1 if clean.late_days else 0
    return timedelta(seconds=int(random.uniform(low, 1) * clean.clock_skew_minutes * 60))


def _draw_ahead(random: np.random.Generator, clean: CleanConfig) -> timedelta:
    return DAY * int(random.integers(2, 60)) + timedelta(minutes=clean.clock_skew_minutes)


def _draw_behind(random: np.random.Generator, clean: CleanConfig) -> timedelta:
    return -DAY * (clean.late_days + int(random.integers(1, 400)))


def _impossible_watch_time(line: LogLine, random: np.random.Generator, clean: CleanConfig) -> list[LogLine]:
    """Set a watch time that is negative or above both limits of the pipeline.

    The limits are `clean.max_replays` for videos of known duration and `clean.max_watch_minutes` for others.
    """
    longest = max(clean.max_replays * 60_000, clean.max_watch_minutes * 60_000)
    value = -int(random.integers(1, 5000)) if random.random() < 0.5 else int(longest * random.uniform(2, 9))
    return _replace_field("watch_ms", value)(line, random, clean)


def _truncate(line: LogLine, random: np.random.Generator, clean: CleanConfig) -> list[LogLine]:
    return [replace(line, truncated=True)]


WATCH_TIME_CORRUPTIONS = ("impossible_watch_time", "watch_time_missing", "watch_time_as_text")
CORRUPTIONS = (
    Corruption("duplicate", 0.008, _duplicate, "duplicate_event"),
    Corruption("late", 0.012, _late),
    Corruption("too_late", 0.003, _too_late, "arrived_too_late"),
    Corruption("out_of_order", 0.03, _out_of_order),
    Corruption("impossible_watch_time", 0.008, _impossible_watch_time, "impossible_watch_time"),
    Corruption("watch_time_missing", 0.008, _remove_field("watch_ms")),
    Corruption("watch_time_as_text", 0.002, _replace_field("watch_ms", "12s", "full"), "wrong_type"),
    Corruption("truncated_line", 0.002, _truncate, "malformed_json"),
    Corruption("time_as_words", 0.001, _replace_field("event_time", "yesterday", "noon"), "wrong_type"),
    Corruption("no_event_id", 0.001, _remove_field("event_id"), "missing_event_id"),
    Corruption("no_user", 0.002, _replace_field("user_id", None, ""), "missing_user"),
    Corruption("no_video", 0.002, _remove_field("video_id"), "missing_video"),
    Corruption("no_time", 0.001, _remove_field("event_time"), "missing_event_time"),
    Corruption("no_type", 0.001, _remove_field("event_type"), "unknown_event_type"),
    Corruption("strange_type", 0.001, _replace_field("event_type", "glance", "VIEW2"), "unknown_event_type"),
    Corruption(
        "unknown_video", 0.003, _replace_field("video_id", "syn-v-gone", "syn-v-test"), "unknown_video"
    ),
    Corruption("no_context", 0.02, _remove_field("context")),
)
CLOCK_FAULTS = (
    ClockFault("clock_skew", 0.02, _draw_small_skew),
    ClockFault("clock_ahead", 0.004, _draw_ahead, "event_time_in_future"),
    ClockFault("clock_behind", 0.004, _draw_behind, "arrived_too_late"),
)
