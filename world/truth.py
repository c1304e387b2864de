"""The truth about the world, written apart from the landing folder. No step of the pipeline may read it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.receipts import write_json
from world.catalogue import MODALITIES, Video
from world.days import World
from world.dirt import Line
from world.topics import TOPICS
from world.viewing import Viewing

NAME = "truth"
VIEWING = pa.schema(
    {
        "user_id": pa.string(),
        "video_id": pa.string(),
        "day": pa.int32(),
        "started": pa.float64(),
        "interest": pa.float64(),
        "watched_ms": pa.int64(),
        "left_segment": pa.int32(),
        "reactions": pa.list_(pa.string()),
        "sentiment": pa.int32(),
    }
)
DIRT = pa.schema(
    {
        "file": pa.string(),
        "line": pa.int64(),
        "kind": pa.string(),
        "reason": pa.string(),
        "event_id": pa.string(),
    }
)
MEDIA_REASONS = {"truncated": "unreadable_media", "garbage": "unreadable_media", "missing": "missing_media"}


class TruthWriter:
    """Writes the truth day by day, as the days are lived."""

    def __init__(self, folder: Path, world: World) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        _world(folder, world)
        _people(folder / "users.parquet", world)
        write_videos(folder, world.videos)
        self._viewings = pq.ParquetWriter(folder / "viewings.parquet", VIEWING)
        self._dirt = pq.ParquetWriter(folder / "dirt.parquet", DIRT)

    def viewings(self, day: int, viewings: Iterable[Viewing]) -> None:
        """What really happened on a day."""
        rows = [_viewing(day, viewing) for viewing in viewings]
        self._viewings.write_table(pa.Table.from_pylist(rows, VIEWING))

    def dirt(self, file: str, lines: Iterable[Line]) -> None:
        """Which lines of a landing file (numbered from 1) are not as they should be."""
        self._dirt.write_table(pa.Table.from_pylist(list(_dirty_rows(file, lines)), DIRT))

    def close(self) -> None:
        self._viewings.close()
        self._dirt.close()


def write_poison(folder: Path, file: str, lines: Iterable[int]) -> None:
    """Which lines of a landing file lost their user."""
    rows = [{"file": file, "line": line, "kind": "poison", "reason": "missing_user"} for line in lines]
    path = folder / f"poison-{Path(file).parent.name.removeprefix('dt=')}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, DIRT), path)


def _world(folder: Path, world: World) -> None:
    days = world.calendar
    rising = {age: [TOPICS[topic].name for topic in topics] for age, topics in world.culture.rising.items()}
    write_json(
        folder / "world.json",
        {
            "note": "SYNTHETIC: the truth behind the demo world",
            "params": asdict(days.params),
            "topics": [topic.name for topic in TOPICS],
            "modalities": MODALITIES,
            "trend_day": str(days.date(days.trend_day)),
            "rising": rising,
            "outage_day": None if days.outage_day is None else str(days.date(days.outage_day)),
            "mood": world.mood.round(6).tolist(),
        },
    )


def _people(path: Path, world: World) -> None:
    rows = [
        {
            "user_id": person.user_id,
            "first_taste": person.first_taste.tolist(),
            "later_taste": person.later_taste.tolist(),
            "drift_day": None if person.drift_day is None else world.calendar.date(person.drift_day),
            "weights": person.weights.tolist(),
            "diligence": person.diligence,
            "sessions": person.sessions,
            "peak_hour": person.peak_hour,
        }
        for person in world.people
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_videos(folder: Path, videos: Iterable[Video]) -> None:
    """What is true of each video."""
    rows = [
        {
            "video_id": video.video_id,
            **dict(zip(MODALITIES, video.topics, strict=True)),
            "segment_topics": video.segment_topics,
            "appeal": video.appeal,
            "quality": video.quality,
            "duration_ms": video.duration_ms,
            "broken": video.broken,
            "reason": MEDIA_REASONS.get(video.broken or ""),
            "left_out": video.left_out,
        }
        for video in videos
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "videos.parquet")


def _viewing(day: int, viewing: Viewing) -> dict[str, Any]:
    return {
        "user_id": viewing.person.user_id,
        "video_id": viewing.video.video_id,
        "day": day,
        **{name: getattr(viewing, name) for name in VIEWING.names[3:]},
    }


def _dirty_rows(file: str, lines: Iterable[Line]) -> Iterable[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.kind:
            yield {
                "file": file,
                "line": number,
                "kind": line.kind,
                "reason": line.reason,
                "event_id": line.event.get("event_id"),
            }
