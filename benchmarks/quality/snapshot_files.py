"""Write a data set with its published split as the snapshot of a night, so that the steps train on it.

Such a set has no times of day. All that training knows happened on one day, one minute after another. The
validation and the test targets follow on the next two days.
"""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.numpy import save_file

from core.paths import Night
from core.run_manifests import write_json
from core.tables import BEHAVIOURS, MODALITIES, TIMESTAMP
from core.time_split import TEST_FOLD, TimeSplit
from datasets.split import Fold, SplitDataset

TEST_DAY = date(2026, 1, 3)
SPLIT = TimeSplit((TEST_DAY - timedelta(1),), TEST_DAY)
NULL_LISTS = {"comment_sentiments": pa.float64(), "devices": pa.string(), "networks": pa.string()}


def write_snapshot(dataset: SplitDataset, night: Night) -> None:
    """Write the files of `tasks.snapshot` for this data set.

    Args:
        dataset: The data set with its split.
        night: Its day must be `TEST_DAY`.

    Raises:
        ValueError: The night is of another day.
    """
    if night.day != TEST_DAY:
        raise ValueError(f"the night must be {TEST_DAY}, not {night.day}")
    out, folds = night.fresh_folder("snapshot"), {"valid_1": dataset.train, TEST_FOLD: dataset.test}
    num_videos, num_users = len(dataset.item_table.id_row_V), len(dataset.train.sequences.lengths)
    user_ids = np.array([f"u{user:07d}" for user in range(num_users)])
    tables = {
        "catalogue": _catalogue(num_videos),
        "seen_items": _seen_items(dataset, user_ids),
    }
    for name, fold in folds.items():
        tables[f"sequences_{name}"] = _sequences(fold, user_ids)
        tables[f"interactions_{name}"] = _interactions(fold, user_ids)
        tables[f"users_{name}"] = _users(dataset, user_ids)
        counts_V = torch.bincount(fold.sequences.video_E, minlength=num_videos).int().numpy()
        tables[f"item_statistics_{name}"] = pa.table(
            {
                "num_interactions": counts_V,
                "comment_sentiment": pa.nulls(num_videos, pa.float64()),
                "comments": pa.array(np.zeros(num_videos, np.int64)),
            }
        )
    for name, table in tables.items():
        pq.write_table(table, out / f"{name}.parquet")
    modalities = [m for m in MODALITIES if m in dataset.item_table.modality_features]
    features = {}
    for column, modality in enumerate(dataset.item_table.modality_features):
        features[modality] = dataset.item_table.modality_features[modality].float().numpy()
        features[f"{modality}.mask"] = dataset.item_table.has_VM[:, column].numpy()
    save_file(features, out / "features.safetensors")
    write_json(
        out / "manifest.json",
        {
            "night": str(night.day),
            "folds": SPLIT.to_json(),
            "test_day": str(night.day),
            "num_videos": num_videos,
            "num_users": num_users,
            "modalities": {m: {"width": features[m].shape[1], "fingerprint": "-"} for m in modalities},
            "positive_watch_ratio": 0.5,
            "champion": None,
            "incumbent": None,
        },
    )


def _catalogue(num_videos: int) -> pa.Table:
    """Return the ids of the videos. All else is unknown."""
    unknown = {name: pa.nulls(num_videos, pa.string()) for name in ("author_id", "category", "caption")}
    return pa.table(
        {
            "video_id": [f"v{video:07d}" for video in range(num_videos)],
            **unknown,
            "duration_ms": pa.nulls(num_videos, pa.int64()),
        }
    )


