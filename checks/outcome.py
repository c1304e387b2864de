"""What the validated expectations mean for the night: passed, warned or blocked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from checks.suites import Expectation


@dataclass(frozen=True)
class Finding:
    """An expectation and what was observed; `skipped` where there was nothing to measure."""

    expectation: Expectation
    value: float | None
    outcome: Literal["passed", "failed", "skipped"]

    def sentence(self) -> str:
        """`events.rows is 3, must be at least 100 (events received)`."""
        e = self.expectation
        return f"{e.table}.{e.figure} is {_number(self.value)}, must be {e.bound} ({e.meaning})"

    def record(self) -> dict[str, Any]:
        """As JSON, for results.json."""
        return {**asdict(self.expectation), "value": self.value, "outcome": self.outcome}


def failed(findings: Sequence[Finding], severity: str) -> list[Finding]:
    """The failed ones of a severity."""
    return [f for f in findings if f.outcome == "failed" and f.expectation.severity == severity]


def judge(findings: Sequence[Finding]) -> Literal["passed", "warned", "blocked"]:
    """An error blocks, a warning is told, and what could not be measured decides nothing."""
    if failed(findings, "error"):
        return "blocked"
    return "warned" if failed(findings, "warn") else "passed"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
