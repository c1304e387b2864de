"""Write the snapshot: all data that the model half of the night reads, as files.

The files come from pinned table versions of the lake. From here on DVC tracks all files of the night.

Rows of users are read and written for one range of users after the other, so memory does not grow with the
length of history. The catalogue, the item statistics and the vectors are whole in memory, as in the model.

Only the videos that users have seen need all interactions. They are collected in one exchange by user, and
written for one bucket of users after the other.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import save_file

from core import step_cli
from core.config import load_params
from core.config.model_half import SnapshotConfig
from core.errors import InputError
from core.hashing import hash_folder
from core.paths import Night
from core.pseudonyms import require_key
from core.run_manifests import RunManifest, read_manifest, write_json
from core.time_split import TEST_FOLD, TimeSplit
from features.catalogue import read_catalogue, require_catalogue_rows
from features.catalogue_vectors import read_catalogue_vectors
from features.item_statistics import item_statistics
from features.user_tables import divide_users, read_user_tables
from features.vectors import segment_vectors
from lake.audits import visible_lake
from lake.client import Lake
from lake.profile_columns import require_profile_columns
from registry import model_registry
from snapshots.compared_features import COMPARED_FEATURES, compared_tensor, encoders_of_compared_models
from snapshots.parquet_parts import ParquetParts
from snapshots.pseudonymised_files import pseudonymise_files
from snapshots.segments import segment_tensors
from spark_jobs.seen_items import collect_seen_items

LAKE_TABLES = ("users", "videos", "interactions", "item_statistics", "sequences", "features")


def run(params: SnapshotConfig, night: Night) -> RunManifest:
    """Write the files of the snapshot, and pin the table versions that they come from.

    Raises:
        InputError: There is no sequence to train on, or no interaction to test on. Or users must be
            pseudonymised, and the key is missing.
        ServiceUnavailableError: MLflow does not answer.
    """
    key = require_key(load_params(night.params_path).privacy)
    lake, out = visible_lake(night.day), night.fresh_folder("snapshot")
    versions = {name: lake.version(name) for name in LAKE_TABLES}
    lake.pin(versions)
    split = _read_split(night)
    videos = read_catalogue(lake, split.test_day)
    with ParquetParts(out) as files:
        for name, part in _tables(lake, params, split, videos):
            files.append(name, part)
    if key:
        pseudonymise_files(out, key)
    _require_interactions(files.num_rows, split)
    require_profile_columns(lake, params, split.known_until[TEST_FOLD])
    fingerprints = read_manifest(night.run_manifests, "embed")["facts"]["fingerprints"]
    video_ids = videos["video_id"]
    segments = _segments(lake, night, video_ids, fingerprints) if params.segments else {}
    modalities = _write_features(lake, split, video_ids, fingerprints, segments, out)
    manifest = {
        "night": str(night.day),
        "folds": split.to_json(),
        "test_day": str(split.test_day),
        "missing_days": [str(day) for day in sorted(lake.hidden_days)],
        "num_videos": videos.num_rows,
        "num_users": files.num_rows[f"users_{TEST_FOLD}"],
        "modalities": modalities,
        "positive_watch_ratio": params.positive_watch_ratio,
        **model_registry.fetch_compared_models(out, night.day),
    }
    _write_compared_features(lake, split, video_ids, fingerprints, out)
    write_json(out / "manifest.json", manifest)
    facts = manifest | {"pseudonym_key": key.fingerprint if key else None}
    return RunManifest(reads=versions, digests=hash_folder(out), facts=facts)


def _read_split(night: Night) -> TimeSplit:
    """Return the folds for which the step sequences built sequences and counted item statistics.

    Raises:
        InputError: Its run manifest is missing or of an older version.
    """
    facts = read_manifest(night.run_manifests, "sequences")["facts"]
    for key in ("folds", "counted_days"):
        if key not in facts:
            raise InputError(
                f"{night.run_manifests / 'sequences.json'} has no {key}: another version wrote it; run"
                f" `python -m tasks.sequences --night {night.day}` again"
            )
    return TimeSplit.from_json(facts["folds"])


def _tables(
    lake: Lake, params: SnapshotConfig, split: TimeSplit, videos: pa.Table
) -> Iterator[tuple[str, pa.Table]]:
    """Yield file name and rows of each table, part by part.

    Raises:
        InputError: An interaction has a video that is not in the catalogue.
    """
    yield "catalogue", videos
    video_ids = videos["video_id"]
    for fold, statistics in item_statistics(lake, video_ids, split.known_until).items():
        yield f"item_statistics_{fold}", statistics
    for users in divide_users(lake, split):
        yield from read_user_tables(lake, params, video_ids, split, users).items()
    for seen_items in collect_seen_items(lake, video_ids, split.known_until[TEST_FOLD]):
        require_catalogue_rows(pc.list_flatten(seen_items["video_rows"]))
        yield "seen_items", seen_items


def _require_interactions(num_rows: Mapping[str, int], split: TimeSplit) -> None:
    """Check that there is something to train and to test on.

    Args:
        num_rows: File name -> rows.
        split: The folds.

    Raises:
        InputError: There is not.
    """
    if not num_rows["sequences_valid_1"]:
        raise InputError(
            f"the lake has no interactions up to {split.train_end}; a night needs three days of events"
        )
    if not num_rows["interactions_test"]:
        raise InputError(
            f"the lake has no interactions of {split.test_day}; run ingest, clean and sequences for that day"
        )


def _segments(
    lake: Lake, night: Night, video_ids: pa.ChunkedArray, fingerprints: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Return the tensors of the video segments."""
    segment_seconds = read_manifest(night.run_manifests, "embed")["params"]["segment_seconds"]
    vectors = {name: segment_vectors(lake, name, fingerprint) for name, fingerprint in fingerprints.items()}
    return segment_tensors(vectors, video_ids, round(1000 * segment_seconds))


