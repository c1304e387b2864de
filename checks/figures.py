"""What is measured about a table, in one pass over its rows and in bounded memory.

Each function reads a stream of Arrow batches and returns figure name -> value; None where there was nothing
to measure, which is not the same as zero. Only 8 bytes a row are held, to find repeated keys.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contracts.records import LANDED

Figures = dict[str, float | None]

EVENT_COLUMNS = ("user_id", "video_id")
VIEWING_KEY = ("user_id", "video_id", "started_at")
VIEWING_COLUMNS = (*VIEWING_KEY, "watched_ms", "watch_ratio")
VECTOR_KEY = ("video_id", "modality", "segment")
VECTOR_COLUMNS = (*VECTOR_KEY, "vector", "fingerprint")
MODALITIES = ("visual", "text", "audio")
STATES = ("users", "videos", "features")  # kinds of landing files; of events see `events`
FEW_RECORDS = 20
NORM_TOLERANCE = 1e-3  # of encoders' vectors, which are of unit length; landed ones come as they are


def events(
    batches: Iterable[pa.RecordBatch], refused: Mapping[str, int], unreadable: int, usual: float | None
) -> Figures:
    """Figures of the events received for a night.

    Args:
        batches: `EVENT_COLUMNS` of the night's events.
        refused: reason -> how many of them clean refused.
        unreadable: lines of the night's event files that ingest refused.
        usual: events of a usual day; None while there is no past to compare with.
    """
    rows, missing = 0, dict.fromkeys(EVENT_COLUMNS, 0)
    for batch in batches:
        rows += batch.num_rows
        for column in EVENT_COLUMNS:
            missing[column] += batch[column].null_count
    return {
        "rows": rows,
        "of_usual": _share(rows, usual),
        "unreadable_share": _share(unreadable, rows + unreadable),
        "missing_user_share": _share(missing["user_id"], rows),
        "missing_video_share": _share(missing["video_id"], rows),
        "refused_share": _share(sum(refused.values()), rows),
        **{f"refused_{reason}_share": _share(n, rows) for reason, n in sorted(refused.items())},
    }


def landings(files: Iterable[Mapping[str, Any]], bound: float) -> Figures:
    """Figures of the files that the night brought.

    Args:
        files: `kind`, `rows`, `rejected` of each.
        bound: a file of which a larger share was refused counts as lost.
    """
    lost, rows, refused = 0, Counter[str](), Counter[str]()
    for file in files:
        lost += file["rejected"] > bound * file["rows"] or 0 < file["rejected"] == file["rows"]
        rows[file["kind"]] += file["rows"]
        refused[file["kind"]] += file["rejected"]
    shares = {kind: _share(refused[kind], rows[kind]) for kind in STATES}
    return {
        "lost_files": lost,
        # Below FEW_RECORDS refused the share is not judged: one bad record of two must not block a night.
        **{f"{k}_refused_share": share if refused[k] >= FEW_RECORDS else None for k, share in shares.items()},
    }


def interactions(batches: Iterable[pa.RecordBatch], day: date) -> Figures:
    """Figures of the viewings of a day, from their `VIEWING_COLUMNS`."""
    keys: list[np.ndarray] = []
    counts = dict.fromkeys(("rows", "keyless_rows", "stray_rows", "bad_watch_rows"), 0)
    longest = -np.inf
    for batch in batches:
        keys.append(_hash(batch, VIEWING_KEY))
        ratio = pc.fill_null(batch["watch_ratio"], 0.0).to_numpy(zero_copy_only=False)
        known = pc.is_valid(batch["watch_ratio"]).to_numpy(zero_copy_only=False)
        negative = pc.fill_null(pc.less(batch["watched_ms"], 0), False).to_numpy(zero_copy_only=False)
        counts["rows"] += batch.num_rows
        counts["keyless_rows"] += int(_any_null(batch, VIEWING_KEY).sum())
        counts["stray_rows"] += int(_strays(batch["started_at"], day).sum())
        counts["bad_watch_rows"] += int((negative | ~np.isfinite(ratio) | (ratio < 0)).sum())
        longest = max(longest, np.max(ratio[known & np.isfinite(ratio)], initial=-np.inf))
    return {
        **counts,
        "repeated_rows": _repeats(keys),
        "longest_watch_ratio": float(longest) if np.isfinite(longest) else None,
    }


def features(
    batches: Iterable[pa.RecordBatch],
    fingerprints: Mapping[str, str],
    with_media: Sequence[str],
    captions: Mapping[str, str],
    readable: Callable[[str], bool],
) -> Figures:
    """Figures of the vectors that tonight's model would read.

    Args:
        batches: `VECTOR_COLUMNS` of the lake's features.
        fingerprints: modality -> the encoder in use; vectors of other encoders are passed over.
        with_media: ids of the videos that should have a vector of picture or sound.
        captions: id -> text of the videos that should have a vector of it, if it is `readable`.
    """
    keys: list[np.ndarray] = []
    widths: dict[str, set[int]] = {modality: set() for modality in MODALITIES}
    embedded: dict[str, set[str]] = {modality: set() for modality in MODALITIES}
    bad = 0
    for batch in batches:
        for modality, fingerprint in fingerprints.items():
            mine = batch.filter((pc.field("modality") == modality) & (pc.field("fingerprint") == fingerprint))
            keys.append(_hash(mine, VECTOR_KEY))
            widths[modality].update(pc.unique(pc.list_value_length(mine["vector"])).to_pylist())
            embedded[modality].update(pc.unique(mine["video_id"]).to_pylist())
            bad += _bad_vectors(mine["vector"], unit_length=fingerprint != LANDED)
    seen_or_heard = embedded["visual"] | embedded["audio"]
    from_media = {"visual", "audio"} & set(fingerprints)
    with_caption = [v for v, text in captions.items() if v in embedded["text"] or readable(text)]
    return {
        "rows": sum(map(len, keys)),
        "repeated_rows": _repeats(keys),
        "bad_rows": bad,
        **{f"{modality}_widths": len(widths[modality]) or None for modality in MODALITIES},
        "embedded_share": _covered(with_media, seen_or_heard) if from_media else None,
        "captioned_share": _covered(with_caption, embedded["text"]) if "text" in fingerprints else None,
    }


def _share(part: float, whole: float | None) -> float | None:
    return part / whole if whole else None


def _covered(wanted: Sequence[str], found: set[str]) -> float | None:
    return _share(sum(video in found for video in wanted), len(wanted))


def _hash(batch: pa.RecordBatch, columns: Sequence[str]) -> np.ndarray:
    """64 bits a row; among n different rows the chance of any two alike is about n² / 2⁶⁵."""
    return pd.util.hash_pandas_object(batch.select(list(columns)).to_pandas(), index=False).to_numpy()


def _repeats(keys: list[np.ndarray]) -> int:
    """How many rows repeat the key of another."""
    every = np.concatenate(keys) if keys else np.empty(0, np.uint64)
    return len(every) - len(np.unique(every))


def _any_null(batch: pa.RecordBatch, columns: Sequence[str]) -> np.ndarray:
    return np.any([batch[c].is_null().to_numpy(zero_copy_only=False) for c in columns], axis=0)


def _strays(started_at: pa.Array, day: date) -> np.ndarray:
    """Before the day, or later than the next one (clocks that run ahead may just reach into that)."""
    start = np.datetime64(day, "us")
    at = started_at.cast(pa.timestamp("us")).drop_null().to_numpy(zero_copy_only=False)
    return (at < start) | (at >= start + np.timedelta64(2, "D"))


def _bad_vectors(vectors: pa.ListArray, unit_length: bool) -> int:
    """Vectors that are empty, not finite, zero, or (of encoders) not of unit length."""
    lengths = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy(zero_copy_only=False)
    flat = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    squares = np.bincount(np.repeat(np.arange(len(lengths)), lengths), flat**2, minlength=len(lengths))
    norms = np.sqrt(squares)
    good = np.isfinite(norms) & (norms > 0)
    if unit_length:
        good &= np.abs(norms - 1) <= NORM_TOLERANCE
    return int((~good).sum())
