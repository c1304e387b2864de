"""The interactions of the night's day."""

from datetime import timedelta

from great_expectations.expectations import (
    Expectation,
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToBeInSet,
    ExpectColumnValuesToNotBeNull,
    ExpectTableRowCountToBeBetween,
)

from checks.expectations import ExpectColumnPsiToBeAtMost, ExpectKeyToBeUnique
from checks.suite import NightFacts, Suite, expect
from core.config import CheckConfig

KEY = ["user_id", "video_id", "started_at"]
WATCH_BAND = """CASE
    WHEN watch_ratio < 0.1 THEN 'below 10 %' WHEN watch_ratio < 0.25 THEN '10 to 25 %'
    WHEN watch_ratio < 0.5 THEN '25 to 50 %' WHEN watch_ratio < 0.75 THEN '50 to 75 %'
    WHEN watch_ratio < 1 THEN '75 to 100 %' WHEN watch_ratio >= 1 THEN 'all' END"""

ROWS = f"""
WITH catalogue AS (SELECT DISTINCT video_id FROM videos)
SELECT interactions.user_id, interactions.video_id, started_at, watched_ms, watch_ratio,
    {WATCH_BAND} AS watch_band,
    CASE WHEN interactions.video_id IS NOT NULL THEN catalogue.video_id IS NOT NULL END AS is_known
FROM interactions LEFT JOIN catalogue ON interactions.video_id = catalogue.video_id
"""


def suite(night: NightFacts, params: CheckConfig) -> Suite:
    """Return the expectations on the interactions."""
    # A clock that runs ahead may reach into the next day.
    first, last = (f"{day}T00:00:00+00:00" for day in (night.day, night.day + timedelta(2)))
    return Suite(
        "interactions",
        ("interactions", "videos"),
        ROWS,
        tuple(KEY),
        [
            expect(ExpectTableRowCountToBeBetween, "rows", "interactions of the day", min_value=1),
            *[
                expect(
                    ExpectColumnValuesToNotBeNull,
                    f"missing_{column}",
                    f"interactions without {column}",
                    column=column,
                )
                for column in KEY
            ],
            expect(
                ExpectKeyToBeUnique,
                "duplicate_rows",
                "interactions with the same user, video and time as another",
                columns=KEY,
            ),
            expect(
                ExpectColumnValuesToBeInSet,
                "unknown_videos",
                "interactions with a video that is not in the catalogue",
                column="is_known",
                value_set=[True],
            ),
            expect(
                ExpectColumnValuesToBeBetween,
                "out_of_day_rows",
                "interactions that began on another day",
                column="started_at",
                min_value=first,
                max_value=last,
                strict_max=True,
            ),
            *_watch_expectations(night, params),
        ],
    )


def _watch_expectations(night: NightFacts, params: CheckConfig) -> list[Expectation]:
    return [
        expect(
            ExpectColumnValuesToBeBetween,
            "negative_watch_times",
            "watch times below zero",
            column="watched_ms",
            min_value=0,
        ),
        expect(
            ExpectColumnValuesToBeBetween,
            "invalid_watch_ratios",
            f"watch ratios below 0, above {params.max_watch_ratio:g} or not finite",
            column="watch_ratio",
            min_value=0,
            max_value=params.max_watch_ratio,
        ),
        expect(
            ExpectColumnPsiToBeAtMost,
            "watch_ratio_psi",
            "shift of the distribution of the watch ratio, as a PSI",
            "warn",
            column="watch_band",
            usual_shares=night.history.mean_shares("interactions", WATCH_BAND),
            max_value=params.max_psi,
        ),
    ]
