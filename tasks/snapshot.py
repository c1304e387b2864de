"""Write the snapshot: all data that the model half of the night reads, as files.

The files come from pinned table versions of the lake. From here on DVC tracks all files of the night.

Rows of users are read and written for one range of users after the other, so memory does not grow with the
length of history. The catalogue, the item statistics and the vectors are whole in memory, as in the model.

Only the videos that users have seen need all interactions. They are collected in one exchange by user, and
written for one bucket of users after the other.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import And, BooleanExpression
from safetensors.numpy import save_file

from core import step_cli
from core.config import load_params
from core.config.model_half import SnapshotConfig
from core.errors import InputError
from core.hashing import hash_folder
from core.paths import Night
from core.pseudonyms import require_key
from core.run_manifests import RunManifest, read_manifest, write_json
from core.storage import StoragePath, arrow_source
from core.tables import BEHAVIOURS, TABLES
from core.time_split import TEST_FOLD, TimeSplit
from features.item_features import item_statistics
from features.user_profiles import read_user_profiles
from features.vectors import segment_vectors, whole_video_vectors
from lake.audits import visible_lake
from lake.client import Lake, on_days, up_to_day
from lake.key_ranges import KeyRange, divide_keys
from lake.latest_records import latest_records
from lake.profile_columns import require_profile_columns
from models.data.labels import POSITIVE_BEHAVIOURS, has_behaviour, is_complete, is_positive
from registry import model_registry
from snapshots.compared_features import COMPARED_FEATURES, compared_tensor, encoders_of_compared_models
from snapshots.parquet_parts import ParquetParts
from snapshots.pseudonymised_files import pseudonymise_files
from snapshots.segments import segment_tensors
from spark_jobs.exchange import count_buckets, deleted_at_end, split_by_user, task_scheduler
from spark_jobs.seen_items import COLUMNS, SEEN_ITEMS, SeenItemsFolders, watched_pairs, write_seen_items

LAKE_TABLES = ("users", "videos", "interactions", "item_statistics", "sequences", "features")
RANGE_ROWS = 1 << 20  # interactions and profiles of a range of users, some 500 MiB in all tables together
RANGE_RECORDS = 1 << 20  # catalogue records of a range of videos, some 500 MiB


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
    with ParquetParts(out) as files:
        videos = _catalogue(lake, split)
        video_ids = videos["video_id"]
        files.append("catalogue", videos)
        for fold, statistics in item_statistics(lake, video_ids, split.known_until).items():
            files.append(f"item_statistics_{fold}", statistics)
        for users in _user_ranges(lake, split):
            for name, part in _user_tables(lake, params, video_ids, split, users).items():
                files.append(name, part)
        for part in _seen_items(lake, video_ids, split.known_until[TEST_FOLD]):
            files.append("seen_items", part)
    if key:
        pseudonymise_files(out, key)
    _require_interactions(files.num_rows, split)
    require_profile_columns(lake, params, split.known_until[TEST_FOLD])
    fingerprints = read_manifest(night.run_manifests, "embed")["facts"]["fingerprints"]
    segments = _segments(lake, night, video_ids, fingerprints) if params.segments else {}
    modalities = _write_features(
        lake, split.test_day, video_ids, fingerprints, segments, out / "features.safetensors"
    )
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
    _write_compared_features(lake, split.test_day, video_ids, fingerprints, out)
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


def _user_ranges(lake: Lake, split: TimeSplit) -> list[KeyRange]:
    """Divide the users into ranges of `RANGE_ROWS` rows that the snapshot reads."""
    sequences = lake.lazy_scan("sequences", on_days(*split.known_until.values()))
    interactions = lake.lazy_scan("interactions", on_days(*split.folds.values()))
    profiles = lake.lazy_scan("users", up_to_day(split.known_until[TEST_FOLD]))
    rows = [sequences.select("user_id", "behaviours").explode("behaviours"), interactions, profiles]
    return divide_keys(pl.concat([part.select("user_id") for part in rows]), "user_id", RANGE_ROWS)


def _user_tables(
    lake: Lake, params: SnapshotConfig, video_ids: pa.ChunkedArray, split: TimeSplit, users: KeyRange
) -> dict[str, pa.Table]:
    """Return file name -> the rows of a range of users.

    These are the sequences that each fold knows, the interactions of its day, and the users' profiles.
    """
    tables = {
        f"sequences_{fold}": _sequences(lake, params, video_ids, day, users)
        for fold, day in split.known_until.items()
    }
    tables |= {
        f"interactions_{fold}": _interactions(lake, params, video_ids, day, users)
        for fold, day in split.folds.items()
    }
    chunks = [chunk for table in tables.values() for chunk in table["user_id"].chunks]
    user_ids = pc.unique(pa.chunked_array(chunks, pa.string()))
    profiles = read_user_profiles(lake, params, user_ids, split, users)
    return tables | {f"users_{fold}": table for fold, table in profiles.items()}


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


def _catalogue(lake: Lake, split: TimeSplit) -> pa.Table:
    """Return one row for each video known by the test day, sorted by id."""
    known = up_to_day(split.test_day)
    ranges = divide_keys(lake.lazy_scan("videos", known), "video_id", RANGE_RECORDS)
    parts = [_catalogue_part(lake, And(known, videos.filter())) for videos in ranges]
    return pa.concat_tables(parts).combine_chunks()


def _catalogue_part(lake: Lake, row_filter: BooleanExpression) -> pa.Table:
    """Return the rows of the catalogue from some records, which hold all records of their videos."""
    columns = ("video_id", "author_id", "category", "caption", "duration_ms", "upload_time", "expires_at")
    order = ("day", "source_file", "source_line")
    records = lake.scan("videos", row_filter, (*columns, *order))
    videos = latest_records(records, "video_id")
    first_received = records.group_by("video_id").aggregate([("day", "min")])
    position = pc.index_in(videos["video_id"], first_received["video_id"].combine_chunks())
    received = first_received["day_min"].take(position)
    uploaded = pc.coalesce(videos["upload_time"].cast(pa.date32()), received)
    catalogue = videos.select(["video_id", "author_id", "category", "caption", "duration_ms"])
    catalogue = catalogue.append_column("upload_day", uploaded)
    return catalogue.append_column("available_until", _last_day_before(videos["expires_at"]))


def _last_day_before(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the last day with a moment before each time, null for no time."""
    return pc.subtract(times, pa.scalar(1, pa.duration("us"))).cast(pa.date32())


