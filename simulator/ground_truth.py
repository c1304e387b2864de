"""Write the ground truth of a simulation outside the landing folder. No step may read it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.run_manifests import write_json
from simulator.catalogue import MODALITIES, SimulatedVideo
from simulator.corruption import LogLine
from simulator.timeline import Simulation
from simulator.topics import TOPICS
from simulator.watching import SimulatedInteraction

FOLDER_NAME = "ground_truth"
INTERACTION_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "video_id": pa.string(),
        "day": pa.int32(),
        "started_at": pa.float64(),
        "affinity": pa.float64(),
        "watched_ms": pa.int64(),
        "exit_segment": pa.int32(),
        "reactions": pa.list_(pa.string()),
        "sentiment": pa.int32(),
    }
)
CORRUPTION_SCHEMA = pa.schema(
    {
        "file": pa.string(),
        "line": pa.int64(),
        "corruption": pa.string(),
        "reject_reason": pa.string(),
        "event_id": pa.string(),
    }
)
MEDIA_REASONS = {"truncated": "unreadable_media", "garbage": "unreadable_media", "missing": "missing_media"}


class GroundTruthWriter:
    """Writes the ground truth while the days are simulated.

    Args:
        folder: where the files are written.
        simulation: the simulated users and videos.
    """

    def __init__(self, folder: Path, simulation: Simulation) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        _write_summary(folder, simulation)
        _write_users(folder / "users.parquet", simulation)
        write_videos(folder, simulation.videos)
        self._interactions_file = pq.ParquetWriter(folder / "interactions.parquet", INTERACTION_SCHEMA)
        self._corruptions_file = pq.ParquetWriter(folder / "corruptions.parquet", CORRUPTION_SCHEMA)

    def write_interactions(self, day: int, interactions: Iterable[SimulatedInteraction]) -> None:
        """Add the true interactions of a day."""
        rows = [_interaction_row(day, interaction) for interaction in interactions]
        self._interactions_file.write_table(pa.Table.from_pylist(rows, INTERACTION_SCHEMA))

    def write_corruptions(self, file: str, lines: Iterable[LogLine]) -> None:
        """Add the corrupted lines of a landing file.

        Args:
            file: path in the landing folder.
            lines: all lines of the file in order; they are numbered from 1.
        """
        self._corruptions_file.write_table(
            pa.Table.from_pylist(list(_corruption_rows(file, lines)), CORRUPTION_SCHEMA)
        )

    def close(self) -> None:
        """Finish the files."""
        self._interactions_file.close()
        self._corruptions_file.close()


def write_faulty_night(folder: Path, file: str, lines: Iterable[int]) -> None:
    """Write which lines of a landing file lost their user.

    Args:
        folder: folder of the ground truth.
        file: path in the landing folder.
        lines: numbers of the lines, from 1.
    """
    rows = [
        {"file": file, "line": line, "corruption": "faulty_night", "reject_reason": "missing_user"}
        for line in lines
    ]
    path = folder / f"faulty-night-{Path(file).parent.name.removeprefix('dt=')}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, CORRUPTION_SCHEMA), path)


def _write_summary(folder: Path, simulation: Simulation) -> None:
    calendar = simulation.calendar
    trending_topics = {
        age: [TOPICS[topic].name for topic in topics]
        for age, topics in simulation.group_preferences.trending_topics.items()
    }
    write_json(
        folder / "simulator.json",
        {
            "note": "SYNTHETIC: the ground truth of the simulated platform",
            "params": asdict(calendar.params),
            "topics": [topic.name for topic in TOPICS],
            "modalities": MODALITIES,
            "trend_day": str(calendar.date(calendar.trend_day)),
            "trending_topics": trending_topics,
            "outage_day": None if calendar.outage_day is None else str(calendar.date(calendar.outage_day)),
            "daypart_effects": simulation.daypart_effects.round(6).tolist(),
        },
    )


def _write_users(path: Path, simulation: Simulation) -> None:
    rows = [
        {
            "user_id": user.user_id,
            "initial_preference": user.initial_preference.tolist(),
            "drifted_preference": user.drifted_preference.tolist(),
            "drift_day": None if user.drift_day is None else simulation.calendar.date(user.drift_day),
            "modality_weights": user.modality_weights.tolist(),
            "visit_probability": user.visit_probability,
            "mean_sessions": user.mean_sessions,
            "peak_hour": user.peak_hour,
        }
        for user in simulation.users
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_videos(folder: Path, videos: Iterable[SimulatedVideo]) -> None:
    """Write the ground truth of each video to `videos.parquet`."""
    rows = [
        {
            "video_id": video.video_id,
            **dict(zip(MODALITIES, video.topics, strict=True)),
            "segment_topics": video.segment_topics,
            "segment_appeal": video.segment_appeal,
            "quality": video.quality,
            "duration_ms": video.duration_ms,
            "media_fault": video.media_fault,
            "reject_reason": MEDIA_REASONS.get(video.media_fault or ""),
            "missing_fields": video.missing_fields,
        }
        for video in videos
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "videos.parquet")


def _interaction_row(day: int, interaction: SimulatedInteraction) -> dict[str, Any]:
    return {
        "user_id": interaction.user.user_id,
        "video_id": interaction.video.video_id,
        "day": day,
        **{name: getattr(interaction, name) for name in INTERACTION_SCHEMA.names[3:]},
    }


def _corruption_rows(file: str, lines: Iterable[LogLine]) -> Iterable[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.corruption:
            yield {
                "file": file,
                "line": number,
                "corruption": line.corruption,
                "reject_reason": line.reject_reason,
                "event_id": line.event.get("event_id"),
            }
