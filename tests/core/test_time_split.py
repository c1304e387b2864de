from datetime import date

import pytest

from core.time_split import TimeSplit, split_by_time


@pytest.mark.parametrize(
    ("hidden", "valid"),
    [([], 14), ([14], 13), ([13, 14], 12), ([13], 14), ([15, 16], 14)],
)
def test_validation_is_the_last_visible_day_before_the_night(hidden, valid):
    night = date(2026, 3, 15)
    split = split_by_time(night, [date(2026, 3, day) for day in hidden])
    assert split == TimeSplit(date(2026, 3, valid - 1), date(2026, 3, valid), night)
    assert split.last_known_day == date(2026, 3, 14)