def _sequences(
    lake: Lake, params: SnapshotConfig, video_ids: pa.ChunkedArray, day: date, users: KeyRange
) -> pa.Table:
    """Return the sequences at the end of `day`, with the label `positive` and rows instead of video ids."""
    table = _scan_range(lake, "sequences", on_days(day), users).sort_by("user_id").combine_chunks()
    lists = {
        name: table[name].combine_chunks() for name in table.schema.names if name not in ("user_id", "day")
    }
    if not table.num_rows:
        lists = {name: pa.array([], table.schema.field(name).type) for name in lists}
    offsets = lists["video_ids"].offsets
    flat = {name: column.flatten() for name, column in lists.items()}
    bits = flat["behaviours"]
    flags = {name: has_behaviour(bits, position) for position, name in enumerate(BEHAVIOURS)}
    flat["positive"] = is_positive(flags, flat["watch_ratios"], params.positive_watch_ratio)
    flat["video_rows"] = _video_rows(flat.pop("video_ids"), video_ids)
    flat["utc_offset_minutes"] = pc.fill_null(flat["utc_offset_minutes"], 0)
    columns = {name: pa.ListArray.from_arrays(offsets, values) for name, values in sorted(flat.items())}
    return pa.table({"user_id": table["user_id"], **columns})