def _sequences(fold: Fold, user_ids: np.ndarray) -> pa.Table:
    """Return the sequences of the users that have one."""
    sequences = fold.sequences
    known_B = (sequences.lengths > 0).numpy()
    offsets = pa.array(np.concatenate([[0], sequences.lengths.numpy()[known_B].cumsum()]).astype(np.int32))
    num_events = len(sequences.video_E)
    start = datetime(TEST_DAY.year, TEST_DAY.month, TEST_DAY.day, tzinfo=UTC) - timedelta(2)
    position_E = torch.arange(num_events) - sequences.offsets[:-1].repeat_interleave(sequences.lengths)
    minutes_E = position_E.numpy().clip(max=24 * 60 - 1)
    started_at = pa.array(
        np.datetime64(start.replace(tzinfo=None), "us") + minutes_E * np.timedelta64(60_000_000)
    )
    columns = {
        "video_rows": pa.array(sequences.video_E.int().numpy()),
        "started_at": started_at.cast(pa.timestamp("us")).cast(TIMESTAMP),
        "watch_ratios": pa.array(sequences.watch_ratio_E.double().numpy(), from_pandas=True),
        "behaviours": pa.array(np.ones(num_events, np.int32)),
        "utc_offset_minutes": pa.array(np.zeros(num_events, np.int32)),
        "positive": pa.array(sequences.positive_E.numpy()),
        **{name: pa.nulls(num_events, data_type) for name, data_type in NULL_LISTS.items()},
    }
    lists = {name: pa.ListArray.from_arrays(offsets, values) for name, values in columns.items()}
    return pa.table({"user_id": user_ids[known_B], **lists})


def _interactions(fold: Fold, user_ids: np.ndarray) -> pa.Table:
    """Return one positive interaction for each target."""
    num_targets = len(fold.targets.user_P)
    false = pa.array(np.zeros(num_targets, bool))
    return pa.table(
        {
            "user_id": user_ids[fold.targets.user_P.numpy()],
            "video_row": pa.array(fold.targets.row_P.int().numpy()),
            "watch_ratio": pa.nulls(num_targets, pa.float64()),
            "completed": pa.nulls(num_targets, pa.bool_()),
            "positive": pa.array(np.ones(num_targets, bool)),
            **dict.fromkeys(BEHAVIOURS[1:], false),
        }
    )


def _users(dataset: SplitDataset, user_ids: np.ndarray) -> pa.Table:
    columns: dict[str, object] = {"user_id": user_ids}
    vocabularies = dataset.config_fields.get("user_categorical_features", {})
    for column, (name, values) in enumerate(vocabularies.items()):
        labels = np.array([None, *values], dtype=object)
        columns[name] = pa.array(labels[dataset.user_profiles.category_BJ[:, column].numpy()], pa.string())
    return pa.table(columns)


def _seen_items(dataset: SplitDataset, user_ids: np.ndarray) -> pa.Table:
    """Return the masked videos of each user, with the day before the first fold that masks them."""
    num_videos = len(dataset.item_table.id_row_V)
    first_day: dict[str, torch.Tensor] = {}
    for name, fold in (("valid_1", dataset.train), (TEST_FOLD, dataset.test)):
        seen = fold.seen_items
        user_E = torch.arange(len(seen.offsets) - 1).repeat_interleave(seen.offsets.diff())
        first_day[name] = (user_E * num_videos + seen.row_E).unique()
    key_E = torch.cat(list(first_day.values())).unique()
    early_E = torch.isin(key_E, first_day["valid_1"]).numpy()
    days_E = np.where(early_E, np.datetime64(TEST_DAY - timedelta(2)), np.datetime64(TEST_DAY - timedelta(1)))
    user_E = (key_E // num_videos).numpy()
    count_B = np.bincount(user_E, minlength=len(user_ids))
    offsets = pa.array(np.concatenate([[0], count_B[count_B > 0].cumsum()]).astype(np.int32))
    return pa.table(
        {
            "user_id": user_ids[count_B > 0],
            "video_rows": pa.ListArray.from_arrays(offsets, pa.array((key_E % num_videos).int().numpy())),
            "first_days": pa.ListArray.from_arrays(offsets, pa.array(days_E, pa.date32())),
        }
    )
