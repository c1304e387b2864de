from datetime import date

import pytest

from contracts.split import Split, split_of


@pytest.mark.parametrize(
    ("without", "valid"),
    [([], 14), ([14], 13), ([13, 14], 12), ([13], 14), ([15, 16], 14)],
)
def test_validation_is_the_newest_day_before_the_night_that_may_be_seen(without, valid):
    night = date(2026, 3, 15)
    split = split_of(night, [date(2026, 3, day) for day in without])
    assert split == Split(date(2026, 3, valid - 1), date(2026, 3, valid), night)
    assert split.known == date(2026, 3, 14)
