"""Metrics of the tables for the data checks, measured in one pass over the rows and in little memory.

Each function reads a stream of Arrow batches and returns metric -> value. The value is None if there was
nothing to measure, which differs from zero. Memory holds only 8 bytes for each row, to find repeated keys.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from core.records import LANDED_FINGERPRINT
from core.tables import MODALITIES

TableMetrics = dict[str, float | None]

EVENT_COLUMNS = ("user_id", "video_id")
INTERACTION_KEY = ("user_id", "video_id", "started_at")
INTERACTION_COLUMNS = (*INTERACTION_KEY, "watched_ms", "watch_ratio")
VECTOR_KEY = ("video_id", "modality", "segment")
VECTOR_COLUMNS = (*VECTOR_KEY, "vector", "fingerprint")
STATE_TYPES = ("users", "videos", "features")  # all landing types except events, see `event_metrics`
MIN_REJECTS = 20  # with fewer rejects, no share is judged: one bad record of two must not block a night
NORM_TOLERANCE = 1e-3  # for vectors of encoders, which have unit length; landed vectors may have any length


def event_metrics(
    batches: Iterable[pa.RecordBatch],
    rejected: Mapping[str, int],
    num_unreadable: int,
    median_rows: float | None,
) -> TableMetrics:
    """Measure the events received for a night.

    Args:
        batches: `EVENT_COLUMNS` of the night's events.
        rejected: reason -> number of these events that clean refused.
        num_unreadable: lines of the night's event files that ingest refused.
        median_rows: median number of events of the days before, or None if there are none.
    """
    rows, missing = 0, dict.fromkeys(EVENT_COLUMNS, 0)
    for batch in batches:
        rows += batch.num_rows
        for column in EVENT_COLUMNS:
            missing[column] += batch[column].null_count
    return {
        "rows": rows,
        "volume_ratio": _ratio(rows, median_rows),
        "unreadable_rate": _ratio(num_unreadable, rows + num_unreadable),
        "missing_user_rate": _ratio(missing["user_id"], rows),
        "missing_video_rate": _ratio(missing["video_id"], rows),
        "reject_rate": _ratio(sum(rejected.values()), rows),
        **{f"reject_rate_{reason}": _ratio(n, rows) for reason, n in sorted(rejected.items())},
    }


def landing_metrics(files: Iterable[Mapping[str, Any]], max_reject_rate: float) -> TableMetrics:
    """Measure the landing files of a night.

    Args:
        files: `kind`, `rows`, `rejected` of each file.
        max_reject_rate: a file counts as unreadable if a larger share of its records, or all, was refused.
    """
    unreadable_files, rows, rejected = 0, Counter[str](), Counter[str]()
    for file in files:
        unreadable_files += (
            file["rejected"] > max_reject_rate * file["rows"] or 0 < file["rejected"] == file["rows"]
        )
        rows[file["kind"]] += file["rows"]
        rejected[file["kind"]] += file["rejected"]
    reject_rates = {
        f"{name}_reject_rate": _ratio(rejected[name], rows[name]) if rejected[name] >= MIN_REJECTS else None
        for name in STATE_TYPES
    }
    return {"unreadable_files": unreadable_files, **reject_rates}


def interaction_metrics(batches: Iterable[pa.RecordBatch], day: date) -> TableMetrics:
    """Measure the interactions of a day.

    Args:
        batches: `INTERACTION_COLUMNS` of the interactions.
        day: the day on which they should have started.
    """
    keys: list[np.ndarray] = []
    counts = dict.fromkeys(("rows", "null_key_rows", "out_of_day_rows", "invalid_watch_rows"), 0)
    max_ratio = -np.inf
    for batch in batches:
        keys.append(_hash_rows(batch, INTERACTION_KEY))
        ratio = pc.fill_null(batch["watch_ratio"], 0.0).to_numpy(zero_copy_only=False)
        has_ratio = pc.is_valid(batch["watch_ratio"]).to_numpy(zero_copy_only=False)
        negative = pc.fill_null(pc.less(batch["watched_ms"], 0), False).to_numpy(zero_copy_only=False)
        counts["rows"] += batch.num_rows
        counts["null_key_rows"] += int(_any_null(batch, INTERACTION_KEY).sum())
        counts["out_of_day_rows"] += int(_out_of_day(batch["started_at"], day).sum())
        counts["invalid_watch_rows"] += int((negative | ~np.isfinite(ratio) | (ratio < 0)).sum())
        max_ratio = max(max_ratio, np.max(ratio[has_ratio & np.isfinite(ratio)], initial=-np.inf))
    return {
        **counts,
        "duplicate_rows": _count_duplicates(keys),
        "max_watch_ratio": float(max_ratio) if np.isfinite(max_ratio) else None,
    }


def feature_metrics(
    batches: Iterable[pa.RecordBatch],
    fingerprints: Mapping[str, str],
    media_videos: Sequence[str],
    captions: Mapping[str, str],
    is_readable: Callable[[str], bool],
) -> TableMetrics:
    """Measure the vectors that this night's model would read.

    Args:
        batches: `VECTOR_COLUMNS` of the table `features`.
        fingerprints: modality -> fingerprint of the encoder in use. Vectors of other encoders are ignored.
        media_videos: ids of the videos that should have a vector of frames or audio.
        captions: video id -> caption. The video should have a text vector if the caption is readable.
        is_readable: whether the text encoder can read a caption.
    """
    keys: list[np.ndarray] = []
    widths: dict[str, set[int]] = {modality: set() for modality in MODALITIES}
    embedded: dict[str, set[str]] = {modality: set() for modality in MODALITIES}
    invalid_vectors = 0
    for batch in batches:
        for modality, fingerprint in fingerprints.items():
            modality_batch = batch.filter(
                (pc.field("modality") == modality) & (pc.field("fingerprint") == fingerprint)
            )
            keys.append(_hash_rows(modality_batch, VECTOR_KEY))
            widths[modality].update(pc.unique(pc.list_value_length(modality_batch["vector"])).to_pylist())
            embedded[modality].update(pc.unique(modality_batch["video_id"]).to_pylist())
            invalid_vectors += _count_invalid_vectors(
                modality_batch["vector"], unit_length=fingerprint != LANDED_FINGERPRINT
            )
    media_embedded = embedded["visual"] | embedded["audio"]
    from_media = {"visual", "audio"} & set(fingerprints)
    with_caption = [v for v, text in captions.items() if v in embedded["text"] or is_readable(text)]
    return {
        "rows": sum(map(len, keys)),
        "duplicate_rows": _count_duplicates(keys),
        "invalid_vectors": invalid_vectors,
        **{f"num_{modality}_widths": len(widths[modality]) or None for modality in MODALITIES},
        "media_embedded_rate": _coverage(media_videos, media_embedded) if from_media else None,
        "text_embedded_rate": _coverage(with_caption, embedded["text"]) if "text" in fingerprints else None,
    }


def _ratio(part: float, whole: float | None) -> float | None:
    return part / whole if whole else None


def _coverage(expected: Sequence[str], embedded: set[str]) -> float | None:
    return _ratio(sum(video in embedded for video in expected), len(expected))


def _hash_rows(batch: pa.RecordBatch, columns: Sequence[str]) -> np.ndarray:
    """Hash each row to 64 bits. Among n different rows a collision has probability of about n² / 2⁶⁵."""
    return pd.util.hash_pandas_object(batch.select(list(columns)).to_pandas(), index=False).to_numpy()


def _count_duplicates(keys: list[np.ndarray]) -> int:
    """Count the rows that repeat the key of another row."""
    all_keys = np.concatenate(keys) if keys else np.empty(0, np.uint64)
    return len(all_keys) - len(np.unique(all_keys))


def _any_null(batch: pa.RecordBatch, columns: Sequence[str]) -> np.ndarray:
    return np.any([batch[c].is_null().to_numpy(zero_copy_only=False) for c in columns], axis=0)


def _out_of_day(started_at: pa.Array, day: date) -> np.ndarray:
    """Return which times lie before the day or after the next day.

    The next day is allowed, because a clock that runs ahead may reach into it.
    """
    start = np.datetime64(day, "us")
    times = started_at.cast(pa.timestamp("us")).drop_null().to_numpy(zero_copy_only=False)
    return (times < start) | (times >= start + np.timedelta64(2, "D"))


def _count_invalid_vectors(vectors: pa.ListArray, unit_length: bool) -> int:
    """Count the vectors that are empty, zero or not finite, or that should have unit length and do not."""
    lengths = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy(zero_copy_only=False)
    flat = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    squares = np.bincount(np.repeat(np.arange(len(lengths)), lengths), flat**2, minlength=len(lengths))
    norms = np.sqrt(squares)
    valid = np.isfinite(norms) & (norms > 0)
    if unit_length:
        valid &= np.abs(norms - 1) <= NORM_TOLERANCE
    return int((~valid).sum())
