"""The events received for the night."""

from great_expectations.expectations import (
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToNotBeNull,
    ExpectTableRowCountToBeBetween,
)

from checks.expectations import ExpectColumnPsiToBeAtMost, ExpectVolumeRatioToBeAtLeast
from checks.suite import NightFacts, Suite, expect
from core.config import CheckConfig

ROWS = """
SELECT event_id, user_id, video_id, event_type, watch_ms, device, source_file, source_line FROM events
"""


def suite(night: NightFacts, params: CheckConfig) -> Suite:
    """Return the expectations on the events."""
    history = night.history
    return Suite(
        "events",
        ("events",),
        ROWS,
        ("source_file", "source_line"),
        [
            expect(ExpectTableRowCountToBeBetween, "rows", "events received", min_value=params.min_rows),
            expect(
                ExpectVolumeRatioToBeAtLeast,
                "volume_ratio",
                "events received, relative to the usual number of this weekday",
                "warn",
                usual_rows=history.median_events(),
                min_value=params.min_volume_ratio,
            ),
            expect(
                ExpectColumnValuesToNotBeNull,
                "missing_user_rate",
                "share of events without a user",
                column="user_id",
                mostly=1 - params.max_missing_user_rate,
            ),
            expect(
                ExpectColumnValuesToNotBeNull,
                "missing_video_rate",
                "share of events without a video",
                column="video_id",
                mostly=1 - params.max_missing_video_rate,
            ),
            expect(
                ExpectColumnValuesToBeBetween,
                "negative_watch_rate",
                "share of watch times below zero",
                "warn",
                column="watch_ms",
                min_value=0,
                mostly=1 - params.max_reject_rate_per_reason,
            ),
            *[
                expect(
                    ExpectColumnPsiToBeAtMost,
                    f"{column}_psi",
                    f"shift of the distribution of {column}, as a PSI",
                    "warn",
                    column=column,
                    usual_shares=history.mean_shares("events", column),
                    max_value=params.max_psi,
                )
                for column in ("event_type", "device")
            ],
        ],
    )
