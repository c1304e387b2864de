"""Write the snapshot: all data that the model half of the night reads, as files.

The files come from pinned table versions of the lake. From here on DVC tracks all files of the night.
"""

import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from core import step_cli
from core.config.model_half import SnapshotConfig
from core.errors import InputError
from core.hashing import hash_folder
from core.paths import Night
from core.run_manifests import RunManifest, read_manifest, write_json
from core.tables import BEHAVIOURS
from core.time_split import TEST_FOLD, TimeSplit
from features import vectors
from features.item_features import item_statistics
from features.user_profiles import read_user_profiles
from lake.audits import visible_lake
from lake.client import Lake, on_days, up_to_day
from lake.latest_records import latest_records
from models.data.labels import POSITIVE_BEHAVIOURS, has_behaviour, is_complete, is_positive
from registry import model_registry

LAKE_TABLES = ("users", "videos", "interactions", "sequences", "features")


def run(params: SnapshotConfig, night: Night) -> RunManifest:
    """Write the files of the snapshot, and pin the table versions that they come from.

    Raises:
        InputError: There is no sequence to train on, or no interaction to test on.
        ServiceUnavailableError: MLflow does not answer.
    """
    lake, out = visible_lake(night.day), night.fresh_folder("snapshot")
    versions = {name: lake.version(name) for name in LAKE_TABLES}
    lake.pin(versions)
    split = _read_split(night)
    videos = _catalogue(lake, split)
    video_ids = videos["video_id"]

    interactions = _interaction_tables(lake, params, video_ids, split)
    user_ids = pc.unique(pa.chunked_array([table["user_id"] for table in interactions.values()]))
    users = read_user_profiles(lake, params, user_ids, split)
    fingerprints = read_manifest(night.run_manifests, "embed")["facts"]["fingerprints"]
    modalities = _write_features(lake, split.test_day, video_ids, fingerprints, out / "features.safetensors")

    tables = interactions | {
        "catalogue": videos,
        "seen_items": _seen_items(lake, video_ids, split.known_until[TEST_FOLD]),
        **{f"users_{fold}": table for fold, table in users.items()},
        **_item_statistics(lake, video_ids, split),
    }
    for name, table in tables.items():
        pq.write_table(table, out / f"{name}.parquet")
    manifest = {
        "night": str(night.day),
        "folds": split.to_json(),
        "test_day": str(split.test_day),
        "missing_days": [str(day) for day in sorted(lake.hidden_days)],
        "num_videos": videos.num_rows,
        "num_users": len(user_ids),
        "modalities": modalities,
        "positive_watch_ratio": params.positive_watch_ratio,
        **model_registry.fetch_compared_models(out, night.day),
    }
    write_json(out / "manifest.json", manifest)
    return RunManifest(reads=versions, digests=hash_folder(out), facts=manifest)


def _read_split(night: Night) -> TimeSplit:
    """Return the folds for which the step sequences built sequences.

    Raises:
        InputError: Its run manifest is missing or of an older version.
    """
    facts = read_manifest(night.run_manifests, "sequences")["facts"]
    if "folds" not in facts:
        raise InputError(
            f"{night.run_manifests / 'sequences.json'} has no folds: another version wrote it; run"
            f" `python -m tasks.sequences --night {night.day}` again"
        )
    return TimeSplit.from_json(facts["folds"])


def _interaction_tables(
    lake: Lake, params: SnapshotConfig, video_ids: pa.ChunkedArray, split: TimeSplit
) -> dict[str, pa.Table]:
    """Return file name -> the sequences that each fold knows, and the interactions of its day.

    Args:
        lake: Without blocked nights.
        params: Section `snapshot` of params.yaml.
        video_ids: Of the catalogue.
        split: The folds.

    Raises:
        InputError: There is nothing to train or to test on.
    """
    sequences = {
        f"sequences_{fold}": _sequences(lake, params, video_ids, day)
        for fold, day in split.known_until.items()
    }
    interactions = {
        f"interactions_{fold}": _interactions(lake, params, video_ids, day)
        for fold, day in split.folds.items()
    }
    _require_rows(
        sequences["sequences_valid_1"],
        f"the lake has no interactions up to {split.train_end}; a night needs three days of events",
    )
    _require_rows(
        interactions["interactions_test"],
        f"the lake has no interactions of {split.test_day}; run ingest, clean and sequences for that day",
    )
    return sequences | interactions


def _catalogue(lake: Lake, split: TimeSplit) -> pa.Table:
    """Return one row for each video known by the test day, sorted by id."""
    columns = ("video_id", "author_id", "category", "caption", "duration_ms", "upload_time", "expires_at")
    order = ("day", "source_file", "source_line")
    records = lake.scan("videos", up_to_day(split.test_day), (*columns, *order))
    videos = latest_records(records, "video_id")
    first_received = records.group_by("video_id").aggregate([("day", "min")])
    position = pc.index_in(videos["video_id"], first_received["video_id"].combine_chunks())
    received = first_received["day_min"].take(position)
    uploaded = pc.coalesce(videos["upload_time"].cast(pa.date32()), received)
    catalogue = videos.select(["video_id", "author_id", "category", "caption", "duration_ms"])
    catalogue = catalogue.append_column("upload_day", uploaded)
    return catalogue.append_column("available_until", _last_day_before(videos["expires_at"]))


