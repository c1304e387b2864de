from datetime import date

import pytest

from core.errors import InputError
from tests.support.simulated_platforms import small_calendar


def test_all_users_have_arrived_at_the_end_of_the_history():
    calendar = small_calendar(users=20, history_days=4, nights=2, new_users_per_day=3)
    arrivals = calendar.arrival_days(20, 3)
    assert sum(day <= 3 for day in arrivals) == 20
    assert [arrivals.count(day) for day in range(6)] == [11, 3, 3, 3, 3, 3]


def test_trend_day_and_outage_day():
    calendar = small_calendar(history_days=3, nights=4, outage_night=2)
    assert calendar.date(calendar.trend_day) == date(2026, 3, 4)
    assert calendar.date(calendar.outage_day) == date(2026, 3, 6)
    assert small_calendar(outage_night=0).outage_day is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_day": "2nd of March"}, "simulator.first_day: '2nd of March' is not a date"),
        ({"users": 3, "history_days": 7}, "simulator.users is 3; write 7 or more"),
        ({"videos": 1}, "simulator.videos is 1; write 2 or more"),
        ({"history_days": 0}, "simulator.history_days is 0; write 1 or more"),
        ({"drift_share": 1.5}, "simulator.drift_share is 1.5; write a share between 0 and 1"),
        (
            {"outage_night": 9, "nights": 1},
            r"simulator.outage_night is 9; write a night from 1 to 1 \(simulator.nights\)",
        ),
    ],
)
def test_an_impossible_parameter_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        small_calendar(**changes)
