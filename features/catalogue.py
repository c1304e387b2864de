"""The catalogue of a night's snapshot, and the rows of videos in it."""

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression

from core.errors import InputError
from lake.client import Lake, up_to_day
from lake.key_ranges import divide_keys
from lake.latest_records import latest_records

RANGE_RECORDS = 1 << 20  # catalogue records of a range of videos, some 500 MiB


def read_catalogue(lake: Lake, until: date) -> pa.Table:
    """Return one row for each video known by the end of the day `until`, sorted by id.

    A video without an upload time was uploaded on the day of its first record. `available_until` is the last
    day with a moment before the video expires, null if it does not.
    """
    known = up_to_day(until)
    ranges = divide_keys(lake.lazy_scan("videos", known), "video_id", RANGE_RECORDS)
    parts = [_catalogue_part(lake, And(known, videos.filter())) for videos in ranges]
    return pa.concat_tables(parts).combine_chunks()


def catalogue_rows(ids: pa.Array, video_ids: pa.ChunkedArray) -> pa.Array:
    """Return the catalogue row of each video id.

    Args:
        ids: The ids.
        video_ids: Of the catalogue.

    Raises:
        InputError: As `require_catalogue_rows`.
    """
    rows = pc.index_in(ids, video_ids.combine_chunks()).cast(pa.int32())
    require_catalogue_rows(rows)
    return rows


def require_catalogue_rows(rows: pa.Array) -> None:
    """Check that each video has a row.

    Raises:
        InputError: One is not in the catalogue, because its day was cleaned with another catalogue.
    """
    if rows.null_count:
        raise InputError(
            f"{rows.null_count} interactions have videos that are not in the catalogue of this night; run"
            " `python -m tasks.clean` and `python -m tasks.sequences` for this night again"
        )


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