def _item_statistics(lake: Lake, video_ids: pa.ChunkedArray, split: TimeSplit) -> dict[str, pa.Table]:
    """Return file name -> what the interactions that each fold knows tell about each video."""
    columns = ("video_id", "day", "viewed", "comment_sentiment")
    interactions = lake.scan("interactions", up_to_day(split.known_until[TEST_FOLD]), columns)
    return {
        f"item_statistics_{fold}": item_statistics(
            interactions.filter(pc.less_equal(interactions["day"], day)), video_ids
        )
        for fold, day in split.known_until.items()
    }


def _last_day_before(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the last day with a moment before each time, null for no time."""
    return pc.subtract(times, pa.scalar(1, pa.duration("us"))).cast(pa.date32())


def _sequences(lake: Lake, params: SnapshotConfig, video_ids: pa.ChunkedArray, day: date) -> pa.Table:
    """Return the sequences at the end of `day`, with the label `positive` and rows instead of video ids."""
    table = lake.scan("sequences", on_days(day)).sort_by("user_id").combine_chunks()
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


def _interactions(lake: Lake, params: SnapshotConfig, video_ids: pa.ChunkedArray, day: date) -> pa.Table:
    """Return all interactions of a day with a behaviour, with their labels, sorted by user and time."""
    table = lake.scan("interactions", on_days(day)).sort_by(
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


def _any_true(columns: list[pa.Array]) -> pa.Array:
    """Return whether any column is true in each row."""
    result = columns[0]
    for column in columns[1:]:
        result = pc.or_(result, column)
    return result


def _video_rows(ids: pa.Array, video_ids: pa.ChunkedArray) -> pa.Array:
    """Return the catalogue row of each video id.

    Raises:
        InputError: An id is not in the catalogue, because its day was cleaned with another catalogue.
    """
    rows = pc.index_in(ids, video_ids.combine_chunks()).cast(pa.int32())
    if rows.null_count:
        raise InputError(
            f"{rows.null_count} interactions have videos that are not in the catalogue of this night; run"
            " `python -m tasks.clean` and `python -m tasks.sequences` for this night again"
        )
    return rows


def _seen_items(lake: Lake, video_ids: pa.ChunkedArray, until: date) -> pa.Table:
    """Return all distinct videos that each user watched up to a day, with the first day of each.

    Sequences are too short for this, because they hold only the newest interactions.
    """
    table = lake.scan("interactions", up_to_day(until), ("user_id", "video_id", "day", *BEHAVIOURS))
    table = table.filter(_any_true([table[name] for name in BEHAVIOURS]))
    events = pa.table(
        {
            "user_id": table["user_id"],
            "video_row": _video_rows(table["video_id"], video_ids),
            "first_day": table["day"],
        }
    )
    pairs = events.group_by(["user_id", "video_row"]).aggregate([("first_day", "min")])
    ordered = pairs.sort_by([("user_id", "ascending"), ("video_row", "ascending")])
    lists = ordered.group_by("user_id", use_threads=False).aggregate(
        [("video_row", "list"), ("first_day_min", "list")]
    )
    return lists.rename_columns({"video_row_list": "video_rows", "first_day_min_list": "first_days"})


def _write_features(
    lake: Lake, until: date, video_ids: pa.ChunkedArray, fingerprints: dict[str, str], path: Path
) -> dict[str, dict]:
    """Write the whole-video vectors [V, F] of each modality and their mask [V].

    Args:
        lake: Without blocked nights.
        until: Last day of the vectors.
        video_ids: Of the catalogue.
        fingerprints: Modality -> fingerprint of its encoder. Vectors of other encoders are left out.
        path: Of the file.

    Returns:
        Modality -> width, number of videos with a vector, and fingerprint. Without those that have no vector.

    Raises:
        InputError: Vectors of one modality have different widths.
    """
    tensors: dict[str, np.ndarray] = {}
    coverage: dict[str, dict] = {}
    for modality, fingerprint in sorted(fingerprints.items()):
        vector_table = vectors.whole_video_vectors(lake, until, modality, fingerprint)
        position = pc.index_in(vector_table["video_id"], video_ids.combine_chunks())
        in_catalogue = vector_table.append_column("row", position).filter(pc.is_valid(position))
        if not in_catalogue.num_rows:
            continue
        width = _vector_width(modality, in_catalogue["vector"])
        rows = in_catalogue["row"].to_numpy()
        x_VF = np.zeros((len(video_ids), width), np.float32)
        x_VF[rows] = np.stack(in_catalogue["vector"].to_numpy())
        mask_V = np.zeros(len(video_ids), bool)
        mask_V[rows] = True
        tensors |= {modality: x_VF, f"{modality}.mask": mask_V}
        coverage[modality] = {
            "width": width,
            "covered": int(mask_V.sum()),
            "fingerprint": fingerprint,
        }
    save_file(tensors, path)
    return coverage


def _vector_width(modality: str, vector_lists: pa.ChunkedArray) -> int:
    """Return the common width of the vectors.

    Raises:
        InputError: There are several.
    """
    widths = sorted(pc.unique(pc.list_value_length(vector_lists)).to_pylist())
    if len(widths) > 1:
        raise InputError(
            f"features: the lake holds {modality} vectors of {' and '.join(map(str, widths))} numbers;"
            " deliver all of them again with one width (docs/data-contract.md)"
        )
    return widths[0]


def _require_rows(table: pa.Table, message: str) -> None:
    if not table.num_rows:
        raise InputError(message)


if __name__ == "__main__":
    sys.exit(step_cli.main("snapshot", run, __doc__))
