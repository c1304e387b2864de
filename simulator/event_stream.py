"""Write millions of events without media, chunk by chunk, to test the pipeline at scale.

Each user likes one topic and mostly watches its videos to the end. A few users and videos have most of the
events. Some rows are corrupted. They are counted by reason.
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

from core.errors import InputError
from core.run_manifests import write_json
from simulator import ground_truth
from simulator.comments import NEGATIVE_TEMPLATES, POSITIVE_TEMPLATES
from simulator.seeds import make_rng
from simulator.topics import TOPICS
from simulator.users import PROFILE_VALUES
from simulator.writer import LABEL, LABEL_FILE

CHUNK_ROWS = 250_000
EVENTS_PER_USER, EVENTS_PER_VIDEO = 50, 200
DAY_MS = 86_400_000
REACTION_RATES = {"like": 0.08, "comment": 0.02, "share": 0.01, "follow": 0.01, "dislike": 0.01}
VIEW_RATE = 0.95
CORRUPTION_RATES = {
    "duplicate": 0.01,
    "missing_user": 0.002,
    "unknown_video": 0.003,
    "impossible_watch_time": 0.003,
}
CONTEXT = pa.struct({"device": pa.string(), "network": pa.string()})


@dataclass(frozen=True)
class StreamConfig:
    """How much to write: `num_events` events over `num_days` days from `first_day`."""

    seed: int
    num_events: int
    num_days: int
    first_day: date

    @property
    def num_users(self) -> int:
        return max(self.num_events // EVENTS_PER_USER, 1)

    @property
    def num_videos(self) -> int:
        return max(self.num_events // EVENTS_PER_VIDEO, 1)


@dataclass(frozen=True)
class EventChunk:
    """Events of one day and one file.

    Attributes:
        number: number of the file within its day, from 0.
        corruption_counts: reason -> number of corrupted rows.
    """

    day: date
    number: int
    rows: pa.Table
    corruption_counts: dict[str, int]


def write_stream(config: StreamConfig, out: Path) -> dict[str, int]:
    """Write `out/landing`, and the counts to `out/ground_truth/stream.json`.

    Returns:
        the numbers of users, videos, events and corrupted rows.

    Raises:
        InputError: the landing folder is not empty.
    """
    landing = out / "landing"
    if landing.exists() and any(landing.iterdir()):
        raise InputError(f"{landing} is not empty; pass --out with a new folder")
    landing.mkdir(parents=True, exist_ok=True)
    (landing / LABEL_FILE).write_text(LABEL, encoding="utf-8")
    for record_type, tables in (("users", make_user_batches(config)), ("videos", make_video_batches(config))):
        for number, rows in enumerate(tables):
            _write_parquet(landing, record_type, config.first_day, number, rows)
    corruption_counts: Counter[str] = Counter()
    with tqdm(total=config.num_events, desc="events", unit="event", unit_scale=True) as bar:
        for chunk in make_event_chunks(config):
            _write_parquet(landing, "events", chunk.day, chunk.number, chunk.rows)
            corruption_counts.update(chunk.corruption_counts)
            bar.update(chunk.rows.num_rows)
    counts = {"users": config.num_users, "videos": config.num_videos, "events": config.num_events}
    write_json(out / ground_truth.FOLDER_NAME / "stream.json", counts | {"corrupted_rows": corruption_counts})
    return counts | {"corrupted_rows": corruption_counts.total()}


def make_event_chunks(config: StreamConfig) -> Iterator[EventChunk]:
    """Yield the events day by day. At most CHUNK_ROWS are in memory at a time."""
    offset = 0
    for day in range(config.num_days):
        remaining = _part_size(config.num_events, config.num_days, day)
        sizes = [min(CHUNK_ROWS, remaining - start) for start in range(0, remaining, CHUNK_ROWS)]
        for number, size in enumerate(sizes):
            window = (number / len(sizes), (number + 1) / len(sizes))
            yield _make_chunk(config, day, number, size, offset, window)
            offset += size


def make_user_batches(config: StreamConfig) -> Iterator[pa.Table]:
    """Yield the user profiles in batches."""
    for start, size in _batch_ranges(config.num_users):
        random = make_rng(config.seed, "stream users", start)
        columns = {name: _draw_values(random, values, size) for name, values in PROFILE_VALUES.items()}
        registered = pa.array([datetime.combine(config.first_day, datetime.min.time(), UTC)] * size)
        yield pa.table(
            {"user_id": _make_ids("syn-u", np.arange(start, start + size)), "registration_time": registered}
            | columns
        )


def make_video_batches(config: StreamConfig) -> Iterator[pa.Table]:
    """Yield the videos of the catalogue in batches, without media."""
    words = np.array([topic.words for topic in TOPICS])
    for start, size in _batch_ranges(config.num_videos):
        numbers = np.arange(start, start + size)
        topics = _video_topics(numbers)
        word_indices = make_rng(config.seed, "stream videos", start).integers(words.shape[1], size=(2, size))
        yield pa.table(
            {
                "video_id": _make_ids("syn-v", numbers),
                "caption": _join_text(
                    words[topics, word_indices[0]], words[topics, word_indices[1]], separator=" "
                ),
                "category": pa.array(np.array([topic.group for topic in TOPICS])[topics]),
                "duration_ms": _durations(numbers),
            }
        )


def _make_chunk(
    config: StreamConfig, day: int, number: int, size: int, offset: int, window: tuple[float, float]
) -> EventChunk:
    """Make exactly `size` events in order of time.

    Args:
        offset: number of events before this chunk; the event ids continue from it.
        window: start and end of the chunk, as shares of the day.
    """
    random = make_rng(config.seed, "stream events", day, number)
    interactions = _draw_interactions(random, config, size, window)
    interaction, event_type, time = _draw_events(random, interactions, size)
    rows = np.arange(size)
    corruption = _draw_corruptions(random, size)
    rows[corruption == "duplicate"] -= 1  # repeats the row before
    interaction, event_type, time = interaction[rows], event_type[rows], time[rows]
    watched = np.where(corruption == "impossible_watch_time", -1, interactions["watch_ms"][interaction])
    has_watch = (event_type == "view") | (corruption == "impossible_watch_time")
    midnight = datetime.combine(config.first_day + timedelta(day), datetime.min.time(), UTC)
    table = pa.table(
        {
            "event_id": _make_ids("syn-e", offset + rows),
            "user_id": pc.if_else(
                corruption != "missing_user",
                _make_ids("syn-u", interactions["user"][interaction]),
                pa.scalar(None, pa.string()),
            ),
            "video_id": pc.if_else(
                corruption != "unknown_video",
                _make_ids("syn-v", interactions["video"][interaction]),
                "syn-v-gone",
            ),
            "event_type": pa.array(event_type.astype(str)),
            "event_time": pa.array(int(midnight.timestamp() * 1000) + time),
            "watch_ms": pa.array(watched, mask=~has_watch),
            "comment_text": _draw_comments(random, event_type == "comment"),
            "context": _draw_context(random, size),
        }
    )
    return EventChunk(config.first_day + timedelta(day), number, table, _count_corruptions(corruption))


def _draw_interactions(
    random: np.random.Generator, config: StreamConfig, size: int, window: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Draw enough interactions for `size` events.

    Returns:
        arrays `user`, `video`, `start` (ms since midnight) and `watch_ms`.
    """
    count = size if size < 1000 else int(size * 0.55)
    user = (config.num_users * random.random(count) ** 3).astype(np.int64)
    video = (config.num_videos * random.random(count) ** 2).astype(np.int64)
    is_match = _video_topics(video) == user * 7 % len(TOPICS)
    ratio = np.where(is_match, random.random(count) ** 0.3, random.random(count) ** 2)
    start = np.sort(random.uniform(*window, size=count)) * (DAY_MS - 60_000)
    watched = (ratio * _durations(video)).astype(np.int64)
    return {"user": user, "video": video, "start": start.astype(np.int64), "watch_ms": watched}


