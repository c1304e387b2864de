import json

import pyarrow as pa
import pytest

from core.records import LANDING_TYPES, RecordRejected
from lake.record_columns import json_columns, parquet_columns

EVENTS, USERS = LANDING_TYPES["events"], LANDING_TYPES["users"]


def _json(landing_type, *records):
    return json_columns([json.dumps(r).encode() if isinstance(r, dict) else r for r in records], landing_type)


def test_objects_that_the_decoder_refuses_are_left_out():
    columns = _json(
        EVENTS, {"user_id": "a"}, b"{broken", b"", RecordRejected("too_long", "x"), {"user_id": "b"}
    )
    assert columns.positions.tolist() == [0, 4]
    assert columns.fields["user_id"].to_list() == ["a", "b"]


def test_the_fields_of_a_context_are_columns():
    columns = _json(EVENTS, {"context": {"device": "ios"}}, {})
    assert columns.fields["context.device"].to_list() == ["ios", None]


@pytest.mark.parametrize(
    ("values", "kept"), [(["a", 1, "b", None], [0, 2, 3]), ([1, 2**70, 2], [0, 2]), ([1, 2.5], [0, 1])]
)
def test_values_that_do_not_fit_their_column_are_left_out(values, kept):
    assert _json(EVENTS, *({"user_id": value} for value in values)).positions.tolist() == kept


def test_each_name_of_a_user_record_is_a_field():
    columns = _json(USERS, {"user_id": "a", "city": "Ulm"}, {"user_id": "b", "age": 7})
    assert {name: values.to_list() for name, values in columns.fields.items()} == {
        "user_id": ["a", "b"],
        "city": ["Ulm", None],
        "age": [None, 7],
    }


def test_users_with_too_many_different_fields_are_no_columns():
    assert _json(USERS, *({f"field {n}": "x"} for n in range(300))) is None


def _parquet(max_record_bytes=100, **columns):
    return parquet_columns(pa.record_batch(columns), EVENTS, max_record_bytes)


def test_a_null_context_has_null_fields():
    device = pa.array(["ios", "tv"]).dictionary_encode()
    context = pa.StructArray.from_arrays([device], ["device"], mask=pa.array([True, False]))
    assert _parquet(context=context).fields["context.device"].to_list() == [None, "tv"]


def test_a_column_whose_name_looks_like_a_field_of_a_context_is_left_to_the_strict_parser():
    assert _parquet(**{"context.device": ["ios"]}) is None


def test_long_records_are_left_out():
    text = pa.array(["short", "x" * 101]).dictionary_encode()
    assert _parquet(comment_text=text).positions.tolist() == [0]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1]).cast(pa.decimal128(30, 2)),
        pa.array([1], pa.date32()),
        pa.array([[1772704800000000]], pa.list_(pa.timestamp("us", "Mars/Phobos"))),
        pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xe9"], pa.binary()).buffers()),
    ],
)
def test_uncommon_types_and_invalid_text_are_no_columns(column):
    assert _parquet(user_id=column) is None
    assert _parquet(user_id=["u"], unknown=column) is None
