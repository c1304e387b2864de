from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.time_split import TimeSplit, split_by_time

NIGHT = date(2026, 3, 15)


def march(*days: int) -> tuple[date, ...]:
    return tuple(date(2026, 3, day) for day in days)


@pytest.mark.parametrize(
    ("hidden", "valid"),
    [([], [13, 14]), ([14], [12, 13]), ([13, 14], [11, 12]), ([13], [12, 14]), ([15, 16], [13, 14])],
)
def test_validation_takes_the_last_visible_days_before_the_night(hidden, valid):
    split = split_by_time(NIGHT, march(*hidden), 2)
    assert split == TimeSplit(march(*valid), NIGHT)
    assert split.train_end == date(2026, 3, valid[0] - 1)
    assert split.known_until["test"] == date(2026, 3, 14)
    assert list(split.folds) == ["valid_1", "valid_2", "test"]


@pytest.mark.parametrize(("first", "valid"), [(10, [13, 14]), (12, [13, 14]), (13, [14]), (14, [14])])
def test_a_short_history_has_fewer_validation_days(first, valid):
    assert split_by_time(NIGHT, [], 2, date(2026, 3, first)).validation_days == march(*valid)


@given(st.sets(st.integers(1, 20)), st.integers(1, 4), st.integers(1, 25))
def test_no_fold_knows_its_own_day_and_none_is_hidden(hidden, num_days, days_of_history):
    hidden_days = {NIGHT - timedelta(days) for days in hidden}
    split = split_by_time(NIGHT, hidden_days, num_days, NIGHT - timedelta(days_of_history))
    assert 1 <= len(split.validation_days) <= num_days
    assert all(split.known_until[fold] == day - timedelta(1) for fold, day in split.folds.items())
    assert not hidden_days & set(split.validation_days)
    assert list(split.folds.values()) == sorted(set(split.folds.values()))
    assert TimeSplit.from_json(dict(sorted(split.to_json().items()))) == split
