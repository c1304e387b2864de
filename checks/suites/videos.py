"""The catalogue as the night knows it: the newest record of each video, and whether it was embedded."""

from great_expectations.expectations import (
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToBeInSet,
    ExpectColumnValuesToNotBeNull,
)

from checks.suite import NightFacts, Suite, expect
from checks.suites.features import in_use
from core.config import CheckConfig

# Regular expressions of SQL. A caption has words unless it consists of blanks and web addresses.
WEB_ADDRESS = "(https?://|www[.])[!-~]+"
NOT_BLANK = "[^ \t\r\n]"


def suite(night: NightFacts, params: CheckConfig) -> Suite:
    """Return the expectations on the catalogue. Modalities without an encoder need no vectors."""
    media = [m for m in ("visual", "audio") if m in night.fingerprints]
    coverage = {
        "media": ("share of videos with media that have no vector", bool(media)),
        "captions": ("share of captions that have no vector", "text" in night.fingerprints),
    }
    return Suite(
        "videos",
        ("videos", "features"),
        _rows(night, media),
        ("video_id", "source_file", "source_line"),
        [
            expect(
                ExpectColumnValuesToNotBeNull, "missing_ids", "records without a video", column="video_id"
            ),
            expect(
                ExpectColumnValuesToBeBetween,
                "invalid_durations",
                "durations that are not positive",
                "warn",
                column="duration_ms",
                min_value=1,
            ),
            *[
                expect(
                    ExpectColumnValuesToBeInSet,
                    f"{name}_without_vector",
                    description,
                    column=f"{name}_embedded",
                    value_set=[True],
                    mostly=params.min_embedded_rate,
                )
                for name, (description, is_on) in coverage.items()
                if is_on
            ],
        ],
    )


def _rows(night: NightFacts, media: list[str]) -> str:
    has_media = f"latest.media_uri RLIKE '{NOT_BLANK}'"
    has_words = f"REGEXP_REPLACE(latest.caption, '{WEB_ADDRESS}', '') RLIKE '{NOT_BLANK}'"
    return f"""
    WITH latest AS (
        SELECT video_id, caption, media_uri, duration_ms, source_file, source_line, ROW_NUMBER() OVER (
            PARTITION BY video_id ORDER BY day DESC, source_file DESC, source_line DESC
        ) AS age FROM videos
    ),
    media AS (SELECT DISTINCT video_id FROM features WHERE {in_use(night, media)}),
    words AS (SELECT DISTINCT video_id FROM features WHERE {in_use(night, ["text"])})
    SELECT latest.video_id, latest.duration_ms, latest.source_file, latest.source_line,
        CASE WHEN {has_media} THEN media.video_id IS NOT NULL END AS media_embedded,
        CASE WHEN {has_words} THEN words.video_id IS NOT NULL END AS captions_embedded
    FROM latest
    LEFT JOIN media ON latest.video_id = media.video_id
    LEFT JOIN words ON latest.video_id = words.video_id
    WHERE latest.age = 1
    """
