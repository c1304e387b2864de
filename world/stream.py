"""Events by the million, for scale work: no media, written as a stream of chunks in bounded memory.

People have one topic each and mostly watch what is of it to the end; a few people and videos have most of
the events. Some rows are dirty; how many is counted.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from contracts.errors import InputError
from contracts.receipts import write_json
from world.audience import PROFILES
from world.comments import BAD, GOOD
from world.deliver import LABEL, LABEL_FILE
from world.seeds import rng
from world.topics import TOPICS

CHUNK_ROWS = 250_000
EVENTS_PER_USER, EVENTS_PER_VIDEO = 50, 200
DAY_MS = 86_400_000
REACTIONS = {"like": 0.08, "comment": 0.02, "share": 0.01, "follow": 0.01, "dislike": 0.01}
VIEWED = 0.95
DIRT = {"duplicate": 0.01, "missing_user": 0.002, "unknown_video": 0.003, "impossible_watch_time": 0.003}
CONTEXT = pa.struct({"device": pa.string(), "network": pa.string()})


@dataclass(frozen=True)
class Plan:
    """How much to write: `events` over `days` days from `first` on."""

    seed: int
    events: int
    days: int
    first: date

    @property
    def users(self) -> int:
        return max(self.events // EVENTS_PER_USER, 1)

    @property
    def videos(self) -> int:
        return max(self.events // EVENTS_PER_VIDEO, 1)


@dataclass(frozen=True)
class Chunk:
    """Events of a day that go into one file, and how many of them are dirty, by reason."""

    day: date
    number: int
    rows: pa.Table
    dirty: dict[str, int]


def write_stream(plan: Plan, out: Path) -> dict[str, int]:
    """Write `out/landing` chunk by chunk, and the counts of dirty rows into `out/truth/stream.json`.

    Returns:
        how many users, videos, events and dirty rows there are.

    Raises:
        InputError: the landing folder is not empty.
    """
    landing = out / "landing"
    if landing.exists() and any(landing.iterdir()):
        raise InputError(f"{landing} is not empty; pass --out with a new folder")
    landing.mkdir(parents=True, exist_ok=True)
    (landing / LABEL_FILE).write_text(LABEL, encoding="utf-8")
    for kind, tables in (("users", users(plan)), ("videos", videos(plan))):
        for number, rows in enumerate(tables):
            _write(landing, kind, plan.first, number, rows)
    dirty: Counter[str] = Counter()
    with tqdm(total=plan.events, desc="events", unit="event", unit_scale=True) as bar:
        for chunk in chunks(plan):
            _write(landing, "events", chunk.day, chunk.number, chunk.rows)
            dirty.update(chunk.dirty)
            bar.update(chunk.rows.num_rows)
    counts = {"users": plan.users, "videos": plan.videos, "events": plan.events}
    write_json(out / "truth" / "stream.json", counts | {"dirty": dirty})
    return counts | {"dirty": dirty.total()}


def chunks(plan: Plan) -> Iterator[Chunk]:
    """The events in order of day; at most CHUNK_ROWS of them are in memory at a time."""
    offset = 0
    for day in range(plan.days):
        rest = _share(plan.events, plan.days, day)
        sizes = [min(CHUNK_ROWS, rest - start) for start in range(0, rest, CHUNK_ROWS)]
        for number, size in enumerate(sizes):
            window = (number / len(sizes), (number + 1) / len(sizes))
            yield _chunk(plan, day, number, size, offset, window)
            offset += size


def users(plan: Plan) -> Iterator[pa.Table]:
    """Profiles, in batches."""
    for start, size in _batches(plan.users):
        random = rng(plan.seed, "stream users", start)
        columns = {name: _pick(random, values, size) for name, values in PROFILES.items()}
        registered = pa.array([datetime.combine(plan.first, datetime.min.time(), UTC)] * size)
        yield pa.table(
            {"user_id": _ids("syn-u", np.arange(start, start + size)), "registration_time": registered}
            | columns
        )


def videos(plan: Plan) -> Iterator[pa.Table]:
    """Catalogue entries without media, in batches."""
    words = np.array([topic.words for topic in TOPICS])
    for start, size in _batches(plan.videos):
        numbers = np.arange(start, start + size)
        topics = _video_topics(numbers)
        said = rng(plan.seed, "stream videos", start).integers(words.shape[1], size=(2, size))
        yield pa.table(
            {
                "video_id": _ids("syn-v", numbers),
                "caption": _joined(words[topics, said[0]], words[topics, said[1]], separator=" "),
                "category": pa.array(np.array([topic.group for topic in TOPICS])[topics]),
                "duration_ms": _durations(numbers),
            }
        )


def _chunk(plan: Plan, day: int, number: int, size: int, offset: int, window: tuple[float, float]) -> Chunk:
    """Exactly `size` events in order of time, from a window (shares of a day)."""
    random = rng(plan.seed, "stream events", day, number)
    viewings = _viewings(random, plan, size, window)
    viewing, kind, time = _events(random, viewings, size)
    rows = np.arange(size)
    fate = _fates(random, size)
    rows[fate == "duplicate"] -= 1  # the row before it once more
    viewing, kind, time = viewing[rows], kind[rows], time[rows]
    watched = np.where(fate == "impossible_watch_time", -1, viewings["watch_ms"][viewing])
    has_watch = (kind == "view") | (fate == "impossible_watch_time")
    midnight = datetime.combine(plan.first + timedelta(day), datetime.min.time(), UTC)
    table = pa.table(
        {
            "event_id": _ids("syn-e", offset + rows),
            "user_id": pc.if_else(
                fate != "missing_user", _ids("syn-u", viewings["user"][viewing]), pa.scalar(None, pa.string())
            ),
            "video_id": pc.if_else(
                fate != "unknown_video", _ids("syn-v", viewings["video"][viewing]), "syn-v-gone"
            ),
            "event_type": pa.array(kind.astype(str)),
            "event_time": pa.array(int(midnight.timestamp() * 1000) + time),
            "watch_ms": pa.array(watched, mask=~has_watch),
            "comment_text": _comments(random, kind == "comment"),
            "context": _context(random, size),
        }
    )
    return Chunk(plan.first + timedelta(day), number, table, _counts(fate))


def _viewings(
    random: np.random.Generator, plan: Plan, size: int, window: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Enough viewings for `size` events: user, video, start (ms of the day), watched ms."""
    count = size if size < 1000 else int(size * 0.55)
    user = (plan.users * random.random(count) ** 3).astype(np.int64)
    video = (plan.videos * random.random(count) ** 2).astype(np.int64)
    liked = _video_topics(video) == user * 7 % len(TOPICS)
    ratio = np.where(liked, random.random(count) ** 0.3, random.random(count) ** 2)
    start = np.sort(random.uniform(*window, size=count)) * (DAY_MS - 60_000)
    watched = (ratio * _durations(video)).astype(np.int64)
    return {"user": user, "video": video, "start": start.astype(np.int64), "watch_ms": watched}


