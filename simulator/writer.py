"""Write the files of a simulation: the landing folder and the ground truth."""

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
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from core.config import CleanConfig
from core.errors import InputError
from simulator.calendar import Calendar
from simulator.corruption import LogLine, bot_id, corrupt_lines, make_bot_lines
from simulator.ground_truth import GroundTruthWriter, write_videos
from simulator.mechanisms.interface import Mechanism
from simulator.mechanisms.registry import make_mechanism
from simulator.render import render_videos
from simulator.timeline import simulate_days
from simulator.watching import SimulatedInteraction

LABEL_FILE = "SYNTHETIC.txt"
LABEL = (
    "SYNTHETIC: `python -m simulator` made everything in this folder.\n"
    "No user, video, comment or event is real. Every id starts with `syn-`.\n"
)
EVENTS, LATE = "events.jsonl", "late.jsonl.gz"
LATE_CORRUPTIONS = ("late", "too_late")
FEATURE_SCHEMA = pa.schema(
    {"video_id": pa.string(), "modality": pa.string(), "vector": pa.list_(pa.float32())}
)
# Media fault -> the modalities that have no vector.
MODALITIES_WITHOUT_VECTOR = {
    "truncated": ("visual", "audio"),
    "garbage": ("visual", "audio"),
    "missing": ("visual", "audio"),
    "no_media_uri": ("visual", "audio"),
    "no_sound": ("audio",),
}


def write_simulation(
    calendar: Calendar,
    clean: CleanConfig,
    landing: Path,
    ground_truth: Path,
    workers: int = 2,
    features: bool = False,
) -> dict[str, int]:
    """Write the landing folder and the ground truth. Each appears complete or not at all.

    Args:
        clean: the limits of the pipeline, which the corruptions exceed.
        landing, ground_truth: folders; those of an earlier simulation are replaced.
        workers: processes that render videos.
        features: write feature vectors instead of media.

    Returns:
        the numbers of users, videos, interactions, event lines and corrupted lines.

    Raises:
        InputError: the landing folder holds other files, or one folder lies inside the other.
    """
    mechanism = make_mechanism(calendar)
    with _atomic_folders(landing, ground_truth) as (new_landing, new_ground_truth):
        _write_users(new_landing, mechanism)
        _write_videos(new_landing, mechanism, has_media=not features)
        counts = _write_events(new_landing, new_ground_truth, mechanism, clean)
        if features:
            _write_features(new_landing, mechanism)
        else:
            render_videos(mechanism.videos, new_landing / "media", calendar.params.seed, workers)
    return {"users": len(mechanism.users), "videos": len(mechanism.videos), **counts}


def write_videos_only(calendar: Calendar, landing: Path, ground_truth: Path, workers: int = 2) -> int:
    """Write only the videos and their ground truth.

    Returns:
        the number of videos.

    Raises:
        InputError: as in `write_simulation`.
    """
    mechanism = make_mechanism(calendar)
    with _atomic_folders(landing, ground_truth) as (new_landing, new_ground_truth):
        _write_videos(new_landing, mechanism)
        write_videos(new_ground_truth, mechanism)
        render_videos(mechanism.videos, new_landing / "media", calendar.params.seed, workers)
    return len(mechanism.videos)


@contextmanager
def _atomic_folders(landing: Path, ground_truth: Path) -> Iterator[tuple[Path, Path]]:
    """Yield two new folders that replace the old ones when the block ends without an error."""
    _check_folders(landing, ground_truth)
    new_landing, new_ground_truth = (path.with_name(f".{path.name}.new") for path in (landing, ground_truth))
    for folder in (new_landing, new_ground_truth):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    (new_landing / LABEL_FILE).write_text(LABEL, encoding="utf-8")
    yield new_landing, new_ground_truth
    for new, old in ((new_ground_truth, ground_truth), (new_landing, landing)):
        shutil.rmtree(old, ignore_errors=True)
        new.rename(old)


def _check_folders(landing: Path, ground_truth: Path) -> None:
    if ground_truth == landing or landing in ground_truth.parents or ground_truth in landing.parents:
        raise InputError(
            f"the ground truth ({ground_truth}) and the landing folder ({landing}) must be separate; "
            "pass --out with another folder"
        )
    if landing.exists() and any(landing.iterdir()) and not (landing / LABEL_FILE).exists():
        raise InputError(
            f"{landing} holds files that no simulation wrote (it has no {LABEL_FILE}); "
            "pass --out with another folder, or empty this one"
        )


def _write_users(landing: Path, mechanism: Mechanism) -> None:
    """Write the users of each arrival day (Parquet). Bots are users too."""
    for day in range(mechanism.calendar.num_days):
        today = mechanism.calendar.date(day)
        users = [user.to_record() for user in mechanism.users if user.arrival_day == day]
        registered = {"registration_time": mechanism.calendar.midnight(day), "age_band": "18-24"}
        bots = [{"user_id": bot_id(day), **registered, "city_tier": "1", "device": "android"}]
        pq.write_table(
            pa.Table.from_pylist(users + bots), _landing_path(landing, "users", today, "users.parquet")
        )


