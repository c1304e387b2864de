"""How logs get dirty. Each kind of dirt says how often it happens and what must become of the row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from contracts.params import Clean
from world.seeds import rng

EventDict = dict[str, Any]
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Line:
    """One line of an events file on its way.

    received: when it reaches the platform; its file and its place there follow from it.
    kind: what is wrong with it (None: nothing). reason: what it is refused for (None: it is kept).
    truncated: it breaks off in the middle.
    """

    received: datetime
    event: EventDict
    kind: str | None = None
    reason: str | None = None
    truncated: bool = False

    def encode(self) -> bytes:
        """The line as bytes, without the line end. Android phones write times as epoch milliseconds."""
        event = dict(self.event)
        time, device = event.get("event_time"), event.get("context", {}).get("device")
        if isinstance(time, datetime) and device == "android":
            event["event_time"] = round(time.timestamp() * 1000)
        text = msgspec.json.encode(event)
        return text[: len(text) // 2] if self.truncated else text


@dataclass(frozen=True)
class Clock:
    """A way in which a person's clock is wrong for a day: share of the people, shift, why that is refused."""

    kind: str
    share: float
    shift: Callable[[np.random.Generator, Clean], timedelta]
    reason: str | None = None


@dataclass(frozen=True)
class Dirt:
    """A kind of dirt: share of the events it befalls, what it makes of a line, and why that is refused."""

    kind: str
    share: float
    spoil: Callable[[Line, np.random.Generator, Clean], Sequence[Line]]
    reason: str | None = None


def dirty(seed: int, day: int, lines: Sequence[Line], clean: Clean) -> list[Line]:
    """Lines of a day as they really come in. A line has one kind of dirt at most.

    Args:
        clean: what the pipeline is told to take (`clean` in params.yaml), so that what is beyond is known.
    """
    random = rng(seed, "dirt", day)
    lines = _set_clocks(random, lines, clean)
    bounds = np.cumsum([dirt.share for dirt in KINDS])
    drawn = np.searchsorted(bounds, random.random(len(lines)), side="right")
    return [
        result
        for line, position in zip(lines, drawn, strict=True)
        for result in (
            _spoil(KINDS[position], line, random, clean)
            if position < len(KINDS) and _befalls(KINDS[position], line, clean)
            else [line]
        )
    ]


def _spoil(dirt: Dirt, line: Line, random: np.random.Generator, clean: Clean) -> list[Line]:
    first, *copies = dirt.spoil(line, random, clean)
    if copies:  # a line that is sent again is itself in order: its copies are what is wrong
        return [first, *(replace(copy, kind=dirt.kind, reason=dirt.reason) for copy in copies)]
    return [replace(first, kind=dirt.kind, reason=dirt.reason)]


def _set_clocks(random: np.random.Generator, lines: Sequence[Line], clean: Clean) -> list[Line]:
    """Some people's clocks are wrong all day long."""
    people = sorted({line.event["user_id"] for line in lines})
    bounds = np.cumsum([clock.share for clock in CLOCKS])
    drawn = np.searchsorted(bounds, random.random(len(people)), side="right")
    wrong = {
        user: (CLOCKS[position], CLOCKS[position].shift(random, clean))
        for user, position in zip(people, drawn, strict=True)
        if position < len(CLOCKS)
    }
    return [
        _by_clock(line, *wrong[user]) if (user := line.event["user_id"]) in wrong else line for line in lines
    ]


def _by_clock(line: Line, clock: Clock, shift: timedelta) -> Line:
    event = line.event | {"event_time": line.event["event_time"] + shift}
    return replace(line, event=event, kind=clock.kind, reason=clock.reason)


def bot(seed: int, day: int, midnight: datetime, videos: Sequence[str], clean: Clean) -> list[Line]:
    """An hour of a bot's events; more of them than `clean.bot_events_per_hour`."""
    random = rng(seed, "bot", day)
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
        lines.append(Line(time, event, "bot", "bot"))
    return lines


def bot_id(day: int) -> str:
    """Each day has a bot of its own."""
    return f"syn-bot{day:03d}"


def _befalls(dirt: Dirt, line: Line, clean: Clean) -> bool:
    """One thing wrong is enough; watch times can only be wrong where there are any."""
    if line.kind or (dirt.kind == "late" and not clean.late_days):
        return False
    return dirt.kind not in OF_VIEWS or "watch_ms" in line.event


def _without(field: str) -> Callable[[Line, np.random.Generator, Clean], list[Line]]:
    def spoil(line: Line, random: np.random.Generator, clean: Clean) -> list[Line]:
        return [replace(line, event={key: value for key, value in line.event.items() if key != field})]

    return spoil


