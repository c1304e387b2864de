"""The TikTok multimodal set in DiffMM's form (no licence stated): real choices with real vectors, no times.

| file | column | becomes |
|---|---|---|
| `interactions.parquet` | `user_id`, `video_id` | a `view` of `video_id` by `user_id`, watch time unknown |
| | `split` | the day: `train` FIRST_DAY, `validation` the next, `test` the one after |
| `image.npy`, `audio.npy` | row n | the `visual` and `audio` vector of video n |

The release has no time stamps. The day split is ours and synthetic: the only night that makes sense is the
third day, which trains, validates and tests on the release's own splits. Within a day a user's views are a
minute apart in the file's order, which is by video and means nothing: order, hours and gaps must not be read
as behaviour (`train.positions: false`).
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import InputError
from tasks.importers.release import Record, Release, by_day, need_folder

LOG, VECTORS = "interactions.parquet", {"visual": "image.npy", "audio": "audio.npy"}
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
SPLITS = ("train", "validation", "test")
NOTE = "the release has no times: 2024-01-01, -02 and -03 stand for its splits train, validation and test"


def read(path: Path) -> Release:
    """The release in `path`.

    Raises:
        InputError: a file is missing or unreadable, a column is missing, a split is unknown.
    """
    need_folder(path, [LOG, *VECTORS.values()])
    events = by_day(_events(path / LOG))
    first = min(events)
    vectors = {modality: _vectors(path / name) for modality, name in VECTORS.items()}
    count = max(map(len, vectors.values()))
    features = [
        {"video_id": str(video), "modality": modality, "vector": vector}
        for modality, rows in vectors.items()
        for video, vector in enumerate(rows)
    ]
    videos: list[Record] = [{"video_id": str(video)} for video in range(count)]
    return Release({"videos": {first: videos}, "features": {first: features}, "events": events}, [NOTE])


def _events(path: Path) -> Iterator[Record]:
    try:
        rows = pq.read_table(path, columns=["user_id", "video_id", "split"]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not the table expected ({error}); get the release's own file") from None
    minutes: Counter[tuple[str, int]] = Counter()
    for row in rows:
        user, video, split = row["user_id"], row["video_id"], row["split"]
        if split not in SPLITS:
            raise InputError(f"{path}: split is {split!r}; it must be one of {', '.join(SPLITS)}")
        start = FIRST_DAY + timedelta(days=SPLITS.index(split))
        yield {
            "event_id": f"tiktok-{user}-{video}",
            "user_id": str(user),
            "video_id": str(video),
            "event_type": "view",
            "event_time": start + timedelta(minutes=minutes[split, user]),
        }
        minutes[split, user] += 1


def _vectors(path: Path) -> list[list[float]]:
    try:
        return np.load(path).tolist()
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a NumPy array ({error}); get the release's own file") from None
