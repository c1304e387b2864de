"""The world's files: what the platform drops in the landing folder, and the truth beside it."""

import gzip
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from contracts.errors import InputError
from contracts.params import Clean
from world.calendar import Calendar
from world.catalogue import Video, make_videos
from world.days import World, live, make_world
from world.dirt import Line, bot, bot_id, dirty
from world.render import render_all
from world.truth import TruthWriter, write_videos
from world.viewing import Viewing

LABEL_FILE = "SYNTHETIC.txt"
LABEL = (
    "SYNTHETIC: everything in this folder was made by `python -m world`.\n"
    "No person, video, comment or event in it is real; every id starts with `syn-`.\n"
)
EVENTS, LATE = "events.jsonl", "late.jsonl.gz"
LATE_KINDS = ("late", "too_late")


def make(days: Calendar, clean: Clean, landing: Path, truth: Path, workers: int = 2) -> dict[str, int]:
    """Make the world's landing folder and its truth; each appears whole or not at all.

    Returns:
        how many users, videos, events lines and spoiled lines there are.

    Raises:
        InputError: the landing folder holds something else, or the truth would lie inside it.
    """
    world = make_world(days)
    with _whole(landing, truth) as (new_landing, new_truth):
        _write_users(new_landing, world)
        _write_videos(new_landing, days, world.videos)
        counts = _write_events(new_landing, new_truth, world, clean)
        render_all(world.videos, new_landing / "media", days.params.seed, workers)
    return {"users": len(world.people), "videos": len(world.videos), **counts}


def film(days: Calendar, landing: Path, truth: Path, workers: int = 2) -> int:
    """Make the world's videos alone, as `make` does, and what is true of them.

    Returns:
        how many there are.

    Raises:
        InputError: as for `make`.
    """
    videos = make_videos(days.params.seed, days)
    with _whole(landing, truth) as (new_landing, new_truth):
        _write_videos(new_landing, days, videos)
        write_videos(new_truth, videos)
        render_all(videos, new_landing / "media", days.params.seed, workers)
    return len(videos)


@contextmanager
def _whole(landing: Path, truth: Path) -> Iterator[tuple[Path, Path]]:
    """New folders that take the places of the old ones when everything in them has been written."""
    _check_folders(landing, truth)
    new_landing, new_truth = (path.with_name(f".{path.name}.new") for path in (landing, truth))
    for folder in (new_landing, new_truth):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    (new_landing / LABEL_FILE).write_text(LABEL, encoding="utf-8")
    yield new_landing, new_truth
    for new, old in ((new_truth, truth), (new_landing, landing)):
        shutil.rmtree(old, ignore_errors=True)
        new.rename(old)


def _check_folders(landing: Path, truth: Path) -> None:
    if truth == landing or landing in truth.parents or truth in landing.parents:
        raise InputError(
            f"the truth ({truth}) must lie apart from the landing folder ({landing}); pass --out"
        )
    if landing.exists() and any(landing.iterdir()) and not (landing / LABEL_FILE).exists():
        raise InputError(
            f"{landing} holds files that are not of a demo world (no {LABEL_FILE}); "
            "pass --out with another folder, or empty it"
        )


def _write_users(landing: Path, world: World) -> None:
    """Users (Parquet), each on the day of arrival; bots are users too."""
    for day in range(world.calendar.days):
        today = world.calendar.date(day)
        users = [person.record() for person in world.people if person.arrives == day]
        registered = {"registration_time": world.calendar.midnight(day), "age_band": "18-24"}
        bots = [{"user_id": bot_id(day), **registered, "city_tier": "1", "device": "android"}]
        pq.write_table(pa.Table.from_pylist(users + bots), _path(landing, "users", today, "users.parquet"))


def _write_videos(landing: Path, days: Calendar, videos: Sequence[Video]) -> None:
    """Videos (JSON Lines), each on the day it arrives."""
    for day in range(days.days):
        arrived = [msgspec.json.encode(video.record()) for video in videos if video.arrives == day]
        if arrived:
            _path(landing, "videos", days.date(day), "videos.jsonl").write_bytes(_joined(arrived))


def _write_events(landing: Path, truth: Path, world: World, clean: Clean) -> dict[str, int]:
    """Live the days and write what comes in on each; what comes in after the last day is never seen."""
    writer = TruthWriter(truth, world)
    coming: defaultdict[date, list[Line]] = defaultdict(list)
    counts = {"viewings": 0, "lines": 0, "dirty": 0}
    bar = tqdm(live(world), "days", total=world.calendar.days, unit="day")
    for day, viewings in enumerate(bar):
        writer.viewings(day, viewings)
        for line in _day_lines(world, day, viewings, clean):
            coming[line.received.date()].append(line)
        today = world.calendar.date(day)
        lines = sorted(coming.pop(today, []), key=attrgetter("received"))
        for name, chosen in _files(lines).items():
            path = _path(landing, "events", today, name)
            _write(path, [line.encode() for line in chosen])
            writer.dirt(path.relative_to(landing).as_posix(), chosen)
        counts["viewings"] += len(viewings)
        counts["lines"] += len(lines)
        counts["dirty"] += sum(line.kind is not None for line in lines)
    writer.close()
    return counts


def _files(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Lines of a day by file; the events file is there even when nothing happened."""
    late = [line for line in lines if line.kind in LATE_KINDS]
    on_time = [line for line in lines if line.kind not in LATE_KINDS]
    return {EVENTS: on_time} | ({LATE: late} if late else {})


def _day_lines(world: World, day: int, viewings: Sequence[Viewing], clean: Clean) -> Iterator[Line]:
    """What a day's viewings are logged as, dirt and bots included. An outage keeps the bots out too."""
    seed = world.calendar.params.seed
    yield from dirty(seed, day, _numbered(day, viewings), clean)
    if day != world.calendar.outage_day:
        known = [video.video_id for video in world.videos if video.arrives < max(day, 1)]
        yield from bot(seed, day, world.calendar.midnight(day), known, clean)


def _numbered(day: int, viewings: Sequence[Viewing]) -> list[Line]:
    """Correct lines, in order of time, each with its event_id."""
    events: list[dict[str, Any]] = [event for viewing in viewings for event in viewing.events()]
    events.sort(key=lambda event: (event["event_time"], event["user_id"]))
    return [
        Line(event["event_time"], {"event_id": f"syn-e{day:03d}-{number:06d}", **event})
        for number, event in enumerate(events)
    ]


def _path(landing: Path, kind: str, day: date, name: str) -> Path:
    path = landing / kind / f"dt={day}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _write(path: Path, lines: Sequence[bytes]) -> None:
    content = _joined(lines)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
