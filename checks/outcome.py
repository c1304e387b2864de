"""The outcome of a night's data checks: passed, warned or blocked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from checks.suites import Expectation


@dataclass(frozen=True)
class ExpectationResult:
    """The result of one expectation.

    Attributes:
        expectation: the expectation.
        value: the measured value, or None if there was nothing to measure.
        outcome: `skipped` if there was nothing to measure.
    """

    expectation: Expectation
    value: float | None
    outcome: Literal["passed", "failed", "skipped"]

    def describe(self) -> str:
        """Return a line, such as `events.rows is 3, must be at least 100 (events received)`."""
        expectation, value = self.expectation, _format_value(self.value)
        name = f"{expectation.table}.{expectation.metric}"
        return f"{name} is {value}, must be {expectation.bound} ({expectation.description})"

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dictionary, for results.json."""
        return {**asdict(self.expectation), "value": self.value, "outcome": self.outcome}


def failed_results(
    results: Sequence[ExpectationResult], severity: Literal["error", "warn"]
) -> list[ExpectationResult]:
    """Return the failed results of one severity."""
    return [
        result for result in results if result.outcome == "failed" and result.expectation.severity == severity
    ]


def night_outcome(results: Sequence[ExpectationResult]) -> Literal["passed", "warned", "blocked"]:
    """Return `blocked` if an expectation of severity error failed.

    Otherwise return `warned` if one of severity warn failed, else `passed`. Skipped expectations do not
    count.
    """
    if failed_results(results, "error"):
        return "blocked"
    return "warned" if failed_results(results, "warn") else "passed"


def _format_value(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
