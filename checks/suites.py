"""The expectations of a night's data: metrics, their bounds and their severity.

A failed `error` blocks the night. A failed `warn` is reported, and the night goes on. Most bounds come from
params.yaml. This file fixes the bounds that no operator should change, such as zero duplicate interactions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from checks.table_metrics import MODALITIES, STATE_TYPES, TableMetrics
from core.config import CheckConfig

REJECT_RATE_PREFIX = "reject_rate_"  # of the metric of one reject reason


@dataclass(frozen=True)
class Expectation:
    """A metric of a table must lie within bounds.

    Attributes:
        table: the table.
        metric: the name of the metric (`checks.table_metrics`).
        description: what the metric measures.
        severity: whether a failure blocks the night or only warns.
        min_value, max_value: the bounds, both included. None: no bound.
    """

    table: str
    metric: str
    description: str
    severity: Literal["error", "warn"] = "error"
    min_value: float | None = None
    max_value: float | None = None

    @property
    def bound(self) -> str:
        """The bounds as text, such as `at least 100`."""
        low = [] if self.min_value is None else [f"at least {self.min_value:g}"]
        high = [] if self.max_value is None else [f"at most {self.max_value:g}"]
        return " and ".join(low + high)


def expectations(params: CheckConfig, metrics: Mapping[str, TableMetrics]) -> list[Expectation]:
    """Return the expectations of all tables, in the order in which the night fills them.

    Args:
        params: the bounds.
        metrics: table -> its metrics. The expectations of rejects depend on the reasons in them.
    """
    return [
        *_landings(params),
        *_events(params, metrics["events"]),
        *_interactions(params),
        *_features(params),
    ]


def _landings(params: CheckConfig) -> list[Expectation]:
    table, max_reject_rate = "landings", params.max_unreadable_rate_per_file
    description = (
        f"files with all or over {max_reject_rate:.0%} of their records refused;"
        " the table landings lists them"
    )
    return [
        Expectation(table, "unreadable_files", description, "warn", max_value=0),
        *[
            Expectation(
                table,
                f"{landing_type}_reject_rate",
                f"share of {landing_type} that ingest refused",
                max_value=max_reject_rate,
            )
            for landing_type in STATE_TYPES
        ],
    ]


def _events(params: CheckConfig, metrics: TableMetrics) -> list[Expectation]:
    table = "events"
    reject_rates = [name for name in metrics if name.startswith(REJECT_RATE_PREFIX)]
    return [
        Expectation(table, "rows", "events received", min_value=params.min_rows),
        Expectation(
            table,
            "volume_ratio",
            "events received, relative to the median of the days before",
            "warn",
            min_value=params.min_volume_ratio,
        ),
        Expectation(
            table,
            "unreadable_rate",
            "share of event lines that ingest refused",
            max_value=params.max_unreadable_rate,
        ),
        Expectation(
            table,
            "missing_user_rate",
            "share of events without a user",
            max_value=params.max_missing_user_rate,
        ),
        Expectation(
            table,
            "missing_video_rate",
            "share of events without a video",
            max_value=params.max_missing_video_rate,
        ),
        Expectation(
            table, "reject_rate", "share of events that clean refused", max_value=params.max_reject_rate
        ),
        *[
            Expectation(
                table,
                name,
                f"share of events refused as {_reject_reason(name)}",
                "warn",
                max_value=params.max_reject_rate_per_reason,
            )
            for name in reject_rates
        ],
    ]


def _reject_reason(metric: str) -> str:
    return metric.removeprefix(REJECT_RATE_PREFIX).replace("_", " ")


def _interactions(params: CheckConfig) -> list[Expectation]:
    table = "interactions"
    return [
        Expectation(table, "rows", "interactions of the day", min_value=1),
        Expectation(table, "null_key_rows", "interactions without user, video or time", max_value=0),
        Expectation(
            table, "duplicate_rows", "interactions with the same user, video and time as another", max_value=0
        ),
        Expectation(table, "out_of_day_rows", "interactions that began on another day", max_value=0),
        Expectation(
            table, "invalid_watch_rows", "watch times or ratios that are negative or not finite", max_value=0
        ),
        Expectation(
            table,
            "max_watch_ratio",
            "largest watch ratio",
            max_value=params.max_watch_ratio,
        ),
    ]


def _features(params: CheckConfig) -> list[Expectation]:
    table = "features"
    return [
        Expectation(
            table,
            "duplicate_rows",
            "vectors with the same video, modality and segment as another",
            max_value=0,
        ),
        Expectation(
            table,
            "invalid_vectors",
            "vectors that are empty, zero, not finite or not of unit length",
            max_value=0,
        ),
        *[
            Expectation(table, f"num_{m}_widths", f"different widths of {m} vectors", max_value=1)
            for m in MODALITIES
        ],
        Expectation(
            table,
            "media_embedded_rate",
            "share of videos with media that have a vector",
            min_value=params.min_embedded_rate,
        ),
        Expectation(
            table,
            "text_embedded_rate",
            "share of captions that have a vector",
            min_value=params.min_embedded_rate,
        ),
    ]