def _write_features(
    lake: Lake,
    split: TimeSplit,
    video_ids: pa.ChunkedArray,
    fingerprints: Mapping[str, str],
    segments: Mapping[str, np.ndarray],
    out: Path,
) -> dict[str, dict]:
    """Write the vectors that models of this night read.

    Args:
        lake: Without blocked nights.
        split: The folds. Its test day is the last day of the vectors.
        video_ids: Of the catalogue.
        fingerprints: Modality -> fingerprint of its encoder. Vectors of other encoders are left out.
        segments: Tensors of the video segments. Empty: none are written.
        out: Folder of the snapshot.

    Returns:
        Modality -> width, number of videos with a vector, and fingerprint. Without those that have no vector.

    Raises:
        InputError: Vectors of one modality have different widths.
    """
    vectors = read_catalogue_vectors(lake, split.test_day, video_ids, fingerprints.items())
    tensors = dict(segments)
    for (modality, _), of_encoder in vectors.items():
        tensors |= of_encoder.tensors(modality)
    save_file(tensors, out / "features.safetensors")
    return {
        modality: {
            "width": of_encoder.x_VF.shape[1],
            "covered": int(of_encoder.mask_V.sum()),
            "fingerprint": fingerprint,
        }
        for (modality, fingerprint), of_encoder in vectors.items()
    }


def _write_compared_features(
    lake: Lake, split: TimeSplit, video_ids: pa.ChunkedArray, fingerprints: Mapping[str, str], out: Path
) -> None:
    """Write the vectors that a compared model reads, but no model of this night: those of other encoders.

    No file is written if there are none.
    """
    encoders = encoders_of_compared_models(out) - fingerprints.items()
    vectors = read_catalogue_vectors(lake, split.test_day, video_ids, encoders)
    tensors: dict[str, np.ndarray] = {}
    for encoder, of_encoder in vectors.items():
        tensors |= of_encoder.tensors(compared_tensor(*encoder))
    if tensors:
        save_file(tensors, out / COMPARED_FEATURES)


if __name__ == "__main__":
    sys.exit(step_cli.main("snapshot", run, __doc__))
