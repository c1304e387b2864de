"""The newest stored sequences, which the night continues."""

from great_expectations.expectations import (
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToBeInSet,
    ExpectColumnValuesToNotBeNull,
)

from checks.expectations import ExpectKeyToBeUnique
from checks.suite import NightFacts, Suite, expect
from core.config import CheckConfig

LISTS = ("started_at", "watch_ratios", "behaviours", "comment_sentiments")


def suite(night: NightFacts, params: CheckConfig) -> Suite:
    """Return the expectations on the sequences."""
    aligned = " AND ".join(f"ARRAY_LENGTH({name}) = ARRAY_LENGTH(video_ids)" for name in LISTS)
    return Suite(
        "sequences",
        ("sequences",),
        f"SELECT user_id, day, ARRAY_LENGTH(video_ids) AS length, {aligned} AS is_aligned FROM sequences",
        ("user_id", "day"),
        [
            expect(
                ExpectColumnValuesToNotBeNull, "missing_users", "sequences without a user", column="user_id"
            ),
            expect(
                ExpectKeyToBeUnique,
                "duplicate_users",
                "sequences with the same user as another",
                columns=["user_id"],
            ),
            expect(
                ExpectColumnValuesToBeBetween,
                "empty_sequences",
                "sequences without an interaction",
                column="length",
                min_value=1,
            ),
            expect(
                ExpectColumnValuesToBeInSet,
                "unaligned_sequences",
                "sequences whose lists have different lengths",
                column="is_aligned",
                value_set=[True],
            ),
        ],
    )
