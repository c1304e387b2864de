import gzip

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import InputError
from lake import json_records

MIB = 1 << 20


def _blocks(path, block_rows=2, max_record_bytes=MIB):
    return list(json_records.read_json_blocks(path, block_rows, max_record_bytes, MIB))


def test_blocks_have_a_limited_number_of_lines(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"a": 2}\r\n{"a": 3}')
    assert _blocks(path) == [[b'{"a": 1}', b""], [b'{"a": 2}', b'{"a": 3}']]


def test_a_block_ends_after_a_limited_number_of_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(json_records, "BLOCK_BYTES", 10)
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 4)
    assert [len(block) for block in _blocks(path, block_rows=100)] == [2, 2]


def test_a_line_that_is_too_long_is_a_reject_of_its_block(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"x" * 20 + b"\n{}")
    (block,) = _blocks(path, block_rows=9, max_record_bytes=10)
    assert [getattr(record, "reason", record) for record in block] == [b'{"a": 1}', "too_long", b"{}"]


PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b" ", b"\r", b"\x0b", b'"', b'{"a": 1}', b"x", b"\xff"]
)


@example([b'[{"a": 1}'])
@example([b'{"a": 1},'])
@example([b'{"a": 1}\r,{"a": 1}'])
@given(st.lists(st.lists(PIECES, max_size=8).map(b"".join), max_size=4))
def test_a_block_is_split_like_each_of_its_lines(lines):
    lines = [line.strip() for line in lines]
    expected = [record for line in lines for record in json_records._split_objects(line)]
    assert json_records._split_block(lines) == expected


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_file_in_another_encoding_is_refused(tmp_path, suffix, encoding):
    path, text = tmp_path / f"f.{suffix}", '{"a": 1}\n'.encode(encoding)
    path.write_bytes(gzip.compress(text) if suffix == "jsonl.gz" else text)
    with pytest.raises(InputError, match=r"UTF-16 and UTF-32 have; write it as UTF-8 and deliver it again"):
        _blocks(path)


def test_a_nul_later_in_a_file_is_part_of_its_record(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"abc\0": 1}\n')
    assert _blocks(path) == [[b'{"abc\0": 1}']]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_an_empty_file_has_no_blocks(tmp_path, suffix):
    path = tmp_path / f"f.{suffix}"
    path.write_bytes(b"")
    assert _blocks(path) == []
