import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lake.key_ranges import KeyRange, divide_keys

KEYS = st.lists(st.text("abß😀\U0010ffff", min_size=1, max_size=3), max_size=30)


def _divide(keys: list[str], max_rows: int) -> list[KeyRange]:
    return divide_keys(pl.LazyFrame({"user_id": keys}, {"user_id": pl.String}), "user_id", max_rows)


def _contains(users: KeyRange, key: str) -> bool:
    after, last = (bound and bound.encode() for bound in (users.after, users.last))
    return (after is None or key.encode() > after) and (last is None or key.encode() <= last)


@given(KEYS, st.integers(1, 8), st.text(max_size=3))
def test_each_key_is_in_one_range(keys, max_rows, other):
    ranges = _divide(keys, max_rows)
    for key in {*keys, other}:
        assert [_contains(users, key) for users in ranges].count(True) == 1


@given(KEYS, st.integers(1, 8))
def test_a_range_with_too_many_rows_holds_one_key(keys, max_rows):
    for users in _divide(keys, max_rows):
        rows = [key for key in keys if _contains(users, key)]
        assert len(rows) <= max_rows or len(set(rows)) == 1


@given(KEYS, st.integers(1, 8))
def test_ranges_are_as_few_as_their_order_allows(keys, max_rows):
    sizes = [sum(_contains(users, key) for key in keys) for users in _divide(keys, max_rows)]
    firsts = [
        min((k for k in keys if _contains(users, k)), key=str.encode, default="")
        for users in _divide(keys, max_rows)
    ]
    for size, first_of_next in zip(sizes, firsts[1:], strict=False):
        assert size + keys.count(first_of_next) > max_rows


def test_no_rows_are_one_range_of_all_keys():
    assert _divide([], 5) == [KeyRange("user_id")]
