import gzip
import json
import os
import re
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from core.config import IngestConfig
from core.errors import InputError, ServiceUnavailableError
from core.records import LANDING_TYPES, RecordRejected
from core.storage import relative_name, storage_path
from lake import landing
from lake.landing import LandingLimits

DAY = date(2026, 3, 5)


def _read_rows(path, landing_type):
    return [row for _, _, row in landing.read_records(path, LANDING_TYPES[landing_type])]


def _read_with_limits(path, limits):
    return [row for _, _, row in landing.read_records(path, LANDING_TYPES["events"], limits)]


def _parse_line(tmp_path, landing_type, line):
    path = tmp_path / "f.jsonl"
    path.write_bytes((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
    (row,) = _read_rows(path, landing_type)
    return row


@pytest.mark.parametrize("time", ["2026-03-05T10:00:00Z", "2026-03-05T12:00:00+02:00", 1772704800000])
def test_times_are_rfc_3339_or_epoch_milliseconds(tmp_path, time):
    assert _parse_line(tmp_path, "events", {"event_time": time})["event_time"] == datetime(
        2026, 3, 5, 10, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{not json", "malformed_json"),
        (b"\xff\xfe{}", "malformed_json"),
        (b"[1, 2]", "wrong_type"),
        ({"watch_ms": "long"}, "wrong_type"),
        ({"watch_ms": 10**30}, "wrong_type"),
        ({"event_time": "yesterday"}, "wrong_type"),
        ({"event_time": 10**20}, "wrong_type"),
        ({"context": {"feed_position": 2**40}}, "wrong_type"),
        (b'{"event_id": "\\ud800"}', "malformed_json"),
    ],
)
def test_a_bad_event_line_has_its_reason(tmp_path, line, reason):
    rejected = _parse_line(tmp_path, "events", line)
    assert isinstance(rejected, RecordRejected)
    assert rejected.reason == reason


def test_a_wrong_type_names_the_field(tmp_path):
    assert "watch_ms" in str(_parse_line(tmp_path, "events", {"watch_ms": "long"}))


def test_numeric_ids_are_accepted_and_unknown_fields_ignored(tmp_path):
    row = _parse_line(tmp_path, "events", {"user_id": 17, "experiment": "b"})
    assert row["user_id"] == "17"
    assert "experiment" not in row


@pytest.mark.parametrize("kind", ["users", "videos"])
def test_a_record_without_its_id_is_rejected(tmp_path, kind):
    assert _parse_line(tmp_path, kind, {"caption": "x"}).reason == "missing_id"


@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_an_empty_text_is_null(tmp_path, blank):
    texts = ("media_uri", "caption", "music_title")
    row = _parse_line(tmp_path, "videos", {"video_id": "v"} | dict.fromkeys(texts, blank))
    assert [row[name] for name in texts] == [None] * 3
    assert _parse_line(tmp_path, "videos", {"video_id": "v", "caption": " a cat "})["caption"] == " a cat "


def test_other_columns_of_a_user_become_the_profile(tmp_path):
    row = _parse_line(tmp_path, "users", {"user_id": "a", "age": 24, "city": "Ulm", "none": None})
    assert row["profile"] == [("age", "24"), ("city", "Ulm")]


def test_gzip_parquet_and_json_lines_give_the_same_rows(tmp_path):
    record = {"event_id": "e", "user_id": "u", "video_id": "v", "event_type": "view", "watch_ms": 7}
    plain, zipped, parquet = (tmp_path / f"f{suffix}" for suffix in landing.SUFFIXES)
    plain.write_text(json.dumps(record) + "\n")
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    pq.write_table(pa.Table.from_pylist([record]), parquet)
    assert _read_rows(plain, "events") == _read_rows(zipped, "events") == _read_rows(parquet, "events")


def test_an_invalid_parquet_file_is_refused(tmp_path):
    path = tmp_path / "f.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match=r"f\.parquet is not a readable Parquet file") as caught:
        _read_rows(path, "events")
    assert "\n" not in str(caught.value)


def test_a_truncated_gzip_file_is_refused(tmp_path):
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"event_id": "e"}\n' * 5000)[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        _read_rows(path, "events")


def test_unknown_suffixes_and_folders_without_a_date_are_refused(tmp_path):
    folder = tmp_path / "events" / f"dt={DAY}"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"notes\.txt: landing files end in"):
        landing.list_files(tmp_path, "events", DAY)
    (tmp_path / "events" / "dt=March").mkdir()
    with pytest.raises(InputError, match="dt=March"):
        landing.list_days(tmp_path, "events")


