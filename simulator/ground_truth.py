"""Write the ground truth of a simulation outside the landing folder. No step may read it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.run_manifests import write_json
from core.tables import MODALITIES
from simulator.corruption import LogLine
from simulator.mechanisms.interface import Mechanism
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
        "feed_source": pa.string(),
        "is_followed": pa.bool_(),
        "is_next_episode": pa.bool_(),
        "theme": pa.int32(),
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
        mechanism: the simulated users and videos.
    """

    def __init__(self, folder: Path, mechanism: Mechanism) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        _write_summary(folder, mechanism)
        _write_users(folder / "users.parquet", mechanism)
        write_videos(folder, mechanism)
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


def _write_summary(folder: Path, mechanism: Mechanism) -> None:
    calendar = mechanism.calendar
    write_json(
        folder / "simulator.json",
        {
            "note": "SYNTHETIC: the ground truth of the simulated platform",
            "params": asdict(calendar.params),
            "modalities": MODALITIES,
            "outage_day": None if calendar.outage_day is None else str(calendar.date(calendar.outage_day)),
            **mechanism.summary(),
        },
    )


def _write_users(path: Path, mechanism: Mechanism) -> None:
    """Write the ground truth of each user, with the angle by which the taste turns on each day."""
    rows = []
    for user_row, user in enumerate(mechanism.users):
        truth = mechanism.user_truth(user_row)
        tastes, drift_day = truth.pop("tastes"), truth.pop("drift_day")
        rows.append(
            {
                "user_id": user.user_id,
                **truth,
                "drift_day": None if drift_day is None else mechanism.calendar.date(drift_day),
                "drift_angles": [0.0, *_angles(tastes[:-1], tastes[1:]).tolist()],
                "total_drift_angle": float(_angles(tastes[:1], tastes[-1:])[0]),
                "modality_weights": user.modality_weights.tolist(),
                "visit_probability": user.visit_probability,
                "mean_sessions": user.mean_sessions,
                "peak_hour": user.peak_hour,
            }
        )
    table = pa.Table.from_pylist(rows)
    column = table.schema.get_field_index("drift_day")
    pq.write_table(table.set_column(column, "drift_day", table["drift_day"].cast(pa.date32())), path)


def _angles(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the angle in degrees between each row of two arrays."""
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return np.degrees(np.arccos(np.clip((before * after).sum(1) / lengths, -1, 1))).round(4)


def write_videos(folder: Path, mechanism: Mechanism) -> None:
    """Write the ground truth of each video to `videos.parquet`."""
    rows = [
        {
            "video_id": video.video_id,
            **mechanism.video_truth(row),
            "quality": video.quality,
            "duration_ms": video.duration_ms,
            "media_fault": video.media_fault,
            "reject_reason": MEDIA_REASONS.get(video.media_fault or ""),
            "missing_fields": video.missing_fields,
        }
        for row, video in enumerate(mechanism.videos)
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
