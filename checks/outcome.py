"""The outcome of a night's data checks: passed, warned or blocked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from checks.suite import Severity, describe_bounds


@dataclass(frozen=True)
class ExpectationResult:
    """The result of one expectation.

    Attributes:
        table: the suite.
        metric: what was measured.
        description: what the metric means.
        severity: whether a failure blocks the night or only warns.
        value: the measured value, or None if there was nothing to measure.
        min_value, max_value: the bounds of the value, both included. None: no bound.
        outcome: `skipped` if there was nothing to measure.
    """

    table: str
    metric: str
    description: str
    severity: Severity
    value: float | None
    min_value: float | None
    max_value: float | None
    outcome: Literal["passed", "failed", "skipped"]

    @property
    def bound(self) -> str:
        """The bounds as text, such as `at least 100`."""
        return describe_bounds(self.min_value, self.max_value)

    def describe(self) -> str:
        """Return a line, such as `events.rows is 3, must be at least 100 (events received)`."""
        return (
            f"{self.table}.{self.metric} is {_format_value(self.value)}, must be {self.bound}"
            f" ({self.description})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dictionary, for results.json."""
        return asdict(self)


def failed_results(results: Sequence[ExpectationResult], severity: Severity) -> list[ExpectationResult]:
    """Return the failed results of one severity."""
    return [result for result in results if result.outcome == "failed" and result.severity == severity]


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
