import gzip
import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import landing
from contracts.errors import InputError
from contracts.landing import KINDS, Refused

DAY = date(2026, 3, 5)


def _read(path, kind):
    return [row for _, _, row in landing.read(path, KINDS[kind])]


def _one(tmp_path, kind, line):
    path = tmp_path / "f.jsonl"
    path.write_bytes((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
    (row,) = _read(path, kind)
    return row


@pytest.mark.parametrize("time", ["2026-03-05T10:00:00Z", "2026-03-05T12:00:00+02:00", 1772704800000])
def test_times_are_rfc_3339_or_epoch_milliseconds(tmp_path, time):
    assert _one(tmp_path, "events", {"event_time": time})["event_time"] == datetime(
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
def test_a_bad_event_line_is_refused_with_its_reason(tmp_path, line, reason):
    refused = _one(tmp_path, "events", line)
    assert isinstance(refused, Refused)
    assert refused.reason == reason


def test_a_wrong_type_names_the_field(tmp_path):
    assert "watch_ms" in str(_one(tmp_path, "events", {"watch_ms": "long"}))


def test_numbers_are_taken_as_ids_and_unknown_fields_are_ignored(tmp_path):
    row = _one(tmp_path, "events", {"user_id": 17, "experiment": "b"})
    assert row["user_id"] == "17"
    assert "experiment" not in row


@pytest.mark.parametrize("kind", ["users", "videos"])
def test_a_profile_or_video_without_its_id_is_refused(tmp_path, kind):
    assert _one(tmp_path, kind, {"caption": "x"}).reason == "missing_id"


@pytest.mark.parametrize("nothing", ["", " ", "\n\t"])
def test_an_empty_text_of_a_video_is_none(tmp_path, nothing):
    texts = ("media_uri", "caption", "music_title")
    row = _one(tmp_path, "videos", {"video_id": "v"} | dict.fromkeys(texts, nothing))
    assert [row[name] for name in texts] == [None] * 3
    assert _one(tmp_path, "videos", {"video_id": "v", "caption": " a cat "})["caption"] == " a cat "


def test_further_columns_of_a_user_become_the_profile(tmp_path):
    row = _one(tmp_path, "users", {"user_id": "a", "age": 24, "city": "Ulm", "none": None})
    assert row["profile"] == [("age", "24"), ("city", "Ulm")]


def test_gzip_and_parquet_give_the_same_rows_as_plain_lines(tmp_path):
    record = {"event_id": "e", "user_id": "u", "video_id": "v", "event_type": "view", "watch_ms": 7}
    plain, zipped, parquet = (tmp_path / f"f{suffix}" for suffix in landing.SUFFIXES)
    plain.write_text(json.dumps(record) + "\n")
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    pq.write_table(pa.Table.from_pylist([record]), parquet)
    assert _read(plain, "events") == _read(zipped, "events") == _read(parquet, "events")


def test_a_parquet_file_that_is_none_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "f.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match=r"f\.parquet is not a readable Parquet file") as caught:
        _read(path, "events")
    assert "\n" not in str(caught.value)


def test_a_gzip_stream_that_breaks_is_refused(tmp_path):
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"event_id": "e"}\n' * 5000)[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        _read(path, "events")


def test_a_file_of_another_kind_and_a_folder_without_a_date_are_named(tmp_path):
    folder = tmp_path / "events" / f"dt={DAY}"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"notes\.txt: landing files end in"):
        landing.files(tmp_path, "events", DAY)
    (tmp_path / "events" / "dt=March").mkdir()
    with pytest.raises(InputError, match="dt=March"):
        landing.days(tmp_path, "events")


@given(st.binary(max_size=200).filter(lambda line: b"\n" not in line and line.strip()))
def test_no_line_whatever_raises_anything_but_a_counted_refusal(tmp_path_factory, line):
    path = tmp_path_factory.mktemp("lines") / "f.jsonl"
    path.write_bytes(line + b"\n")
    for kind in KINDS:
        (row,) = _read(path, kind)
        assert isinstance(row, dict | Refused)