def _interactions(
    lake: Lake, params: SnapshotConfig, video_ids: pa.ChunkedArray, day: date, users: KeyRange
) -> pa.Table:
    """Return all interactions of a day with a behaviour, with their labels, sorted by user and time."""
    table = _scan_range(lake, "interactions", on_days(day), users).sort_by(
        [("user_id", "ascending"), ("started_at", "ascending"), ("video_id", "ascending")]
    )
    table = table.filter(_any_true([table[name] for name in BEHAVIOURS]))
    columns = (
        "user_id",
        "started_at",
        "watch_ratio",
        *POSITIVE_BEHAVIOURS,
        "disliked",
        "device",
        "network",
        "utc_offset_minutes",
    )
    flags = {name: table[name] for name in BEHAVIOURS}
    return (
        table.select(list(columns))
        .append_column("video_row", _video_rows(table["video_id"], video_ids))
        .append_column("completed", is_complete(table["watch_ratio"]))
        .append_column("positive", is_positive(flags, table["watch_ratio"], params.positive_watch_ratio))
    )


def _scan_range(lake: Lake, name: str, days: BooleanExpression, users: KeyRange) -> pa.Table:
    """Return the rows of a range of users. Without rows, pyiceberg gives other types than with them."""
    rows = lake.scan(name, And(days, users.filter()))
    return rows if rows.num_rows else TABLES[name].schema.empty_table()


def _any_true(columns: list[pa.Array]) -> pa.Array:
    """Return whether any column is true in each row."""
    result = columns[0]
    for column in columns[1:]:
        result = pc.or_(result, column)
    return result


def _video_rows(ids: pa.Array, video_ids: pa.ChunkedArray) -> pa.Array:
    """Return the catalogue row of each video id.

    Raises:
        InputError: As `_require_videos`.
    """
    rows = pc.index_in(ids, video_ids.combine_chunks()).cast(pa.int32())
    _require_videos(rows)
    return rows


def _require_videos(rows: pa.Array) -> None:
    """Check that each video has a row.

    Raises:
        InputError: One is not in the catalogue, because its day was cleaned with another catalogue.
    """
    if rows.null_count:
        raise InputError(
            f"{rows.null_count} interactions have videos that are not in the catalogue of this night; run"
            " `python -m tasks.clean` and `python -m tasks.sequences` for this night again"
        )


def _seen_items(lake: Lake, video_ids: pa.ChunkedArray, until: date) -> Iterator[pa.Table]:
    """Yield all distinct videos that each user watched up to a day, with the first day of each.

    Each table has the users of one bucket. Sequences are too short for this, because they hold only the
    newest interactions.

    Raises:
        InputError: As `_require_videos`.
    """
    with (
        lake.lock("snapshot"),
        deleted_at_end(lake.create_staging_folder("interactions")) as exchange,
    ):
        folders = SeenItemsFolders(exchange)
        catalogue = pl.DataFrame({"video_id": video_ids}).with_row_index("video_row")
        catalogue.cast({"video_row": pl.Int32}).write_parquet(str(folders.catalogue))
        for path in _collect_seen_items(lake.data_files("interactions", up_to_day(until)), folders):
            part = pq.read_table(arrow_source(path), schema=SEEN_ITEMS)
            _require_videos(pc.list_flatten(part["video_rows"]))
            yield part


def _collect_seen_items(paths: Sequence[str], folders: SeenItemsFolders) -> list[StoragePath]:
    """Write one file for each bucket of users, and return their paths."""
    with task_scheduler("snapshot", paths) as scheduler:
        num_buckets = count_buckets(scheduler, paths)
        split_by_user(scheduler, paths, watched_pairs, folders.pairs, num_buckets, COLUMNS)
        return scheduler.run(partial(write_seen_items, folders=folders), range(num_buckets))