@given(st.binary(max_size=200).filter(lambda line: b"\n" not in line and line.strip()))
def test_any_line_is_a_record_or_a_reject(tmp_path_factory, line):
    path = tmp_path_factory.mktemp("lines") / "f.jsonl"
    path.write_bytes(b"{}\n" + line + b"\n")
    for kind in LANDING_TYPES:
        _, *rows = _read_rows(path, kind)
        assert rows
        assert all(isinstance(row, dict | RecordRejected) for row in rows)


@pytest.mark.parametrize(
    "name", ["dt=20260112", "dt=2026-W03-1", "dt=2026-02-30", "2026-01-12", "dt=٢٠٢٦-٠١-١٢"]
)
def test_a_folder_with_an_invalid_day_is_refused(tmp_path, name):
    (tmp_path / "events" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=name):
        landing.list_days(tmp_path, "events")


def test_folders_written_by_spark_are_read(tmp_path):
    day = tmp_path / "events" / f"dt={DAY}"
    for name in ("hour=05/a.jsonl", "hour=06/a.jsonl", "part.parquet/part-00000.snappy.parquet"):
        (day / name).parent.mkdir(parents=True, exist_ok=True)
        (day / name).write_bytes(b"")
    (day / "part.parquet" / "_SUCCESS").write_bytes(b"")
    (day / "part.parquet" / ".part-00000.snappy.parquet.crc").write_bytes(b"")
    paths = [path.relative_to(day).as_posix() for path in landing.list_files(tmp_path, "events", DAY)]
    assert paths == ["hour=05/a.jsonl", "hour=06/a.jsonl", "part.parquet/part-00000.snappy.parquet"]


@pytest.mark.parametrize("make", ["fifo", "device", "dangling", "folder", "loop", "bytes", "line"])
def test_only_regular_files_are_opened(tmp_path, make):
    day = tmp_path / "events" / f"dt={DAY}"
    day.mkdir(parents=True)
    name = day / "x.jsonl"
    if make == "fifo":
        os.mkfifo(name)
    elif make == "bytes":
        (day / os.fsdecode(b"\xff.jsonl")).write_bytes(b"")
        name = day / "\\xff.jsonl"
    elif make == "line":
        (day / "x\ny.jsonl").touch()
        name = day / "x\\ny.jsonl"
    elif make == "folder":
        name = day / "more"
        name.mkdir()
    else:
        name.symlink_to({"device": "/dev/zero", "dangling": "nowhere", "loop": day}[make])
    with pytest.raises(InputError, match=re.escape(name.name)) as caught:
        landing.list_files(tmp_path, "events", DAY)
    str(caught.value).encode()  # it can be printed


def test_a_mistyped_folder_name_is_refused(tmp_path):
    (tmp_path / "event" / f"dt={DAY}").mkdir(parents=True)
    (tmp_path / "media" / f"dt={DAY}").mkdir(parents=True)  # a folder of media files
    with pytest.raises(InputError, match=r"event is not a landing type, .*\(did you mean events\?\)"):
        landing.check_folder_names(tmp_path)


def test_landing_files_of_an_unknown_type_are_refused(tmp_path):
    for name in ("_events", "media", "clicks"):
        (tmp_path / name / f"dt={DAY}").mkdir(parents=True)
    (tmp_path / "_events" / f"dt={DAY}" / "a.jsonl").touch()  # an upload
    (tmp_path / "media" / f"dt={DAY}" / "a.mp4").touch()
    landing.check_folder_names(tmp_path)
    (tmp_path / "clicks" / f"dt={DAY}" / "a.jsonl").touch()
    with pytest.raises(InputError, match=r"clicks is not a landing type, .* move it out of this folder"):
        landing.check_folder_names(tmp_path)


