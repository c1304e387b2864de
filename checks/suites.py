"""What is expected of a night's data: the figures that matter, their bounds, and how bad it is to miss.

`error` blocks the night, `warn` is told and goes on. Bounds that no operator should move (a repeated viewing
is never right) stand here; all others come from params.yaml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from checks.figures import MODALITIES, STATES, Figures
from contracts.params import Checks


@dataclass(frozen=True)
class Expectation:
    """A figure of a table must lie within bounds, ends included."""

    table: str
    figure: str
    meaning: str
    severity: Literal["error", "warn"] = "error"
    low: float | None = None
    high: float | None = None

    @property
    def bound(self) -> str:
        """The bounds in words."""
        low = [] if self.low is None else [f"at least {self.low:g}"]
        high = [] if self.high is None else [f"at most {self.high:g}"]
        return " and ".join(low + high)


def expectations(p: Checks, measured: Mapping[str, Figures]) -> list[Expectation]:
    """All that is expected of the measured tables, in the order of the night."""
    return [*_landings(p), *_events(p, measured["events"]), *_interactions(p), *_features(p)]


def _landings(p: Checks) -> list[Expectation]:
    table, bound = "landings", p.max_unreadable_file
    lost = f"files of which over {bound:.0%}, or all, was refused; the table landings names them"
    return [
        Expectation(table, "lost_files", lost, "warn", high=0),
        *[
            Expectation(table, f"{kind}_refused_share", f"share of {kind} that ingest refused", high=bound)
            for kind in STATES
        ],
    ]


def _events(p: Checks, measured: Figures) -> list[Expectation]:
    table = "events"
    reasons = [name for name in measured if name.startswith("refused_") and name != "refused_share"]
    return [
        Expectation(table, "rows", "events received", low=p.min_rows),
        Expectation(
            table, "of_usual", "events against the median of the days before", "warn", low=p.min_of_usual
        ),
        Expectation(
            table, "unreadable_share", "share of lines that ingest could not read", high=p.max_unreadable
        ),
        Expectation(table, "missing_user_share", "share of events without a user", high=p.max_missing_user),
        Expectation(
            table, "missing_video_share", "share of events without a video", high=p.max_missing_video
        ),
        Expectation(table, "refused_share", "share of events that clean refused", high=p.max_rejected),
        *[
            Expectation(table, name, f"share refused as {_reason(name)}", "warn", high=p.max_one_reason)
            for name in reasons
        ],
    ]


def _reason(figure: str) -> str:
    return figure.removeprefix("refused_").removesuffix("_share").replace("_", " ")


def _interactions(p: Checks) -> list[Expectation]:
    table = "interactions"
    return [
        Expectation(table, "rows", "viewings of the day", low=1),
        Expectation(table, "keyless_rows", "viewings without user, video or time", high=0),
        Expectation(table, "repeated_rows", "viewings with another's user, video and time", high=0),
        Expectation(table, "stray_rows", "viewings that began on another day", high=0),
        Expectation(table, "bad_watch_rows", "watch times that are negative or no number", high=0),
        Expectation(
            table, "longest_watch_ratio", "longest viewing, in lengths of its video", high=p.max_watch_ratio
        ),
    ]


def _features(p: Checks) -> list[Expectation]:
    table = "features"
    return [
        Expectation(table, "repeated_rows", "vectors with another's video, modality and segment", high=0),
        Expectation(table, "bad_rows", "vectors empty, zero, not finite or not of unit length", high=0),
        *[Expectation(table, f"{m}_widths", f"widths of {m} vectors", high=1) for m in MODALITIES],
        Expectation(
            table, "embedded_share", "share of videos with media that have a vector", low=p.min_embedded
        ),
        Expectation(
            table,
            "captioned_share",
            "share of captions that have a vector",
            low=p.min_embedded,
        ),
    ]
