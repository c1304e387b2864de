from datetime import date

import pytest

from contracts.errors import InputError
from tests.world.worlds import days


def test_people_arrive_so_that_the_number_asked_for_is_there_at_the_end_of_the_history():
    calendar = days(users=20, history_days=4, nights=2, new_users_per_day=3)
    arrivals = calendar.arrivals(20, 3)
    assert sum(day <= 3 for day in arrivals) == 20
    assert [arrivals.count(day) for day in range(6)] == [11, 3, 3, 3, 3, 3]


def test_the_trend_comes_on_the_last_day_of_the_history_and_the_outage_on_its_night():
    calendar = days(history_days=3, nights=4, outage_night=2)
    assert calendar.date(calendar.trend_day) == date(2026, 3, 4)
    assert calendar.date(calendar.outage_day) == date(2026, 3, 6)
    assert days(outage_night=0).outage_day is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"first_day": "2nd of March"}, "world.first_day: '2nd of March' is not a date"),
        ({"users": 3, "history_days": 7}, "world.users is 3; it must be 7 or more"),
        ({"videos": 1}, "world.videos is 1; it must be 2 or more"),
        ({"history_days": 0}, "world.history_days is 0; it must be 1 or more"),
        ({"drift_share": 1.5}, "world.drift_share is 1.5; a share lies between 0 and 1"),
        (
            {"outage_night": 9, "nights": 1},
            r"world.outage_night is 9; write a night from 1 to 1 \(world.nights\)",
        ),
    ],
)
def test_a_parameter_with_which_no_world_can_be_made_is_named(changes, told):
    with pytest.raises(InputError, match=told):
        days(**changes)