def _write_videos(landing: Path, mechanism: Mechanism, has_media: bool = True) -> None:
    """Write the videos of each arrival day (JSON Lines)."""
    for day in range(mechanism.calendar.num_days):
        records = [video.to_record() for video in mechanism.videos if video.arrival_day == day]
        if not has_media:
            records = [record | {"media_uri": None} for record in records]
        if records:
            path = _landing_path(landing, "videos", mechanism.calendar.date(day), "videos.jsonl")
            path.write_bytes(_join_lines([msgspec.json.encode(record) for record in records]))


def _write_features(landing: Path, mechanism: Mechanism) -> None:
    """Write the vectors of each arrival day (Parquet). A video with a fault lacks those of its media."""
    vectors = {name: x_VF.astype(np.float32) for name, x_VF in mechanism.modality_vectors().items()}
    for day in range(mechanism.calendar.num_days):
        rows = [
            {"video_id": video.video_id, "modality": modality, "vector": x_VF[row]}
            for row, video in enumerate(mechanism.videos)
            if video.arrival_day == day
            for modality, x_VF in vectors.items()
            if modality not in MODALITIES_WITHOUT_VECTOR.get(video.media_fault or "", ())
        ]
        if rows:
            path = _landing_path(landing, "features", mechanism.calendar.date(day), "features.parquet")
            pq.write_table(pa.Table.from_pylist(rows, FEATURE_SCHEMA), path)


def _write_events(
    landing: Path, ground_truth: Path, mechanism: Mechanism, clean: CleanConfig
) -> dict[str, int]:
    """Simulate the days and write the lines that arrive on each. Lines after the last day are dropped."""
    writer = GroundTruthWriter(ground_truth, mechanism)
    pending: defaultdict[date, list[LogLine]] = defaultdict(list)
    counts = {"interactions": 0, "event_lines": 0, "corrupted_lines": 0}
    bar = tqdm(simulate_days(mechanism), "days", total=mechanism.calendar.num_days, unit="day")
    for day, interactions in enumerate(bar):
        writer.write_interactions(day, interactions)
        for line in _day_lines(mechanism, day, interactions, clean):
            pending[line.received_at.date()].append(line)
        today = mechanism.calendar.date(day)
        lines = sorted(pending.pop(today, []), key=attrgetter("received_at"))
        for name, file_lines in _group_by_file(lines).items():
            path = _landing_path(landing, "events", today, name)
            _write_lines(path, [line.encode() for line in file_lines])
            writer.write_corruptions(path.relative_to(landing).as_posix(), file_lines)
        counts["interactions"] += len(interactions)
        counts["event_lines"] += len(lines)
        counts["corrupted_lines"] += sum(line.corruption is not None for line in lines)
    writer.close()
    return counts


def _group_by_file(lines: Sequence[LogLine]) -> dict[str, list[LogLine]]:
    """Group the lines of a day by file. The events file exists even if it is empty."""
    late = [line for line in lines if line.corruption in LATE_CORRUPTIONS]
    on_time = [line for line in lines if line.corruption not in LATE_CORRUPTIONS]
    return {EVENTS: on_time} | ({LATE: late} if late else {})


def _day_lines(
    mechanism: Mechanism, day: int, interactions: Sequence[SimulatedInteraction], clean: CleanConfig
) -> Iterator[LogLine]:
    """Yield the log lines of a day with corruptions and bots. An outage day has no bots."""
    seed = mechanism.calendar.params.seed
    yield from corrupt_lines(seed, day, _number_events(day, interactions), clean)
    if day != mechanism.calendar.outage_day and (video_ids := _videos_of_day(mechanism, day)):
        yield from make_bot_lines(seed, day, mechanism.calendar.midnight(day), video_ids, clean)


def _videos_of_day(mechanism: Mechanism, day: int) -> list[str]:
    """Return the videos that exist during the whole day."""
    end = mechanism.calendar.midnight(day + 1)
    return [
        video.video_id
        for video in mechanism.videos
        if video.arrival_day < max(day, 1) and (video.expires_at is None or video.expires_at >= end)
    ]


def _number_events(day: int, interactions: Sequence[SimulatedInteraction]) -> list[LogLine]:
    """Return the correct lines in order of time, each with its event_id."""
    events: list[dict[str, Any]] = [
        event for interaction in interactions for event in interaction.to_events()
    ]
    events.sort(key=lambda event: (event["event_time"], event["user_id"]))
    return [
        LogLine(event["event_time"], {"event_id": f"syn-e{day:03d}-{number:06d}", **event})
        for number, event in enumerate(events)
    ]


def _landing_path(landing: Path, record_type: str, day: date, name: str) -> Path:
    path = landing / record_type / f"dt={day}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _join_lines(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _write_lines(path: Path, lines: Sequence[bytes]) -> None:
    content = _join_lines(lines)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
