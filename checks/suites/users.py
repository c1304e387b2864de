"""The user profiles received for the night."""

from datetime import timedelta

from great_expectations.expectations import (
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToNotBeNull,
)

from checks.suite import NightFacts, Suite, expect
from core.config import CheckConfig


def suite(night: NightFacts, params: CheckConfig) -> Suite:
    """Return the expectations on the profiles."""
    return Suite(
        "users",
        ("users",),
        "SELECT user_id, registration_time, source_file, source_line FROM users",
        ("source_file", "source_line"),
        [
            expect(ExpectColumnValuesToNotBeNull, "missing_ids", "profiles without a user", column="user_id"),
            expect(
                ExpectColumnValuesToBeBetween,
                "future_registrations",
                "registrations after the night",
                "warn",
                column="registration_time",
                max_value=f"{night.day + timedelta(2)}T00:00:00+00:00",
            ),
        ],
    )