def test_objects_on_one_line_are_separated(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"event_id": "a"}{"event_id": "}{"} {"event_id": "c"}{"event\n{"event_id": "d"}\n')
    records = [(n, row) for n, _, row in landing.read_records(path, LANDING_TYPES["events"])]
    accepted = [(n, row["event_id"]) for n, row in records if isinstance(row, dict)]
    assert accepted == [(1, "a"), (2, "}{"), (3, "c"), (5, "d")]  # each counts as a line
    assert [(n, row.reason) for n, row in records if isinstance(row, RecordRejected)] == [
        (4, "malformed_json")
    ]


@pytest.mark.parametrize(
    "text",
    [
        '[{"event_id": "a"}, {"event_id": "b"}]',
        '[\n{"event_id": "a"},\n{"event_id": "b"}\n]',
        '{"event_id": "a"},{"event_id": "b"}',
    ],
)
def test_objects_of_an_array_are_separated(tmp_path, text):
    path = tmp_path / "f.jsonl"
    path.write_text(text)
    assert [row["event_id"] for row in _read_rows(path, "events") if isinstance(row, dict)] == ["a", "b"]


def test_a_broken_object_on_a_line_rejects_itself_only(tmp_path):
    objects = [f'{{"event_id": "e{n}"}}' for n in range(100)]
    objects[1] = '{"event_id": "e1", "x": nonsense}'
    path = tmp_path / "f.jsonl"
    path.write_text("".join(objects))
    rows = _read_rows(path, "events")
    assert [row.reason for row in rows if isinstance(row, RecordRejected)] == ["malformed_json"]
    assert sum(isinstance(row, dict) for row in rows) == 99


def test_blank_lines_count_as_lines(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('\n\n{"event_id": "a"}\r\n  \n{broken\n')
    assert [number for number, _, _ in landing.read_records(path, LANDING_TYPES["events"])] == [3, 5]


def test_the_limits_of_params_are_in_kib_and_mib():
    params = IngestConfig(batch_rows=7, max_record_kib=2, max_file_mib=3)
    assert LandingLimits.from_params(params) == LandingLimits(2048, 3 * 1024**2)


def test_a_byte_order_mark_does_not_divide_a_line_that_is_too_long(tmp_path):
    path, limits = tmp_path / "f.jsonl", LandingLimits(max_record_bytes=100, max_file_bytes=10_000)
    path.write_bytes(b"\xef\xbb\xbf" + b"x" * 500 + b"\n")
    assert [row.reason for row in _read_with_limits(path, limits)] == ["too_long"]


def test_a_line_that_is_too_long_is_rejected(tmp_path):
    path, limits = tmp_path / "f.jsonl", LandingLimits(max_record_bytes=100, max_file_bytes=10_000)
    path.write_bytes(b'{"event_id": "' + b"a" * 500 + b'"}\n{"event_id": "b"}\n')
    (n, _, rejected), (m, _, row) = landing.read_records(path, LANDING_TYPES["events"], limits)
    assert (n, rejected.reason, m, row["event_id"]) == (1, "too_long", 2, "b")
    path.write_bytes(b'{"event_id": "a"}' * 50)
    with pytest.raises(InputError, match=r"line at byte 0 is longer than .* holds several objects"):
        list(landing.read_records(path, LANDING_TYPES["events"], limits))
    path.write_bytes(b'{"comment_text": "} {' + b"a" * 500 + b'"}\n{"event_id": "b"}\n')
    assert [row.reason for row in _read_with_limits(path, limits) if isinstance(row, RecordRejected)] == [
        "too_long"
    ]


@pytest.mark.parametrize("content", [b"\n" * 200_000, b"0" * 200_000, b'{"event_id": "a"}\n' * 20_000])
def test_a_gzip_bomb_is_refused(tmp_path, content):
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"ingest\.max_file_mib"):
        list(
            landing.read_records(
                path, LANDING_TYPES["events"], LandingLimits(max_record_bytes=1000, max_file_bytes=100_000)
            )
        )


def test_a_parquet_bomb_is_refused(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"comment_text": ["x" * 10_000] * 10_000}), path)
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match=r"ingest\.max_file_mib"):
        list(landing.read_records(path, LANDING_TYPES["events"], LandingLimits(max_file_bytes=20_000_000)))


def test_a_damaged_gzip_file_is_refused(tmp_path):
    path = tmp_path / "f.jsonl.gz"
    whole = bytearray(gzip.compress(b"".join(b'{"event_id": "%d"}\n' % n for n in range(5000))))
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"f\.jsonl\.gz cannot be read"):
        _read_rows(path, "events")


def test_a_byte_order_mark_is_ignored(tmp_path):
    assert _parse_line(tmp_path, "events", b'\xef\xbb\xbf{"event_id": "a"}')["event_id"] == "a"


