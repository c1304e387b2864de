import io
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.user_records import UserRecords

USERS = UserRecords(["u7", "12", "é/ü"])


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["u7", "u70", None, "12"]),
        pa.array(["u7", "u70", None, "12"]).dictionary_encode(),
        pa.array(["u7", "u70", None, "12"], pa.large_string()),
        pa.array([b"u7", b"\xff", None, b"12"]),
    ],
)
def test_ids_in_a_column_are_compared_as_a_whole(column):
    assert USERS.are_in(column).to_pylist() == [True, False, False, True]


def test_numbers_in_a_column_count_as_text():
    assert USERS.are_in(pa.array([12, 7])).to_pylist() == [True, False]
    assert USERS.are_in(pa.array([12.0, 12.5, None, float("nan")])).to_pylist() == [True, False, False, False]
    assert USERS.are_in(pa.array([True, False])).to_pylist() == [False, False]


@pytest.mark.parametrize(
    ("text", "belongs"),
    [
        ('{"user_id": "u7"}', True),
        ('{"user_id": 12.0, "watch_ms": 1}', True),
        ('{"user_id": "u8", "comment_text": "ask u7", "watch_ms": 12}', False),
        ('{"userid": "u7"}', True),
        ('{"user_id": "u7", "video', True),
        ('{"user_id": "u70", "video', False),
        ("null", False),
    ],
)
def test_the_user_id_decides_and_without_one_a_mention(text, belongs):
    assert USERS.is_in_record(text) is belongs


def test_a_reject_has_its_reason_before_the_record():
    records = ['wrong_type: x\n{"user_id": "u7"}', '{"user_id":"u8"}', "too_long: the line is long\n", None]
    assert USERS.are_in_rejects(pa.array(records[:3])).to_pylist() == [True, False, False]


@given(st.sampled_from(sorted(USERS.user_ids)), st.booleans(), st.integers(0, 3))
def test_a_file_that_may_hold_a_record_is_never_missed(user_id, is_ascii, lines_before):
    line = json.dumps({"user_id": user_id}, ensure_ascii=is_ascii)
    text = '{"user_id": "other"}\n' * lines_before + line
    assert USERS.may_be_in(io.BytesIO(text.encode()))


def test_an_id_across_two_chunks_is_not_missed():
    assert UserRecords(["u777"]).may_be_in(io.BytesIO(b"x" * ((1 << 20) - 2) + b"u777"))
    assert not UserRecords(["u777"]).may_be_in(io.BytesIO(b"x" * (1 << 21)))


def test_values_but_no_keys_of_json_are_masked():
    assert USERS.mask_json('{"12": ["u7", 12, "u70"]}') == ('{"12": ["forgotten", 12, "u70"]}', 1)


def test_a_number_on_a_page_counts_only_as_the_text_of_an_element():
    assert USERS.is_on_page("<b>12</b>")
    assert not USERS.is_on_page("<b>12 users</b>")
    assert USERS.is_on_page("<b>user u7</b>")
