"""The events of the night that `clean` refused, in all and by reason."""

from great_expectations.expectations import Expectation, ExpectColumnValuesToNotBeNull

from checks.expectations import ExpectRejectRateToBeAtMost
from checks.suite import NightFacts, Suite, expect
from core.config import CheckConfig


def suite(night: NightFacts, params: CheckConfig) -> Suite:
    """Return the expectations on the rejects."""
    return Suite(
        "rejects",
        ("rejects",),
        "SELECT reason, record, source_file, source_line FROM rejects"
        f" WHERE step = 'clean' AND received_day = DATE '{night.day}'",
        ("source_file", "source_line", "record"),
        [
            expect(
                ExpectColumnValuesToNotBeNull,
                "missing_reasons",
                "refused events without a reason",
                column="reason",
            ),
            _reject_rate(night, None, "reject_rate", "share of events that clean refused", params),
            *[
                _reject_rate(
                    night,
                    reason,
                    f"reject_rate_{reason}",
                    f"share of events refused as {reason.replace('_', ' ')}",
                    params,
                )
                for reason in night.reject_reasons
            ],
        ],
    )


def _reject_rate(
    night: NightFacts, reason: str | None, metric: str, description: str, params: CheckConfig
) -> Expectation:
    return expect(
        ExpectRejectRateToBeAtMost,
        metric,
        description,
        "error" if reason is None else "warn",
        column="reason",
        reason=reason,
        num_records=night.num_events,
        max_value=params.max_reject_rate if reason is None else params.max_reject_rate_per_reason,
    )
