"""The TikTok data set in the form of DiffMM (no licence stated): real interactions and vectors, no times.

| file | column | becomes |
|---|---|---|
| `interactions.parquet` | `user_id`, `video_id` | a `view` of `video_id` by `user_id`, watch time unknown |
| | `split` | the day: `train` is FIRST_DAY, `validation` the second and `test` the third day |
| `image.npy`, `audio.npy` | row n | the `visual` and `audio` vector of video n |

The release has no time stamps, so the days are synthetic. Only the third day makes sense as a night: it
trains, validates and tests on the release's own splits. Within a day, a user's views are one minute apart in
the order of the file. That order has no meaning. So order, hours and gaps must not be read as behaviour
(`train.model.positions: false`).

The evaluation uses the split of the release, as published. Training pairs are masked in both folds and
validation pairs are not. The true order is unknown, so a user's sequence has a random one.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from core.errors import InputError
from datasets.landing_form import Record, Release, group_by_day, require_files
from datasets.release_tables import ReleaseTable
from datasets.split import (
    Fold,
    SplitDataset,
    empty_profiles,
    id_only_sequences,
    make_fold,
    trained_id_rows,
    unseen_targets,
)
from models.data.items import ItemTable

INTERACTIONS_FILE, VECTOR_FILES = "interactions.parquet", {"visual": "image.npy", "audio": "audio.npy"}
COLUMNS = pa.schema({"user_id": pa.int64(), "video_id": pa.int64(), "split": pa.string()})
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
SPLITS = ("train", "validation", "test")
NOTE = "the release has no times: 2024-01-01, -02 and -03 stand for its splits train, validation and test"


@dataclass(frozen=True)
class Tables:
    """The files of the release.

    Attributes:
        pairs: Columns `user_id`, `video_id` and `split`.
        user_E: User of each pair.
        video_E: Video of each pair.
        split_E: Index of the pair's part in SPLITS.
        vectors: Modality -> array with the vector of video n in row n.
    """

    pairs: ReleaseTable
    user_E: np.ndarray
    video_E: np.ndarray
    split_E: np.ndarray
    vectors: Mapping[str, np.ndarray]


def read_tables(path: Path) -> Tables:
    """Read the files of the release in the folder `path`.

    A pair without a value, of an unknown split, of a video without vectors, or that was there before is
    rejected.

    Raises:
        InputError: A file is missing or unreadable, or a column is missing or has another type.
    """
    require_files(path, [INTERACTIONS_FILE, *VECTOR_FILES.values()])
    vectors = {modality: _read_vectors(path / name) for modality, name in VECTOR_FILES.items()}
    pairs = _read_pairs(path / INTERACTIONS_FILE)
    for name in COLUMNS.names:
        pairs = pairs.reject(pl.col(name).is_null(), f"missing_{name}")
    pairs = pairs.reject(~pl.col("split").is_in(SPLITS), "invalid_split")
    num_videos = max(map(len, vectors.values()))
    pairs = pairs.reject(~pl.col("video_id").is_between(0, num_videos - 1), "unknown_video_id")
    pairs = pairs.reject_repeated("user_id", "video_id")
    users, videos, splits = (pairs.rows[name] for name in COLUMNS.names)
    split_E = splits.replace_strict(SPLITS, range(len(SPLITS)), return_dtype=pl.Int64).to_numpy()
    return Tables(pairs, users.to_numpy(), videos.to_numpy(), split_E, vectors)


def _read_pairs(path: Path) -> ReleaseTable:
    try:
        pairs = pq.read_table(path, columns=COLUMNS.names).select(COLUMNS.names).cast(COLUMNS)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{path} is not the expected table ({error}); get the release's own file") from None
    return ReleaseTable(path, pl.DataFrame(pairs))


def _read_vectors(path: Path) -> np.ndarray:
    try:
        return np.load(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a NumPy array ({error}); get the release's own file") from None


def read_landing_form(path: Path) -> Release:
    """Read the release in the folder `path` and convert it to landing form.

    Raises:
        InputError: As `read_tables`.
    """
    tables = read_tables(path)
    events = group_by_day(_events(tables))
    first = min(events)
    features = [
        {"video_id": str(video), "modality": modality, "vector": vector}
        for modality, vectors in tables.vectors.items()
        for video, vector in enumerate(vectors.tolist())
    ]
    count = max(map(len, tables.vectors.values()))
    videos: list[Record] = [{"video_id": str(video)} for video in range(count)]
    return Release(
        {"videos": {first: videos}, "features": {first: features}, "events": events}, [tables.pairs], [NOTE]
    )


def _events(tables: Tables) -> Iterator[Record]:
    minutes: Counter[tuple[int, int]] = Counter()
    for user, video, split in zip(
        tables.user_E.tolist(), tables.video_E.tolist(), tables.split_E.tolist(), strict=True
    ):
        yield {
            "event_id": f"tiktok-{user}-{video}",
            "user_id": str(user),
            "video_id": str(video),
            "event_type": "view",
            "event_time": FIRST_DAY + timedelta(days=split, minutes=minutes[split, user]),
        }
        minutes[split, user] += 1


def read_split(path: Path) -> SplitDataset:
    """Read the release with its own split and its feature vectors.

    Raises:
        InputError: As `read_tables`, or a row was rejected, a part of the split is empty, or a video has no
            features.
    """
    tables = read_tables(path)
    _require_complete(tables, path / INTERACTIONS_FILE)
    # In float16 the standard deviation overflows.
    features = {m: torch.from_numpy(x_VF.astype(np.float32)) for m, x_VF in tables.vectors.items()}
    videos = min(map(len, features.values()))
    train, test = (_make_fold(tables, target_split, videos) for target_split in SPLITS[1:])
    has_VM = torch.ones(videos, len(features), dtype=torch.bool)
    widths = {modality: x_VF.shape[1] for modality, x_VF in features.items()}
    return SplitDataset(
        ItemTable(features, has_VM, trained_id_rows(train.sequences, videos)),
        empty_profiles(len(train.sequences.lengths)),
        train,
        test,
        {"modalities": widths, "encoder_fingerprints": dict.fromkeys(widths, "-")},
    )


def _require_complete(tables: Tables, path: Path) -> None:
    """Raise InputError if a row was rejected, a part of the split is empty or a video has no vector."""
    tables.pairs.require_complete()
    for part, name in enumerate(SPLITS):
        if part not in tables.split_E:
            raise InputError(
                f"{path}: no row has split {name!r}, but {', '.join(SPLITS)} are needed; "
                "get the release's own file"
            )
    videos, last = min(map(len, tables.vectors.values())), int(tables.video_E.max())
    if last >= videos:
        raise InputError(
            f"{path}: video_id is {last}, but only {videos} videos have feature vectors; "
            "use files of one release"
        )


def _make_fold(tables: Tables, target_split: str, videos: int) -> Fold:
    """Make sequences of the training pairs and targets of another part."""
    user_E, video_E, split_E = map(torch.tensor, (tables.user_E, tables.video_E, tables.split_E))
    is_train_E, is_target_E = (split_E == SPLITS.index(split) for split in (SPLITS[0], target_split))
    key = _shuffle_within_users((user_E[is_train_E] * videos + video_E[is_train_E]).unique(), videos)
    lengths = torch.bincount(key // videos, minlength=int(user_E.max()) + 1)
    known_sequences = id_only_sequences(lengths, key % videos)
    targets = unseen_targets(user_E[is_target_E], video_E[is_target_E], known_sequences, videos)
    return make_fold(known_sequences, targets)


def _shuffle_within_users(key: Tensor, videos: int) -> Tensor:
    """Sort pairs (user · videos + video) by user, in random order within a user.

    In the order of ids, the next id would always be higher.
    """
    key = key[torch.randperm(len(key), generator=torch.Generator().manual_seed(1))]
    return key[(key // videos).argsort(stable=True)]
