"""The landing files of the night: how many of their records `ingest` refused."""

from great_expectations.expectations import ExpectColumnMaxToBeBetween, ExpectColumnValuesToBeBetween

from checks.suite import NightFacts, Suite, expect
from core.config import CheckConfig

STATE_TYPES = ("users", "videos", "features")  # all landing types except events
MIN_REJECTS = 20  # with fewer rejects, no rate is judged: one bad record of two must not block a night


def suite(night: NightFacts, params: CheckConfig) -> Suite:
    """Return the expectations on the landing files."""
    max_rate = params.max_unreadable_rate_per_file
    types = [
        ("events", 1, params.max_unreadable_rate),
        *[(name, MIN_REJECTS, max_rate) for name in STATE_TYPES],
    ]
    reject_rates = ", ".join(_reject_rate(name, min_rejects) for name, min_rejects, _ in types)
    return Suite(
        "landings",
        ("landings",),
        f"""
        SELECT kind, path, CASE WHEN rows > 0 THEN rejected / rows END AS file_reject_rate, {reject_rates}
        FROM landings
        """,
        ("kind", "path"),
        [
            expect(
                ExpectColumnValuesToBeBetween,
                "unreadable_files",
                f"files with over {max_rate:.0%} of their records refused",
                "warn",
                column="file_reject_rate",
                max_value=max_rate,
            ),
            *[
                expect(
                    ExpectColumnMaxToBeBetween,
                    f"{name}_reject_rate",
                    f"share of {name} that ingest refused",
                    column=f"{name}_reject_rate",
                    max_value=rate,
                )
                for name, _, rate in types
            ],
        ],
    )


def _reject_rate(name: str, min_rejects: int) -> str:
    """Return the column of the reject rate of one landing type, missing if there are too few rejects."""
    rejected, rows = (f"SUM({column}) OVER (PARTITION BY kind)" for column in ("rejected", "rows"))
    return (
        f"CASE WHEN kind = '{name}' AND {rejected} >= {min_rejects} THEN {rejected} / {rows} END"
        f" AS {name}_reject_rate"
    )
