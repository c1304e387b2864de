"""A file that is divided into parts has the rows, rejects and line numbers of the whole file."""

import gzip
import os
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import InputError
from core.records import LANDING_TYPES
from core.storage import file_status, storage_path
from lake import json_records
from lake.json_records import WHOLE_FILE
from lake.landing import LandingLimits
from lake.landing_batches import read_batches
from lake.landing_digests import LandingFile
from lake.landing_parts import FilePart, divide_file, number_parts, require_unchanged
from lake.landing_staging import StagingTask, ledger_entries, stage_files
from lake.schema_changes import MIN_RECORDS
from tests.support.landing_files import DAY

LIMITS = LandingLimits(max_record_bytes=60, max_file_bytes=1000)
USERS = LANDING_TYPES["users"]
BOM = "\ufeff".encode()

LINES = st.sampled_from(
    [
        b"",
        b" \r",
        b'{"user_id": "a"}',
        b'{"user_id": "b"}\r',
        '{"user_id": "é😀"}'.encode(),
        b'{"user_id": "a"}{"user_id": "b"}',
        b'[{"user_id": "a"}, {"user_id": "b"}]',
        b'{"user_id": "a"},',
        b'{"age": 7}',
        b"{broken",
        b"\xff\xfe",
        BOM + b'{"user_id": "c"}',
        b"x" * 61,
        b'{"user_id": "' + b"x" * 200 + b'"}',
        b"{}" * 40,
    ]
)


def _run(function, items):
    return [function(item) for item in items]


def _file(path):
    size, _, version = file_status(path)
    return LandingFile("users", DAY, path, path.name, size, version, "digest")


def _read(parts):
    """The rows and rejects of numbered parts, or the message that refuses their file."""
    rows, rejects = [], []
    try:
        for part in number_parts(parts, LIMITS, 2, _run):
            batches = read_batches(part.file.path, USERS, LIMITS, 3, part.byte_range, part.first_line)
            for batch in batches:
                rows += batch.rows.to_pylist()
                rejects += [(line, raw, str(rejected)) for line, raw, rejected in batch.rejects]
    except InputError as error:
        return str(error)
    return rows, rejects


@example([BOM + b'{"user_id": "a"}', b"", b'{"user_id": "b"}'], b"\n", 3)
@example([b"x" * 61, b'{"user_id": "a"}'], b"", 5)
@example([b'{"user_id": "a"}'] * 3, b"", 17)  # each part begins with a line
@given(st.lists(LINES, max_size=8), st.sampled_from([b"", b"\n", b"\r\n"]), st.integers(1, 80))
def test_parts_of_any_size_have_the_records_of_the_file(tmp_path_factory, lines, end, part_bytes):
    path = tmp_path_factory.mktemp("parts") / "f.jsonl"
    path.write_bytes(b"\n".join(lines) + end)
    file = _file(path)
    parts = divide_file(file, part_bytes)
    assert len(parts) == max(1, -(-file.size // part_bytes))
    assert sum(part.size for part in parts) == file.size
    assert _read(parts) == _read([FilePart(file)])


@given(st.binary(max_size=120), st.integers(1, 40))
def test_parts_of_any_bytes_have_the_records_of_the_file(tmp_path_factory, content, part_bytes):
    path = tmp_path_factory.mktemp("parts") / "f.jsonl"
    path.write_bytes(content)
    assert _read(divide_file(_file(path), part_bytes)) == _read([FilePart(_file(path))])


@pytest.mark.parametrize("name", ["f.jsonl.gz", "f.parquet"])
def test_a_compressed_file_is_one_part(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"{}\n" * 10))
    (part,) = divide_file(_file(path), 5)
    assert (part.byte_range, part.size) == (WHOLE_FILE, path.stat().st_size)


def test_a_line_longer_than_a_part_is_read_to_its_end_once(tmp_path, monkeypatch):
    path, skipped, skip_line = tmp_path / "f.jsonl", [], json_records._skip_line
    path.write_bytes(b"x" * 100_000 + b"\n{}\n")
    monkeypatch.setattr(json_records, "MIB", 100)
    monkeypatch.setattr(
        json_records, "_skip_line", lambda *args: skipped.append(skip_line(*args)) or skipped[-1]
    )
    limits = LandingLimits(max_record_bytes=1000, max_file_bytes=1_000_000)
    (*_, last) = number_parts(divide_file(_file(path), 10_000), limits, 10, _run)
    assert last.first_line == 2
    assert sum(skipped) < 220_000  # its own part reads it, and each other part the bytes up to its end


def _ledger_entry(folder, parts):
    """The ledger entry of a file, whose parts are staged by tasks of their own."""
    tasks = [
        StagingTask("users", DAY, [part], folder / f"rows-{n}", folder / f"rejects-{n}", LIMITS, 2)
        for n, part in enumerate(parts)
    ]
    staged = pickle.loads(pickle.dumps(_run(stage_files, tasks)))  # as from a Spark worker
    (entry,) = ledger_entries(part for result in staged for part in result.parts)
    return entry


def test_a_file_in_parts_has_one_ledger_entry(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"user_id": "a"}\n{broken\n' + '{"user_id": "b"}\n' * 3)
    parts = number_parts(divide_file(_file(path), 20), LIMITS, 2, _run)
    assert len(parts) > 2
    assert _ledger_entry(tmp_path, parts) == {
        "kind": "users",
        "day": DAY,
        "path": "f.jsonl",
        "digest": "digest",
        "rows": 5,
        "kept": 4,
        "rejected": 1,
    }


def test_the_schema_of_a_file_in_parts_is_judged_as_a_whole(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"name": "a"}\n' * MIN_RECORDS)
    parts = number_parts(divide_file(_file(path), 50), LIMITS, 2, _run)
    with pytest.raises(InputError, match=rf"f\.jsonl: field 'user_id' .* all {MIN_RECORDS} records"):
        _ledger_entry(tmp_path, parts)
    path.write_text('{"name": "a"}\n' * (MIN_RECORDS - 1) + '{"user_id": "a"}\n')
    parts = number_parts(divide_file(_file(path), 50), LIMITS, 2, _run)
    assert _ledger_entry(tmp_path, parts)["kept"] == 1


def test_a_file_on_s3_is_read_in_parts(s3, tmp_path):
    path = storage_path(f"s3://bucket/{tmp_path.name}/f.jsonl")
    path.write_bytes(BOM + '{"user_id": "é"}\r\n{broken\n'.encode() * 20)
    parts = divide_file(_file(path), 70)
    assert len(parts) > 5
    assert _read(parts) == _read([FilePart(_file(path))])


def test_a_divided_file_that_was_replaced_meanwhile_is_refused(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"{}\n" * 10)
    parts = divide_file(_file(path), 5)
    require_unchanged(parts)
    os.utime(path, ns=(1, 1))
    require_unchanged([FilePart(parts[0].file)])  # one part is read from one version of the file
    with pytest.raises(InputError, match="was replaced while it was read; run the step again"):
        require_unchanged(parts)
    path.unlink()
    with pytest.raises(InputError, match="was replaced"):
        require_unchanged(parts)