def _with(field: str, *values: Any) -> Callable[[Line, np.random.Generator, Clean], list[Line]]:
    def spoil(line: Line, random: np.random.Generator, clean: Clean) -> list[Line]:
        return [replace(line, event=line.event | {field: values[int(random.integers(len(values)))]})]

    return spoil


def _again(line: Line, random: np.random.Generator, clean: Clean) -> list[Line]:
    """Sent twice or three times; a few seconds or, now and then, a day later."""
    wait = (
        DAY if clean.late_days and random.random() < 0.1 else timedelta(seconds=int(random.integers(1, 90)))
    )
    copies = 1 + int(random.random() < 0.2)
    return [line, *(replace(line, received=line.received + wait * (n + 1)) for n in range(copies))]


def _late(line: Line, random: np.random.Generator, clean: Clean) -> list[Line]:
    """Comes in on a later day, in time to be taken."""
    return [replace(line, received=line.received + DAY * int(random.integers(1, clean.late_days + 1)))]


def _too_late(line: Line, random: np.random.Generator, clean: Clean) -> list[Line]:
    days = clean.late_days + int(random.integers(1, 3))
    return [replace(line, received=line.received + DAY * days)]


def _out_of_order(line: Line, random: np.random.Generator, clean: Clean) -> list[Line]:
    """Overtaken by some minutes of other events."""
    return [replace(line, received=line.received + timedelta(minutes=float(random.uniform(1, 20))))]


def _slightly_off(random: np.random.Generator, clean: Clean) -> timedelta:
    """By less than what is allowed. Behind only where yesterday's events are taken."""
    least = -1 if clean.late_days else 0
    return timedelta(seconds=int(random.uniform(least, 1) * clean.clock_skew_minutes * 60))


def _ahead(random: np.random.Generator, clean: Clean) -> timedelta:
    return DAY * int(random.integers(2, 60)) + timedelta(minutes=clean.clock_skew_minutes)


def _behind(random: np.random.Generator, clean: Clean) -> timedelta:
    return -DAY * (clean.late_days + int(random.integers(1, 400)))


def _impossible(line: Line, random: np.random.Generator, clean: Clean) -> list[Line]:
    """Negative, or longer than any video may loop and than the bound where its length is unknown."""
    longest = max(clean.max_loops * 60_000, clean.max_watch_minutes * 60_000)
    value = -int(random.integers(1, 5000)) if random.random() < 0.5 else int(longest * random.uniform(2, 9))
    return _with("watch_ms", value)(line, random, clean)


def _truncate(line: Line, random: np.random.Generator, clean: Clean) -> list[Line]:
    return [replace(line, truncated=True)]


OF_VIEWS = ("impossible_watch_time", "watch_time_missing", "watch_time_as_text")
KINDS = (
    Dirt("duplicate", 0.008, _again, "duplicate"),
    Dirt("late", 0.012, _late),
    Dirt("too_late", 0.003, _too_late, "too_late"),
    Dirt("out_of_order", 0.03, _out_of_order),
    Dirt("impossible_watch_time", 0.008, _impossible, "impossible_watch_time"),
    Dirt("watch_time_missing", 0.008, _without("watch_ms")),
    Dirt("watch_time_as_text", 0.002, _with("watch_ms", "12s", "full"), "wrong_type"),
    Dirt("truncated_line", 0.002, _truncate, "malformed_json"),
    Dirt("time_as_words", 0.001, _with("event_time", "yesterday", "noon"), "wrong_type"),
    Dirt("no_event_id", 0.001, _without("event_id"), "missing_event_id"),
    Dirt("no_user", 0.002, _with("user_id", None, ""), "missing_user"),
    Dirt("no_video", 0.002, _without("video_id"), "missing_video"),
    Dirt("no_time", 0.001, _without("event_time"), "missing_event_time"),
    Dirt("no_type", 0.001, _without("event_type"), "unknown_event_type"),
    Dirt("strange_type", 0.001, _with("event_type", "glance", "VIEW2"), "unknown_event_type"),
    Dirt("unknown_video", 0.003, _with("video_id", "syn-v-gone", "syn-v-test"), "unknown_video"),
    Dirt("no_context", 0.02, _without("context")),
)
CLOCKS = (
    Clock("clock_skew", 0.02, _slightly_off),
    Clock("clock_ahead", 0.004, _ahead, "from_the_future"),
    Clock("clock_behind", 0.004, _behind, "too_late"),
)
