"""Pin what tonight's model sees: from here on everything is files that DVC tracks.

Histories, profiles, targets and statistics are cut by day: training ends two days before the night,
validation is the day before it, the test is the day itself. Nothing later leaks into anything earlier. What
an earlier night brought and the data checks blocked is left out (contracts/split.py, contracts/audits.py).
"""

import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from contracts import step
from contracts.audits import lake_of
from contracts.digests import of_folder
from contracts.errors import InputError
from contracts.lake import Lake, on, up_to
from contracts.model_params import Snapshot
from contracts.place import Night
from contracts.receipts import Receipt, read_receipt, write_json
from contracts.split import Split, split_of
from contracts.tables import BEHAVIOURS
from tasks import registry, vectors
from tasks.profiles import newest, users_of
from tasks.video_numbers import SYNCHRONY_COLUMNS, add_columns, comment_numbers, synchrony_numbers

COMPLETED = 0.95  # share of a video that counts as having seen all of it
ENGAGED = ("liked", "commented", "shared", "followed")
TABLES = ("users", "videos", "interactions", "sequences", "features")


def run(params: Snapshot, night: Night) -> Receipt:
    """Write the snapshot's files and pin the table versions they came from.

    Raises:
        InputError: there is no history to train on, or no viewing to test on.
    """
    lake, out = lake_of(night.day), night.fresh_folder("snapshot")
    versions = {name: lake.version(name) for name in TABLES}
    lake.pin(versions)
    split = split_of(night.day, lake.without)
    videos = _catalogue(lake, split)
    rows = videos["video_id"]

    histories = {
        name: _histories(lake, params, rows, day)
        for name, day in (("train", split.train), ("test", split.known))
    }
    views = {
        name: _views(lake, params, rows, day) for name, day in (("valid", split.valid), ("test", split.test))
    }
    _need(
        histories["train"],
        f"no viewing up to {split.train} is in the lake; a night needs three days of events",
    )
    _need(views["test"], f"no viewing of {split.test} is in the lake; ingest and clean that day first")
    people = pc.unique(pa.chunked_array([t["user_id"] for t in (*histories.values(), *views.values())]))
    users = users_of(lake, params, people, split)
    embedded = read_receipt(night.receipts, "embed")["facts"]
    modalities = _features(lake, split.test, rows, embedded["fingerprints"], out / "features.safetensors")
    videos = add_columns(videos, comment_numbers(lake, rows, split.train))
    videos = add_columns(videos, synchrony_numbers(lake, rows, embedded["synchrony"]))

    for name, table in {
        "catalogue": videos,
        "users": users["test"],
        "users_train": users["train"],
        "train": histories["train"],
        "test": histories["test"],
        "valid_views": views["valid"],
        "test_views": views["test"],
        "seen_train": _seen(lake, rows, split.train),
        "seen_test": _seen(lake, rows, split.known),
    }.items():
        pq.write_table(table, out / f"{name}.parquet")
    manifest = {
        "night": str(night.day),
        "train_until": str(split.train),
        "valid_day": str(split.valid),
        "test_day": str(split.test),
        "missing_days": [str(day) for day in sorted(lake.without)],
        "videos": videos.num_rows,
        "users": len(people),
        "modalities": modalities,
        "positive_watch_ratio": params.positive_watch_ratio,
        "video_numbers": {name: how for name in SYNCHRONY_COLUMNS if (how := embedded["synchrony"])},
        **registry.pin(out, night.day),
    }
    write_json(out / "manifest.json", manifest)
    return Receipt(reads=versions, digests=of_folder(out), facts=manifest)


def _catalogue(lake: Lake, split: Split) -> pa.Table:
    """One row a video known by the test day, sorted by id; `train_views` counts training viewings."""
    columns = ("video_id", "author_id", "category", "caption", "duration_ms", "upload_time", "day")
    known = lake.scan("videos", up_to(split.test), (*columns, "source_file", "source_line"))
    videos = newest(known, "video_id")
    seen = lake.scan("interactions", up_to(split.train), ("video_id", "viewed"))
    counts = seen.filter(seen["viewed"]).group_by("video_id").aggregate([("viewed", "count")])
    position = pc.index_in(videos["video_id"], counts["video_id"].combine_chunks())
    views = pc.fill_null(counts["viewed_count"].take(position), 0).cast(pa.int32())
    uploaded = pc.coalesce(videos["upload_time"].cast(pa.date32()), videos["day"])
    kept = videos.select(["video_id", "author_id", "category", "caption", "duration_ms"])
    return kept.append_column("upload_day", uploaded).append_column("train_views", views)


def _histories(lake: Lake, params: Snapshot, videos: pa.ChunkedArray, day: date) -> pa.Table:
    """Histories as of the end of `day`, with video rows for ids and which viewings were positive."""
    table = lake.scan("sequences", on(day)).sort_by("user_id").combine_chunks()
    lists = {
        name: table[name].combine_chunks() for name in table.schema.names if name not in ("user_id", "day")
    }
    if not table.num_rows:
        lists = {name: pa.array([], table.schema.field(name).type) for name in lists}
    offsets = lists["video_ids"].offsets
    flat = {name: column.flatten() for name, column in lists.items()}
    bits = flat["behaviours"]
    done = {name: _bit(bits, name) for name in BEHAVIOURS}
    flat["positive"] = _positive(params, done, flat["watch_ratios"])
    flat["video_rows"] = _row_of(flat.pop("video_ids"), videos)
    flat["utc_offset_minutes"] = pc.fill_null(flat["utc_offset_minutes"], 0)
    columns = {name: pa.ListArray.from_arrays(offsets, values) for name, values in sorted(flat.items())}
    return pa.table({"user_id": table["user_id"], **columns})


