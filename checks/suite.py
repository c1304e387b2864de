"""A suite of expectations on one table, and the facts about a night from which suites take their bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from great_expectations.expectations import Expectation
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
    return expectation(
        severity=GX_SEVERITY[severity],
        description=f"{description} ({metric}; {CONSEQUENCE[severity]})",
        meta={"metric": metric, "description": description, "severity": severity},
        **bounds,
    )


def metric_of(expectation: Expectation) -> str:
    """Return the name of what an expectation of `expect` measures."""
    assert expectation.meta is not None
    return str(expectation.meta["metric"])
