"""A suite of expectations on one table, and the facts about a night from which suites take their bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from great_expectations.expectations import Expectation
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metadata_types import FailureSeverity

from checks.history import History

Severity = Literal["error", "warn"]
GX_SEVERITY = {"error": FailureSeverity.CRITICAL, "warn": FailureSeverity.WARNING}
CONSEQUENCE = {"error": "blocks the night", "warn": "warns"}


@dataclass(frozen=True)
class NightFacts:
    """What is known about a night before its rows are read.

    Attributes:
        day: the night.
        num_events: number of events received.
        reject_reasons: the reasons for which `clean` refused events of the night.
        fingerprints: modality -> fingerprint of the encoder in use.
        history: the nights before.
    """

    day: date
    num_events: int
    reject_reasons: Sequence[str]
    fingerprints: Mapping[str, str]
    history: History


@dataclass(frozen=True)
class Suite:
    """The expectations on the rows of one table.

    Attributes:
        table: the table, which is also the name of the suite.
        reads: the tables that the query reads.
        rows: the SQL query that selects the rows (`checks.night_tables`).
        row_id: columns that identify a row among the unexpected examples.
        expectations: the expectations, see `expect`.
    """

    table: str
    reads: tuple[str, ...]
    rows: str
    row_id: tuple[str, ...]
    expectations: Sequence[Expectation]


def expect(
    expectation: type[Expectation],
    metric: str,
    description: str,
    severity: Severity = "error",
    **bounds: Any,
) -> Expectation:
    """Return an expectation with a name and a severity.

    Args:
        expectation: an expectation class of Great Expectations or of `checks.expectations`.
        metric: name of what is measured. It is unique within the suite.
        description: what is measured, for the Data Docs and for error messages.
        severity: a failed `error` blocks the night, a failed `warn` is reported.
        bounds: the arguments of the class.
    """
    texts = (description, _describe_allowed(expectation, bounds))
    return expectation(
        severity=GX_SEVERITY[severity],
        description=f"{', '.join(filter(None, texts))} ({metric}; {CONSEQUENCE[severity]})",
        meta={"metric": metric, "description": description, "severity": severity},
        **bounds,
    )


def _describe_allowed(expectation: type[Expectation], bounds: Mapping[str, Any]) -> str:
    """Return what an expectation allows, as text.

    The value of an expectation on rows is the number of unexpected rows, or their share if it allows some.
    """
    if not issubclass(expectation, ColumnMapExpectation):
        return describe_bounds(bounds.get("min_value"), bounds.get("max_value"))
    share = round(1 - bounds.get("mostly", 1), 12)
    return describe_bounds(None, share) if share else "none allowed"


def describe_bounds(min_value: float | None, max_value: float | None) -> str:
    """Return the bounds of a value as text, such as `at least 100`. Empty without bounds."""
    low = [] if min_value is None else [f"at least {min_value:g}"]
    high = [] if max_value is None else [f"at most {max_value:g}"]
    return " and ".join(low + high)


def metric_of(expectation: Expectation) -> str:
    """Return the name of what an expectation of `expect` measures."""
    assert expectation.meta is not None
    return str(expectation.meta["metric"])