def _draw_events(
    random: np.random.Generator, interactions: dict[str, np.ndarray], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the events of the interactions and keep the first `size` by time.

    Returns:
        of each event: row of its interaction, event type, time (ms since midnight).
    """
    count = len(interactions["start"])
    viewed = random.random(count) < VIEW_RATE
    end = interactions["start"] + interactions["watch_ms"]
    occurrences = {"impression": (np.ones(count, bool), interactions["start"]), "view": (viewed, end)}
    for order, (reaction, share) in enumerate(REACTION_RATES.items(), 1):
        occurrences[reaction] = (viewed & (random.random(count) < share), end + order)
    interaction = np.concatenate([np.flatnonzero(occurs) for occurs, _ in occurrences.values()])
    event_type = np.concatenate(
        [np.full(occurs.sum(), name, "U10") for name, (occurs, _) in occurrences.items()]
    )
    time = np.concatenate([times[occurs] for occurs, times in occurrences.values()])
    assert len(time) >= size, f"{count} interactions gave only {len(time)} events; {size} are needed"
    first = np.argsort(time, kind="stable")[:size]
    return interaction[first], event_type[first], time[first]


def _draw_corruptions(random: np.random.Generator, size: int) -> np.ndarray:
    """Draw the reason to reject each row, "" for most. Only a correct row is duplicated."""
    names = np.array([*CORRUPTION_RATES, ""])
    corruption = names[
        np.searchsorted(np.cumsum(list(CORRUPTION_RATES.values())), random.random(size), side="right")
    ]
    after_good = np.concatenate([[False], corruption[:-1] == ""])
    return np.where((corruption == "duplicate") & ~after_good, "", corruption)


def _count_corruptions(corruption: np.ndarray) -> dict[str, int]:
    reasons, counts = np.unique(corruption[corruption != ""], return_counts=True)
    return {str(reason): int(count) for reason, count in zip(reasons, counts, strict=True)}


def _video_topics(numbers: np.ndarray) -> np.ndarray:
    return numbers * 5 % len(TOPICS)


def _durations(numbers: np.ndarray) -> np.ndarray:
    """Return the duration of each video in ms, between 3 and 30 s."""
    return 3000 + numbers * 7919 % 27_001


def _draw_comments(random: np.random.Generator, commented: np.ndarray) -> pa.Array:
    phrases = [phrase.format(word="video") for phrase in (*POSITIVE_TEMPLATES, *NEGATIVE_TEMPLATES)]
    return pc.if_else(commented, _draw_values(random, phrases, len(commented)), pa.scalar(None, pa.string()))


def _draw_context(random: np.random.Generator, size: int) -> pa.Array:
    device = _draw_values(random, PROFILE_VALUES["device"], size)
    return pa.StructArray.from_arrays(
        [device, _draw_values(random, ("wifi", "mobile"), size)], fields=list(CONTEXT)
    )


def _draw_values(random: np.random.Generator, values: tuple[str, ...] | list[str], size: int) -> pa.Array:
    return pa.array(values).take(pa.array(random.integers(len(values), size=size)))


def _make_ids(prefix: str, numbers: np.ndarray) -> pa.Array:
    return _join_text(np.array([prefix]).repeat(len(numbers)), numbers, separator="")


def _join_text(left: np.ndarray, right: np.ndarray, separator: str) -> pa.Array:
    return pc.binary_join_element_wise(pa.array(left), pc.cast(pa.array(right), pa.string()), separator)


def _batch_ranges(total: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, CHUNK_ROWS):
        yield start, min(CHUNK_ROWS, total - start)


def _part_size(total: int, parts: int, part: int) -> int:
    """Return the size of one part of a total that is split evenly."""
    return total * (part + 1) // parts - total * part // parts


def _write_parquet(landing: Path, record_type: str, day: date, number: int, rows: pa.Table) -> None:
    path = landing / record_type / f"dt={day}" / f"part-{number:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
