"""SegMM, a sample of the release (no licence stated): real watch positions, no media, profiles or likes.

| file | column | becomes |
|---|---|---|
| `SegMM_inter_sample.csv` | `user_id`, `video_id` | `user_id`, `video_id` |
| | `time_ms` | `event_time` of a `view`, counted from `EPOCH` |
| | `playing_time` (ms, with replays) | `watch_ms` |
| | `duration_ms` | `duration_ms` of the video |
| | `label_1D` | not imported, only compared with the watch time, see `label_matches` |

`time_ms` is relative: 1 to 80 hours after an unknown start. Here the start is midnight UTC of `EPOCH`. So a
day has 24 real hours, but the hour of the day has no meaning. Views that the feed delivered together have the
same `time_ms`. The whole catalogue is received on the first day. Otherwise a video's arrival would reveal
that it is about to be watched.

The evaluation splits by time: the oldest 80 % of the interactions are for training, the next 10 % for
validation and the newest 10 % for the test.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from core.errors import InputError
from datasets.landing_form import Record, Release, group_by_day, require_files
from datasets.release_tables import END_OF_TIME, CellType, ReleaseTable, read_table
from models.data.interaction_log import InteractionLog

INTERACTIONS_FILE = "SegMM_inter_sample.csv"
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
SEGMENT_MS = 5000
SPLIT_SHARES = (0.8, 0.9)  # shares of the interactions before validation and before test
MIN_INTERACTIONS = 100
COLUMNS: dict[str, CellType] = {
    "user_id": pl.String,
    "video_id": pl.String,
    "time_ms": pl.Int64,
    "duration_ms": pl.Int64,
    "playing_time": pl.Int64,
    "label_1D": pl.String,
}
MAX_TIME_MS = 1000 * (END_OF_TIME - int(EPOCH.timestamp()))


@dataclass(frozen=True)
class LogSplit:
    """All interactions in order of time, with the positions at which validation and test start."""

    log: InteractionLog
    valid_start: int
    test_start: int


def read_interactions(path: Path) -> ReleaseTable:
    """Read the interactions in the folder `path` by time. Those of the same time keep the order of the file.

    A row that repeats user, video and time is rejected. So is a row with another duration than most rows of
    its video.

    Raises:
        InputError: The file or a column is missing, or no row can be used.
    """
    require_files(path, [INTERACTIONS_FILE])
    table = read_table(path / INTERACTIONS_FILE, COLUMNS)
    is_time = pl.col("time_ms").is_between(0, MAX_TIME_MS, closed="left")
    table = table.reject(~is_time, "invalid_time_ms").reject_repeated("user_id", "video_id", "time_ms")
    duration = pl.col("duration_ms")
    table = table.reject(duration != duration.mode().min().over("video_id"), "conflicting_duration_ms")
    return replace(table, rows=table.rows.sort("time_ms", maintain_order=True))


def read_landing_form(path: Path) -> Release:
    """Read the release in the folder `path` and convert it to landing form.

    Raises:
        InputError: As `read_interactions`.
    """
    table = read_interactions(path)
    interactions = table.records()
    events = group_by_day(map(_event, interactions))
    num_matches = sum(map(label_matches, interactions))
    note = (
        f"{num_matches} of {len(interactions)} segment labels follow from watch time and duration "
        "(the user leaves in the segment of the last watched millisecond)"
    )
    return Release({"videos": {min(events): _videos(table)}, "events": events}, [table], [note])


def read_split(path: Path) -> LogSplit:
    """Read the interactions of the release and split them by time.

    Raises:
        InputError: As `read_interactions`, or a row was rejected, or there are too few rows to split.
    """
    rows = read_interactions(path).require_complete().rows
    count = len(rows)
    if count < MIN_INTERACTIONS:
        raise InputError(
            f"{path / INTERACTIONS_FILE} holds {count} interactions; "
            f"at least {MIN_INTERACTIONS} are needed to split by time"
        )
    user_row_E, video_row_E = (
        np.unique(rows[name].to_numpy(), return_inverse=True)[1] for name in ("user_id", "video_id")
    )
    log = InteractionLog(
        user_row_E, video_row_E, rows["playing_time"].to_numpy(), rows["duration_ms"].to_numpy()
    )
    return LogSplit(log, *(int(share * count) for share in SPLIT_SHARES))


def segment_labels(watch_ms: int, duration_ms: int) -> list[int]:
    """Return one label per 5 s segment: 1 watched, 0 left in this segment, −1 not seen.

    If the video was watched to the end, all labels are 1.
    """
    segments = -(-duration_ms // SEGMENT_MS)
    if watch_ms >= duration_ms:
        return [1] * segments
    watched = -(-watch_ms // SEGMENT_MS) - 1
    return [1] * watched + [0] + [-1] * (segments - watched - 1)


def label_matches(row: Record) -> bool:
    """Whether the release's label of a view equals `segment_labels` of its watch time."""
    released = row["label_1D"].strip("[] \n").split()
    return released == [str(label) for label in segment_labels(row["playing_time"], row["duration_ms"])]


def _event(row: Record) -> Record:
    user, video, time_ms = row["user_id"], row["video_id"], row["time_ms"]
    return {
        "event_id": f"segmm-{user}-{video}-{time_ms}",
        "user_id": user,
        "video_id": video,
        "event_type": "view",
        "event_time": EPOCH + timedelta(milliseconds=time_ms),
        "watch_ms": row["playing_time"],
    }


def _videos(table: ReleaseTable) -> list[Record]:
    """Return the videos, sorted by id."""
    return table.rows.select("video_id", "duration_ms").unique().sort("video_id").to_dicts()
