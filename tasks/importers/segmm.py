"""SegMM (sample of the release; no licence stated): real watch positions, no media, profiles or likes.

| file | column | becomes |
|---|---|---|
| `SegMM_inter_sample.csv` | `user_id`, `video_id` | `user_id`, `video_id` |
| | `time_ms` | `event_time` of a `view`, counted from `EPOCH` |
| | `playing_time` (ms, loops included) | `watch_ms` |
| | `duration_ms` | `duration_ms` of the video |
| | `label_1D` | not landed; compared with the watch time, see `agreement` |

`time_ms` is relative, from 1 to 80 hours after a start that the release does not tell; we let it start at
midnight UTC of `EPOCH`, so days have 24 real hours but hours of the day mean nothing. Views that the feed
delivered together share one `time_ms`. The whole catalogue is received on the first day, so that a video's
arrival does not tell that it is about to be watched.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path

import pyarrow as pa

from contracts.errors import InputError
from tasks.importers.release import Record, Release, by_day, need_folder, read_table

FILE = "SegMM_inter_sample.csv"
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
SEGMENT_MS = 5000
COLUMNS = {
    "user_id": pa.string(),
    "video_id": pa.string(),
    "time_ms": pa.int64(),
    "duration_ms": pa.int64(),
    "playing_time": pa.int64(),
    "label_1D": pa.string(),
}


def read(path: Path) -> Release:
    """The release in `path`.

    Raises:
        InputError: the file or a column is missing, a cell has another type, a video has two durations.
    """
    need_folder(path, [FILE])
    views = read_table(path / FILE, COLUMNS)
    events = by_day(_events(views))
    note = (
        f"{sum(map(agrees, views))} of {len(views)} segment labels follow from watch time and duration "
        "(the segment left is the one with the last watched millisecond)"
    )
    return Release({"videos": {min(events): _videos(views, path / FILE)}, "events": events}, [note])


def labels(watch_ms: int, duration_ms: int) -> list[int]:
    """One label a 5 s segment: 1 watched, 0 left here, −1 unseen; all 1 when watched to the end."""
    segments = -(-duration_ms // SEGMENT_MS)
    if watch_ms >= duration_ms:
        return [1] * segments
    watched = -(-watch_ms // SEGMENT_MS) - 1
    return [1] * watched + [0] + [-1] * (segments - watched - 1)


def agrees(view: Record) -> bool:
    """Whether the release's label of a view is what `labels` makes of its watch time."""
    given = view["label_1D"].strip("[] \n").split()
    return given == [str(label) for label in labels(view["playing_time"], view["duration_ms"])]


def _events(views: list[Record]) -> Iterator[Record]:
    """Views by time; the file's own order, which is not by time, decides among equals."""
    for view in sorted(views, key=itemgetter("time_ms")):
        user, video, time_ms = view["user_id"], view["video_id"], view["time_ms"]
        yield {
            "event_id": f"segmm-{user}-{video}-{time_ms}",
            "user_id": user,
            "video_id": video,
            "event_type": "view",
            "event_time": EPOCH + timedelta(milliseconds=time_ms),
            "watch_ms": view["playing_time"],
        }


def _videos(views: list[Record], path: Path) -> list[Record]:
    """The catalogue, by id."""
    durations: dict[str, int] = {}
    for view in views:
        video, duration = view["video_id"], view["duration_ms"]
        if durations.setdefault(video, duration) != duration:
            raise InputError(f"{path}: video_id {video} has two values of duration_ms; mend the file")
    return [{"video_id": video, "duration_ms": durations[video]} for video in sorted(durations)]
