"""The vectors that the night's model reads: those of its encoders, and the newest landed ones."""

from collections.abc import Collection, Sequence

from great_expectations.expectations import (
    ExpectColumnValuesToNotBeNull,
)

from checks.expectations import (
    ExpectKeyToBeUnique,
    ExpectNumVectorWidthsToBeAtMost,
    ExpectVectorsToBeValid,
)
from checks.suite import NightFacts, Suite, expect
from core.config import CheckConfig
from core.records import LANDED_FINGERPRINT

KEY = ["video_id", "modality", "segment"]


def in_use(night: NightFacts, modalities: Collection[str]) -> str:
    """Return the SQL condition for vectors of these modalities that are of the encoder in use."""
    conditions = [
        f"(modality = '{modality}' AND fingerprint = '{fingerprint}')"
        for modality, fingerprint in sorted(night.fingerprints.items())
        if modality in modalities
    ]
    return f"({' OR '.join(conditions) or '1 = 0'})"


def suite(night: NightFacts, params: CheckConfig) -> Suite:
    """Return the expectations on the vectors."""
    modalities = sorted(night.fingerprints)
    return Suite(
        "features",
        ("features", "videos"),
        _rows(night, modalities),
        (*KEY, "source"),
        [
            expect(
                ExpectKeyToBeUnique,
                "duplicate_rows",
                "vectors with the same video, modality and segment as another",
                columns=KEY,
            ),
            expect(
                ExpectColumnValuesToNotBeNull, "missing_vectors", "rows without a vector", column="vector"
            ),
            expect(
                ExpectVectorsToBeValid,
                "invalid_vectors",
                "vectors of encoders that are not of unit length",
                column="encoded_vector",
                unit_length=True,
            ),
            expect(
                ExpectVectorsToBeValid,
                "invalid_landed_vectors",
                "landed vectors that are zero or not finite",
                column="landed_vector",
                unit_length=False,
            ),
            *[
                expect(
                    ExpectNumVectorWidthsToBeAtMost,
                    f"num_{m}_widths",
                    f"different widths of {m} vectors",
                    column=f"{m}_vector",
                    max_value=1,
                )
                for m in modalities
            ],
        ],
    )


def _rows(night: NightFacts, modalities: Sequence[str]) -> str:
    """Return the query for the vectors in use, with one more column for the vectors of each modality."""
    key = ", ".join(KEY)
    by_modality = "".join(f"CASE WHEN modality = '{m}' THEN vector END AS {m}_vector, " for m in modalities)
    return f"""
    WITH known AS (
        SELECT {key}, fingerprint, day, source, vector FROM features
        WHERE {in_use(night, modalities)} AND video_id IN (SELECT video_id FROM videos)
    ),
    landed AS (
        SELECT *, ROW_NUMBER() OVER (
            PARTITION BY modality, video_id ORDER BY day DESC, source DESC
        ) AS age FROM known WHERE fingerprint = '{LANDED_FINGERPRINT}'
    ),
    used AS (
        SELECT {key}, source, vector, FALSE AS is_landed
        FROM known WHERE fingerprint <> '{LANDED_FINGERPRINT}'
        UNION ALL SELECT {key}, source, vector, TRUE AS is_landed FROM landed WHERE age = 1
    )
    SELECT {key}, source, vector, {by_modality}
        CASE WHEN NOT is_landed THEN vector END AS encoded_vector,
        CASE WHEN is_landed THEN vector END AS landed_vector
    FROM used
    """