def _events(
    random: np.random.Generator, viewings: dict[str, np.ndarray], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `size` events of the viewings by time: viewing, type, time (ms of the day)."""
    count = len(viewings["start"])
    viewed = random.random(count) < VIEWED
    end = viewings["start"] + viewings["watch_ms"]
    happened = {"impression": (np.ones(count, bool), viewings["start"]), "view": (viewed, end)}
    for order, (reaction, share) in enumerate(REACTIONS.items(), 1):
        happened[reaction] = (viewed & (random.random(count) < share), end + order)
    viewing = np.concatenate([np.flatnonzero(which) for which, _ in happened.values()])
    kind = np.concatenate([np.full(which.sum(), name, "U10") for name, (which, _) in happened.items()])
    time = np.concatenate([when[which] for which, when in happened.values()])
    assert len(time) >= size, f"{count} viewings made {len(time)} events, {size} are needed"
    first = np.argsort(time, kind="stable")[:size]
    return viewing[first], kind[first], time[first]


def _fates(random: np.random.Generator, size: int) -> np.ndarray:
    """The reason for which each row must be refused; "" for most. What is repeated is in order itself."""
    names = np.array([*DIRT, ""])
    fate = names[np.searchsorted(np.cumsum(list(DIRT.values())), random.random(size), side="right")]
    after_good = np.concatenate([[False], fate[:-1] == ""])
    return np.where((fate == "duplicate") & ~after_good, "", fate)


def _counts(fate: np.ndarray) -> dict[str, int]:
    reasons, counts = np.unique(fate[fate != ""], return_counts=True)
    return {str(reason): int(count) for reason, count in zip(reasons, counts, strict=True)}


def _video_topics(numbers: np.ndarray) -> np.ndarray:
    return numbers * 5 % len(TOPICS)


def _durations(numbers: np.ndarray) -> np.ndarray:
    """3 to 30 s, a function of the video."""
    return 3000 + numbers * 7919 % 27_001


def _comments(random: np.random.Generator, commented: np.ndarray) -> pa.Array:
    phrases = [phrase.format(word="video") for phrase in (*GOOD, *BAD)]
    return pc.if_else(commented, _pick(random, phrases, len(commented)), pa.scalar(None, pa.string()))


def _context(random: np.random.Generator, size: int) -> pa.Array:
    device = _pick(random, PROFILES["device"], size)
    return pa.StructArray.from_arrays([device, _pick(random, ("wifi", "mobile"), size)], fields=list(CONTEXT))


def _pick(random: np.random.Generator, values: tuple[str, ...] | list[str], size: int) -> pa.Array:
    return pa.array(values).take(pa.array(random.integers(len(values), size=size)))


def _ids(prefix: str, numbers: np.ndarray) -> pa.Array:
    return _joined(np.array([prefix]).repeat(len(numbers)), numbers, separator="")


def _joined(left: np.ndarray, right: np.ndarray, separator: str) -> pa.Array:
    return pc.binary_join_element_wise(pa.array(left), pc.cast(pa.array(right), pa.string()), separator)


def _batches(total: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, CHUNK_ROWS):
        yield start, min(CHUNK_ROWS, total - start)


def _share(total: int, parts: int, part: int) -> int:
    """The size of one part when a total is split as evenly as can be."""
    return total * (part + 1) // parts - total * part // parts


def _write(landing: Path, kind: str, day: date, number: int, rows: pa.Table) -> None:
    path = landing / kind / f"dt={day}" / f"part-{number:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
