from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tables import VIDEOS
from lake.client import Lake
from spark_jobs import catalogue_changes

DAY = date(2026, 3, 5)
SCHEMA = {"video_id": pl.String, "duration_ms": pl.Int64}


def _record(video: str, duration: int | None, day: date, file: str = "f", line: int = 1) -> dict:
    row = dict.fromkeys(VIDEOS.schema.names) | {"video_id": video, "duration_ms": duration}
    return row | {"day": day, "source_file": file, "source_line": line}


def _durations(rows: list[dict], until: date = DAY) -> dict[str, int | None]:
    lake = Lake()
    lake.write("videos", pa.Table.from_pylist(rows, VIDEOS.schema), [{"day": row["day"]} for row in rows])
    return dict(catalogue_changes.video_durations(lake, until).collect().iter_rows())


def test_the_newest_record_of_a_video_counts():
    rows = [
        _record("v", 1, DAY, "b", 2),
        _record("v", 2, DAY, "b", 10),
        _record("v", 3, DAY, "a", 99),
        _record("v", 4, DAY - timedelta(1), "c", 99),
        _record("w", 5, DAY - timedelta(1)),
        _record("w", None, DAY),
        _record("x", 6, DAY + timedelta(1)),
    ]
    assert _durations(rows) == _durations(rows[::-1]) == {"v": 2, "w": None}


def test_a_lake_without_videos_has_an_empty_catalogue():
    durations = catalogue_changes.video_durations(Lake(), DAY).collect()
    assert (durations.height, durations.columns) == (0, ["video_id", "duration_ms"])


def _changed(old: dict[str, int | None], new: dict[str, int | None]) -> dict[str, bool]:
    frames = [
        pl.LazyFrame({"video_id": list(videos), "duration_ms": list(videos.values())}, SCHEMA)
        for videos in (old, new)
    ]
    return dict(catalogue_changes._changed_videos(*frames).iter_rows())


CATALOGUE = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([None, 1, 2]))


@given(CATALOGUE, CATALOGUE)
def test_a_video_has_changed_if_it_is_new_gone_or_of_another_duration(old, new):
    missing = object()
    expected = {
        video: video in old
        for video in old.keys() | new.keys()
        if old.get(video, missing) != new.get(video, missing)
    }
    assert _changed(old, new) == expected


def _digest(folder: Path, *rows: tuple[str, int | None, bool]) -> str:
    folder.mkdir()
    for number, (video, duration, known) in enumerate(rows):
        columns = {"partition_day": [DAY], "video_id": [video], "duration_ms": [duration]}
        frame = pl.DataFrame(columns, {"partition_day": pl.Date} | SCHEMA)
        frame.with_columns(in_catalogue=known).write_parquet(folder / f"{number}.parquet")
    ((day, digest),) = catalogue_changes.catalogue_digest_by_day(folder)
    assert day == DAY
    return digest


@pytest.mark.parametrize(
    "other",
    [[("v", 2, True)], [("v", None, True)], [("v", 1, False)], [("w", 1, True)], [("v", 1, True)] * 2],
)
def test_the_digest_of_a_day_depends_on_the_entries_of_its_videos_alone(tmp_path, other):
    digest = _digest(tmp_path / "one", ("v", 1, True), ("x", None, False))
    rows = [("x", None, False), *other]
    assert (_digest(tmp_path / "other", *rows) == digest) == (set(other) == {("v", 1, True)})
