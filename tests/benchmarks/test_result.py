"""What result files hold."""

from benchmarks.result import round_interval


def test_an_interval_is_rounded_and_keeps_what_is_unknown() -> None:
    interval = {"mean": 0.0, "low": None, "high": 0.123456, "num_users": 7}
    assert round_interval(interval) == {"mean": 0.0, "low": None, "high": 0.1235, "num_users": 7}
