from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.history import MIN_NIGHTS, NUM_NIGHTS, History, reference_nights

NIGHT = date(2026, 3, 5)


def _nights_before(*days: int) -> list[date]:
    return [NIGHT - timedelta(n) for n in days]


def test_a_night_is_compared_with_the_nights_of_its_weekday():
    assert reference_nights(NIGHT, _nights_before(*range(1, 15))) == _nights_before(14, 7)


def test_without_two_nights_of_its_weekday_it_is_compared_with_all_recent_nights():
    assert reference_nights(NIGHT, _nights_before(1, 2, 7)) == _nights_before(7, 2, 1)


def test_too_few_nights_are_no_reference():
    assert reference_nights(NIGHT, _nights_before(1, 2)) == []


@given(st.sets(st.integers(-5, 40)))
def test_the_reference_is_recent_and_never_later(days):
    earlier = [n for n in days if n > 0]
    reference = reference_nights(NIGHT, _nights_before(*days))
    assert bool(reference) == (len(earlier) >= MIN_NIGHTS)
    assert set(reference) <= set(_nights_before(*sorted(earlier)[:NUM_NIGHTS]))
    assert reference_nights(NIGHT, reversed(_nights_before(*days))) == reference


def test_each_night_has_the_same_weight_in_the_mean_shares(tmp_path):
    path = str(tmp_path / "rows.parquet")
    first, second = _nights_before(2, 1)
    rows = [(first, "a")] * 8 + [(second, "a")] + [(second, "b")] + [(second, None)] * 5
    pl.DataFrame(rows, schema=["day", "kind"], orient="row").write_parquet(path)
    history = History({first: 8, second: 7}, {"events": [path]})
    assert history.mean_shares("events", "kind") == {"a": pytest.approx(0.75), "b": pytest.approx(0.25)}
    assert history.mean_shares("events", "CASE WHEN kind = 'c' THEN 'x' END") is None


def test_without_reference_nights_nothing_is_usual():
    history = History({}, {"events": []})
    assert history.median_events() is None
    assert history.mean_shares("events", "kind") is None


def test_the_median_is_over_the_reference_nights():
    assert History(dict(zip(_nights_before(3, 2, 1), (1, 5, 90), strict=True)), {}).median_events() == 5