@given(st.lists(st.dictionaries(st.sampled_from(["event_id", "user_id"]), st.text(max_size=5)), min_size=1))
def test_line_breaks_between_records_change_nothing(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("cut")
    texts = [json.dumps(record, ensure_ascii=False) for record in records]
    (folder / "lines.jsonl").write_text("\n".join(texts), encoding="utf-8")
    (folder / "one.jsonl").write_text("".join(texts), encoding="utf-8")
    apart, together = (
        [row if isinstance(row, dict) else row.reason for row in _read_rows(folder / name, "events")]
        for name in ("lines.jsonl", "one.jsonl")
    )
    assert apart == together


@pytest.mark.shared_data
def test_known_odd_files_are_read_or_refused(shared_data):
    folder = shared_data / "odd_landing"
    assert sum(isinstance(row, dict) for row in _read_rows(folder / "firehose.jsonl", "events")) == 106
    (rejected,) = _read_rows(folder / "bad_utf8.parquet", "videos")
    assert rejected.reason == "wrong_type"
    late = _read_rows(folder / "ts_out_of_range.parquet", "events")
    assert {row.reason for row in late if isinstance(row, RecordRejected)} == {"wrong_type"}
    times = [row["registration_time"] for row in _read_rows(folder / "int96.parquet", "users")]
    assert max(time.year for time in times) == 9999
    users = [dict(row["profile"]) for row in _read_rows(folder / "decimal_users.parquet", "users")]
    values = {value for user in users for value in user.values()}
    assert values >= {"1.5", "2000-01-01", "18-24"}
    assert any("followers" not in user for user in users)  # NaN is missing
    with pytest.raises(InputError, match=r"zlib\.jsonl\.gz cannot be read"):
        _read_rows(folder / "zlib.jsonl.gz", "events")


@pytest.fixture
def s3_root(s3, tmp_path):
    """A landing folder on S3."""
    return storage_path(f"s3://bucket/{tmp_path.name}/landing")


def test_files_on_s3_are_listed_like_local_ones(s3_root, tmp_path):
    for root in (s3_root, tmp_path):
        for name in ("b.jsonl", "a.jsonl.gz", "hour=05/c.parquet", "_SUCCESS", ".part.tmp"):
            path = root / "events" / f"dt={DAY}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    names = [relative_name(path, s3_root) for path in landing.list_files(s3_root, "events", DAY)]
    assert names == [relative_name(path, tmp_path) for path in landing.list_files(tmp_path, "events", DAY)]
    assert len(names) == 3
    assert landing.list_days(s3_root, "events") == [DAY]
    assert landing.list_days(s3_root, "users") == landing.list_files(s3_root, "users", DAY) == []


def test_a_misspelled_folder_on_s3_is_refused(s3_root):
    (s3_root / "event" / f"dt={DAY}" / "a.jsonl").write_bytes(b"")
    (s3_root / "users" / str(DAY) / "a.jsonl").write_bytes(b"")
    with pytest.raises(InputError, match="did you mean events"):
        landing.check_folder_names(s3_root)
    with pytest.raises(InputError, match=rf"users/{DAY} is not a folder dt="):
        landing.list_days(s3_root, "users")


@pytest.mark.parametrize("suffix", landing.SUFFIXES)
def test_records_on_s3_are_those_of_the_same_local_file(s3_root, tmp_path, suffix):
    local = tmp_path / f"f{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"event_id": ["e1", "e2"], "watch_ms": [1, 2]}), local)
    else:
        text = b'{"event_id": "e1"}\n{broken\n'
        local.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    (s3_root / local.name).write_bytes(local.read_bytes())
    rows = list(map(str, _read_rows(s3_root / local.name, "events")))
    assert rows == list(map(str, _read_rows(local, "events")))
    assert len(rows) == 2


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".parquet"])
def test_a_broken_file_on_s3_is_refused_like_a_local_one(s3_root, suffix):
    path = s3_root / f"f{suffix}"
    path.write_bytes(b"neither gzip nor Parquet")
    with pytest.raises(InputError, match=r"deliver the file again"):
        _read_rows(path, "events")


def test_a_file_whose_store_stops_may_be_read_again(s3_root, monkeypatch):
    path = s3_root / "f.jsonl"
    path.write_bytes(b'{"event_id": "%s"}\n' % (b"e" * 25_000) * 1600)
    rows = landing.read_records(path, LANDING_TYPES["events"])
    next(rows)
    monkeypatch.setattr("s3fs.core._fetch_range", _refuse_connection)
    with pytest.raises(ServiceUnavailableError, match="S3 does not answer"):
        list(rows)


def _refuse_connection(*_, **__):
    raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