def _views(lake: Lake, params: Snapshot, videos: pa.ChunkedArray, day: date) -> pa.Table:
    """Every viewing of a day with its labels, by user and time."""
    table = lake.scan("interactions", on(day)).sort_by(
        [("user_id", "ascending"), ("started_at", "ascending"), ("video_id", "ascending")]
    )
    table = table.filter(_any([table[name] for name in BEHAVIOURS]))
    kept = (
        "user_id",
        "started_at",
        "watch_ratio",
        *ENGAGED,
        "disliked",
        "device",
        "network",
        "utc_offset_minutes",
    )
    done = {name: table[name] for name in BEHAVIOURS}
    return (
        table.select(list(kept))
        .append_column("video_row", _row_of(table["video_id"], videos))
        .append_column("completed", pc.greater_equal(table["watch_ratio"], COMPLETED))
        .append_column("positive", _positive(params, done, table["watch_ratio"]))
    )


def _positive(params: Snapshot, done: dict, watch_ratio: pa.Array) -> pa.Array:
    """Liked, commented, shared, followed, or watched for long enough; and not disliked."""
    watched = pc.fill_null(pc.greater_equal(watch_ratio, params.positive_watch_ratio), True)
    shown = _any([*(done[name] for name in ENGAGED), pc.and_(done["viewed"], watched)])
    return pc.and_not(shown, done["disliked"])


def _any(columns: list[pa.Array]) -> pa.Array:
    result = columns[0]
    for column in columns[1:]:
        result = pc.or_(result, column)
    return result


def _bit(bits: pa.Array, name: str) -> pa.Array:
    return pc.not_equal(pc.bit_wise_and(bits, 1 << BEHAVIOURS.index(name)), 0)


def _row_of(ids: pa.Array, videos: pa.ChunkedArray) -> pa.Array:
    """Row numbers in the catalogue.

    Raises:
        InputError: an id has none, so its day was cleaned with another catalogue than the night's.
    """
    rows = pc.index_in(ids, videos.combine_chunks()).cast(pa.int32())
    if rows.null_count:
        raise InputError(
            f"{rows.null_count} viewings are of videos that the catalogue of this night does not hold; run"
            " `python -m tasks.clean` and `python -m tasks.sequences` for this night again"
        )
    return rows


def _seen(lake: Lake, videos: pa.ChunkedArray, until: date) -> pa.Table:
    """All distinct videos a person ever saw up to a day; histories are cut, masks must not be."""
    table = lake.scan("interactions", up_to(until), ("user_id", "video_id", *BEHAVIOURS))
    table = table.filter(_any([table[name] for name in BEHAVIOURS]))
    pairs = pa.table({"user_id": table["user_id"], "video_row": _row_of(table["video_id"], videos)})
    distinct = pairs.group_by(["user_id", "video_row"]).aggregate([])
    ordered = distinct.sort_by([("user_id", "ascending"), ("video_row", "ascending")])
    lists = ordered.group_by("user_id", use_threads=False).aggregate([("video_row", "list")])
    return lists.rename_columns({"video_row_list": "video_rows"})


def _features(
    lake: Lake, until: date, videos: pa.ChunkedArray, fingerprints: dict[str, str], path: Path
) -> dict[str, dict]:
    """Write each modality's whole-video vectors [V, D_m] and mask [V]; and what they cover.

    Raises:
        InputError: ready-made vectors of two widths.
    """
    tensors: dict[str, np.ndarray] = {}
    covered: dict[str, dict] = {}
    for modality, fingerprint in sorted(fingerprints.items()):
        found = vectors.of_whole_videos(lake, until, modality, fingerprint)
        position = pc.index_in(found["video_id"], videos.combine_chunks())
        known = found.append_column("row", position).filter(pc.is_valid(position))
        if not known.num_rows:
            continue
        width = _width(modality, known["vector"])
        x_VD, mask_V = np.zeros((len(videos), width), np.float32), np.zeros(len(videos), bool)
        x_VD[known["row"].to_numpy()], mask_V[known["row"].to_numpy()] = (
            np.stack(known["vector"].to_numpy()),
            True,
        )
        tensors |= {modality: x_VD, f"{modality}.mask": mask_V}
        covered[modality] = {
            "width": width,
            "covered": int(mask_V.sum()),
            "fingerprint": fingerprint,
        }
    save_file(tensors, path)
    return covered


def _width(modality: str, found: pa.ChunkedArray) -> int:
    widths = sorted(pc.unique(pc.list_value_length(found)).to_pylist())
    if len(widths) > 1:
        raise InputError(
            f"features: the lake holds {modality} vectors of {' and '.join(map(str, widths))} numbers;"
            " deliver all of them again in one width (docs/data-contract.md)"
        )
    return widths[0]


def _need(table: pa.Table, message: str) -> None:
    if not table.num_rows:
        raise InputError(message)


if __name__ == "__main__":
    sys.exit(step.main("snapshot", run, __doc__))
