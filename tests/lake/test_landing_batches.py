"""The fast reader of landing files gives the rows and rejects of the strict parser."""

import gzip
import json
from datetime import date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from core.errors import InputError
from core.records import LANDING_TYPES, RecordRejected
from lake import landing, plain_records
from lake.landing import LandingLimits
from lake.landing_batches import read_batches
from lake.record_columns import MAX_SECONDS
from tests.support.landing_files import DAY, at, event

LIMITS = LandingLimits(max_record_bytes=2000, max_file_bytes=1 << 20)

IDS = st.one_of(
    st.sampled_from(["u1", "", "é", "a\0b", "x" * 512, "x" * 513, "é" * 300, "1e5"]),
    st.sampled_from([0, 17, -3, 2**53, 2**63, 2**64, 10**30, 5.0, 5.5, -0.0, 1e300, True, [], {}]),
    st.text(max_size=4),
)
TIMES = st.one_of(
    st.sampled_from(
        ["", "yesterday", "2026-02-30T10:00:00Z", "2024-02-29T10:00:00Z", "2026-03-05", "٢٠٢٦-٠١-٠١"]
    ),
    st.sampled_from(["2026-03-05T24:00:00Z", "2026-03-05T23:59:60Z", "2026-03-05T10:00:00.1234567Z"]),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-W10-4T10:00:00"]),
    st.sampled_from(
        [0, 0.0, 1, 1772704800, 10**11, 10**11 - 1, 10**15, -(10**12), 10**20, 1772704800123.0, 1e300]
    ),
    st.datetimes(datetime(1890, 1, 1), datetime(2210, 1, 1)).map(datetime.isoformat),
    st.builds(
        "{:%Y-%m-%d}T{:%H:%M:%S}{}{}".format,
        st.dates(date(1890, 1, 1), date(2210, 1, 1)),
        st.times(),
        st.sampled_from(["", ".1", ".25", ".123", ".123456"]),
        st.sampled_from(["", "Z", "z", "+00:00", "-00:00", "+05:30", "-08:00", "+14:00", "+15:00", "+0530"]),
    ),
    st.integers(-(10**13), 10**13),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 7, -1, 8000.0, 8000.5, 2**31, -(2**31), 2**63, -(2**63), 1e18, "7", True]),
    st.integers(-(2**40), 2**40),
)
TEXTS = st.one_of(
    st.sampled_from(["", " ", "\n\t", "\x1c", "\x85", "\u3000", "\u200b", " a cat ", "}{", "},", "[{", "😀"]),
    st.sampled_from([7, ["a"], {"a": 1}, False]),
    st.text(max_size=5),
)
TAGS = st.one_of(
    st.lists(st.one_of(st.text(max_size=3), st.none()), max_size=3), st.sampled_from(["a", [1], [["a"]]])
)
CONTEXT = {
    "device": TEXTS,
    "network": TEXTS,
    "utc_offset_minutes": NUMBERS,
    "feed_position": NUMBERS,
    "new": TEXTS,
}
FIELDS = {
    "events": {
        **dict.fromkeys(("event_id", "user_id", "video_id"), IDS),
        "event_type": TEXTS,
        "event_time": TIMES,
        "watch_ms": NUMBERS,
        "comment_text": TEXTS,
        "context": st.one_of(st.fixed_dictionaries({}, optional=CONTEXT), TEXTS),
        "unknown": st.one_of(TEXTS, NUMBERS),
        "context.device": TEXTS,
    },
    "videos": {
        **dict.fromkeys(("video_id", "author_id", "category"), IDS),
        **dict.fromkeys(("caption", "music_title", "media_uri"), TEXTS),
        "hashtags": TAGS,
        "duration_ms": NUMBERS,
        "upload_time": TIMES,
        "expires_at": TIMES,
    },
    "users": {
        "user_id": IDS,
        "registration_time": TIMES,
        "age": NUMBERS,
        "city": TEXTS,
        "more": TEXTS,
        "context": TEXTS,
    },
    "features": {
        "video_id": IDS,
        "modality": st.sampled_from(["visual", "text", "smell"]),
        "vector": st.one_of(st.lists(st.floats(width=32), max_size=3), st.just("x")),
    },
}
PLAIN = {
    "events": [
        event(n, "u1", "v2", "view", at(DAY, 9, n), watch_ms=n, context={"device": "ios"}) for n in range(5)
    ],
    "videos": [
        {"video_id": f"v{n}", "caption": "a cat", "duration_ms": n, "hashtags": ["x"]} for n in range(5)
    ],
    "users": [
        {"user_id": f"u{n}", "registration_time": at(DAY, 9), "age": n, "city": "Ulm"} for n in range(5)
    ],
    "features": [{"video_id": f"v{n}", "modality": "text", "vector": [1.0]} for n in range(5)],
}
LINES = st.sampled_from(
    [
        *(
            b"",
            b"  ",
            b"{broken",
            b"\xff\xfe{}",
            b"[1, 2]",
            b"null",
            b"{} {}",
            b'{"user_id": "a"},',
            b'[{"user_id": "a"}]',
        ),
        *(
            b'{"user_id": "a"}{"video_id": "b"}',
            b'{"user_id": "a", "user_id": "b"}',
            b'{"event_id": "\\ud800"}',
        ),
        *(
            b'{"event_time": NaN}',
            b'{"video_id": "a", "x": NaN}',
            b'{"video_id": "v", "caption": "}{"}',
            b'{"x": "\xff"}',
        ),
        *(
            b"[" * 3000,
            b'{"x": ' + b"[" * 900 + b"]" * 900 + b"}",
            b'{"comment_text": "' + b"x" * 1990 + b'"}',
        ),
        *(
            b'{"video_id": "v", "x": ' + b"1" * 1500 + b', "y": "}{"}',
            b'\xef\xbb\xbf{"user_id": "a"}',
            b'{"user_id": "a"}\r',
        ),
    ]
)