def _segments(
    lake: Lake, night: Night, video_ids: pa.ChunkedArray, fingerprints: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Return the tensors of the video segments."""
    segment_seconds = read_manifest(night.run_manifests, "embed")["params"]["segment_seconds"]
    vectors = {name: segment_vectors(lake, name, fingerprint) for name, fingerprint in fingerprints.items()}
    return segment_tensors(vectors, video_ids, round(1000 * segment_seconds))


def _write_features(
    lake: Lake,
    until: date,
    video_ids: pa.ChunkedArray,
    fingerprints: dict[str, str],
    segments: Mapping[str, np.ndarray],
    path: Path,
) -> dict[str, dict]:
    """Write the whole-video vectors [V, F] of each modality and their mask [V].

    Args:
        lake: Without blocked nights.
        until: Last day of the vectors.
        video_ids: Of the catalogue.
        fingerprints: Modality -> fingerprint of its encoder. Vectors of other encoders are left out.
        segments: Tensors of the video segments. Empty: none are written.
        path: Of the file.

    Returns:
        Modality -> width, number of videos with a vector, and fingerprint. Without those that have no vector.

    Raises:
        InputError: Vectors of one modality have different widths.
    """
    tensors: dict[str, np.ndarray] = dict(segments)
    coverage: dict[str, dict] = {}
    for modality, fingerprint in sorted(fingerprints.items()):
        batches = whole_video_vectors(lake, until, modality, fingerprint)
        x_VF, mask_V = _catalogue_vectors(modality, batches, video_ids)
        if mask_V.any():
            tensors |= {modality: x_VF, f"{modality}.mask": mask_V}
            coverage[modality] = {
                "width": x_VF.shape[1],
                "covered": int(mask_V.sum()),
                "fingerprint": fingerprint,
            }
    save_file(tensors, path)
    return coverage


def _write_compared_features(
    lake: Lake, until: date, video_ids: pa.ChunkedArray, fingerprints: Mapping[str, str], out: Path
) -> None:
    """Write the vectors that a compared model reads, but no model of this night: those of other encoders.

    No file is written if there are none.
    """
    tensors: dict[str, np.ndarray] = {}
    for modality, fingerprint in sorted(encoders_of_compared_models(out) - fingerprints.items()):
        batches = whole_video_vectors(lake, until, modality, fingerprint)
        x_VF, mask_V = _catalogue_vectors(modality, batches, video_ids)
        if mask_V.any():
            name = compared_tensor(modality, fingerprint)
            tensors |= {name: x_VF, f"{name}.mask": mask_V}
    if tensors:
        save_file(tensors, out / COMPARED_FEATURES)


def _catalogue_vectors(
    modality: str, batches: Iterable[pl.DataFrame], video_ids: pa.ChunkedArray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors [V, F] of the catalogue and their mask [V]. Without vectors, F is 0.

    Args:
        modality: The modality.
        batches: `video_id` and `vector` of videos, also of those that are not in the catalogue.
        video_ids: Of the catalogue.

    Raises:
        InputError: The vectors have different widths.
    """
    row_of_video = pl.DataFrame({"video_id": video_ids}).with_row_index("row")
    x_VF, mask_V = np.zeros((len(video_ids), 0), np.float32), np.zeros(len(video_ids), bool)
    widths: set[int] = set()
    for batch in batches:
        known = batch.join(row_of_video, on="video_id")
        widths |= set(known["vector"].list.len())
        if len(widths) != 1:
            continue
        if not mask_V.any():
            x_VF = np.zeros((len(video_ids), *widths), np.float32)
        rows = known["row"].to_numpy()
        x_VF[rows] = known["vector"].explode().to_numpy().reshape(len(rows), -1)
        mask_V[rows] = True
    if len(widths) > 1:
        listed = " and ".join(map(str, sorted(widths)))
        raise InputError(
            f"features: the lake holds {modality} vectors of {listed} numbers;"
            " deliver all of them again with one width (docs/data-contract.md)"
        )
    return x_VF, mask_V


if __name__ == "__main__":
    sys.exit(step_cli.main("snapshot", run, __doc__))