def _fast(path, name, rows_per_batch=3):
    rows, rejects = [], []
    for batch in read_batches(path, LANDING_TYPES[name], LIMITS, rows_per_batch):
        rows += [(row.pop("source_line"), row) for row in batch.rows.to_pylist()]
        rejects += [(line, raw, rejected.reason, str(rejected)) for line, raw, rejected in batch.rejects]
    return rows, rejects


def _strict(path, name):
    records = list(landing.read_records(path, LANDING_TYPES[name], LIMITS))
    schema = plain_records.record_schema(LANDING_TYPES[name])
    accepted = [(line, row) for line, _, row in records if isinstance(row, dict)]
    rows = pa.Table.from_pylist([row for _, row in accepted], schema).to_pylist()
    rejects = [
        (line, raw, row.reason, str(row)) for line, raw, row in records if isinstance(row, RecordRejected)
    ]
    return list(zip([line for line, _ in accepted], rows, strict=True)), rejects


def _outcome(read, path, name):
    """The rows and rejects as text, as NaN differs from itself, or the message that refuses the file."""
    try:
        return repr(read(path, name))
    except InputError as error:
        return str(error)


def _records(name):
    odd = st.fixed_dictionaries(
        {}, optional={field: st.none() | values for field, values in FIELDS[name].items()}
    )
    return st.lists(st.one_of(odd, st.sampled_from(PLAIN[name])), max_size=8)


@pytest.mark.parametrize("name", LANDING_TYPES)
@given(data=st.data())
def test_any_json_lines_give_the_rows_and_rejects_of_the_strict_parser(tmp_path_factory, name, data):
    records = [json.dumps(record).encode() for record in data.draw(_records(name))]
    lines = data.draw(st.permutations([*records, *data.draw(st.lists(LINES, max_size=4))]))
    path = tmp_path_factory.mktemp("lines") / "f.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines), 1))
    assert _outcome(_fast, path, name) == _outcome(_strict, path, name)


@st.composite
def _damaged(draw, content):
    """The bytes with some of them replaced, removed or repeated."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.integers(0, 16))
        content = content[:start] + draw(st.binary(max_size=8)) + content[end:]
    return content


def _file_bytes(folder, name, suffix):
    """The bytes of a good file."""
    path = folder / f"good{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(PLAIN[name]), path)
        return path.read_bytes()
    text = "\n".join(map(json.dumps, PLAIN[name])).encode()
    return gzip.compress(text, mtime=0) if suffix == ".jsonl.gz" else text


@pytest.mark.parametrize("suffix", landing.SUFFIXES)
@pytest.mark.parametrize("name", ["events", "videos", "users"])
@given(data=st.data())
def test_any_bytes_are_rows_and_rejects_or_one_sentence(tmp_path_factory, name, suffix, data):
    folder = tmp_path_factory.mktemp("bytes")
    content = _file_bytes(folder, name, suffix)
    path = folder / f"f{suffix}"
    path.write_bytes(data.draw(st.one_of(_damaged(content), st.binary(max_size=200))))
    outcome = _outcome(_fast, path, name)
    assert outcome == _outcome(_strict, path, name)
    assert "\n" not in outcome


def _column(values):
    """A column of the first type that holds the values, in the order that a writer would try."""
    for arrow_type in (None, pa.string(), pa.float64(), pa.string()):
        try:
            return pa.array(values, arrow_type)
        except (pa.ArrowException, OverflowError, TypeError):
            values = [v if isinstance(v, str | None) else None for v in values] if arrow_type else values
    return pa.nulls(len(values))


TYPES = st.sampled_from(
    [
        *(
            None,
            pa.int8(),
            pa.int64(),
            pa.uint64(),
            pa.float32(),
            pa.float64(),
            pa.decimal128(38, 2),
            pa.date32(),
        ),
        *(
            pa.timestamp("s"),
            pa.timestamp("ms", "UTC"),
            pa.timestamp("us", "Europe/Berlin"),
            pa.timestamp("ns"),
        ),
        *(pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string()), pa.bool_()),
    ]
)


def _cast(column, arrow_type):
    """The column in another type, or unchanged if a value does not fit."""
    try:
        return column.cast(arrow_type) if arrow_type else column
    except (pa.ArrowException, OverflowError):
        return column


@pytest.mark.parametrize("name", LANDING_TYPES)
@given(data=st.data())
def test_any_parquet_file_gives_the_rows_and_rejects_of_the_strict_parser(tmp_path_factory, name, data):
    records = data.draw(_records(name))
    fields = data.draw(st.sets(st.sampled_from([*FIELDS[name], "born"])))
    columns = {field: _column([record.get(field) for record in records]) for field in sorted(fields)}
    table = pa.table({field: _cast(column, data.draw(TYPES)) for field, column in columns.items()})
    path = tmp_path_factory.mktemp("parquet") / "f.parquet"
    try:
        pq.write_table(table, path, store_schema=data.draw(st.booleans()))
    except pa.ArrowException:  # a structure without fields, or a time that Parquet cannot hold
        reject()
    assert _outcome(_fast, path, name) == _outcome(_strict, path, name)


@pytest.mark.parametrize("name", ["events", "videos", "users", "features"])
def test_a_parquet_row_of_nulls_is_a_blank_line(tmp_path, name):
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"video_id": ["v1", None], "user_id": ["u1", None]}), path)
    (batch,) = read_batches(path, LANDING_TYPES[name], LandingLimits(), 10)
    assert {*batch.rows["source_line"].to_pylist(), *(reject.line for reject in batch.rejects)} == {1}
    assert _outcome(_fast, path, name) == _outcome(_strict, path, name)


def test_a_structure_in_place_of_a_text_is_a_reject(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"video_id": ["v1", "v2"], "caption": [{"a": 1}, None]}), path)
    (batch,) = read_batches(path, LANDING_TYPES["videos"], LandingLimits(), 10)
    assert [(reject.line, reject.rejected.reason) for reject in batch.rejects] == [(1, "wrong_type")]
    assert batch.rows["video_id"].to_pylist() == ["v2"]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@given(times=st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-(10**12), 10**12))))
def test_times_of_any_unit_equal_those_of_the_strict_parser(tmp_path_factory, unit, times):
    path = tmp_path_factory.mktemp("times") / "f.parquet"
    column = pa.array(times, pa.int64()).cast(pa.timestamp(unit))
    pq.write_table(pa.table({"event_time": column}), path, version="2.6")
    assert _outcome(_fast, path, "events") == _outcome(_strict, path, "events")


@pytest.mark.parametrize("name", ["events", "videos", "users"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_plain_records_need_no_strict_parser(tmp_path, monkeypatch, name, suffix):
    path = tmp_path / f"f{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(PLAIN[name]), path)
    else:
        path.write_text("\n".join(map(json.dumps, PLAIN[name])))
    rows, rejects = _strict(path, name)
    monkeypatch.setattr("lake.landing_batches.parse_record", None)
    assert _fast(path, name) == (rows, rejects)
    assert len(rows) == 5


def test_an_odd_record_leaves_its_neighbours_plain(tmp_path, monkeypatch):
    path = tmp_path / "f.jsonl"
    odd = [{"user_id": 7}, {"watch_ms": 2**70}, {"event_time": "2026-03-05"}, {"event_type": 3}]
    path.write_text("\n".join(map(json.dumps, [*PLAIN["events"], *odd, *PLAIN["events"]])))
    parsed, parse = [], landing.parse_record
    monkeypatch.setattr(
        "lake.landing_batches.parse_record",
        lambda raw, kind: parsed.append(json.loads(raw)) or parse(raw, kind),
    )
    rows, rejects = _fast(path, "events", rows_per_batch=100)
    assert [line for line, _ in rows] == [*range(1, 6), 6, 8, *range(10, 15)]
    assert [line for line, *_ in rejects] == [7, 9]
    assert all(record in parsed for record in odd[1:])
    assert len(parsed) <= 5


def test_a_value_that_many_rows_share_is_read_once(tmp_path):
    path, count = tmp_path / "f.parquet", 3000
    same = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), ["x" * 300_000])
    table = pa.table({"event_id": [str(n) for n in range(count)], "comment_text": same})
    pq.write_table(table, path, store_schema=False)
    limits, peak_bytes = LandingLimits(max_record_bytes=1 << 20, max_file_bytes=10**12), 0
    for batch in read_batches(path, LANDING_TYPES["events"], limits, 50_000):
        peak_bytes, count = max(peak_bytes, pa.total_allocated_bytes()), count - batch.rows.num_rows
    assert count == 0
    assert peak_bytes < 300_000_000  # not 3,000 rows of 300,000 bytes


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["events", "users", "videos", "features"])
def test_odd_files_give_the_rows_and_rejects_of_the_strict_parser(shared_data, name):
    files = [path for path in (shared_data / "odd_landing").iterdir() if path.name.endswith(landing.SUFFIXES)]
    assert files
    for path in files:
        assert _outcome(_fast, path, name) == _outcome(_strict, path, name), path.name


def test_epoch_milliseconds_are_exact_to_the_end_of_the_plain_range(tmp_path):
    path = tmp_path / "f.jsonl"
    ends = [sign * (MAX_SECONDS * 1000 + n) for n in range(-1000, 1000) for sign in (1, -1)]
    path.write_text("\n".join(json.dumps({"event_time": end}) for end in ends))
    assert _fast(path, "events", rows_per_batch=1000) == _strict(path, "events")
