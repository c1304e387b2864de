"""Check the night's events, interactions and vectors. A failed check of severity error blocks the night.

The step writes `check/results.json` and the Data Docs before it blocks, so that the failure can be examined.
Later nights do not read the rows of a blocked night until this step passes for it.
"""

import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyiceberg.expressions import BooleanExpression
from tqdm import tqdm

from checks import outcome, table_metrics
from checks.outcome import ExpectationResult
from checks.suites import expectations
from checks.table_metrics import TableMetrics
from checks.validation import validate
from core import hashing, paths, production, step_cli
from core.config import CheckConfig
from core.errors import ChecksBlocked
from core.paths import Night
from core.records import LANDED_FINGERPRINT, text_or_none
from core.run_manifests import RunManifest, read_manifest, write_json
from core.tables import TABLES
from features import vectors
from features.embedding_backlog import known_videos
from features.text_normalisation import normalise_text
from lake import audits
from lake.audits import visible_lake
from lake.client import Lake, on_days, up_to_day

READ_TABLES = ("events", "interactions", "features", "videos", "rejects", "landings")
MEDIAN_DAYS, MIN_DAYS = 14, 3  # the volume of a night is compared with the median of 3 to 14 earlier days


def run(params: CheckConfig, night: Night) -> RunManifest:
    """Measure the tables, validate the metrics and write the results.

    Raises:
        ChecksBlocked: An expectation of severity error failed.
    """
    lake = visible_lake(night.day)
    reads = {name: lake.version(name) for name in READ_TABLES}
    metrics = measure_tables(lake, night, params)
    data_docs = paths.home() / "data_docs"
    expectation_results = validate(
        expectations(params, metrics), metrics, str(night.day), paths.home() / "checks", data_docs
    )
    night_outcome = outcome.night_outcome(expectation_results)
    results = {
        "night": str(night.day),
        "outcome": night_outcome,
        "metrics": metrics,
        "expectations": [result.to_dict() for result in expectation_results],
    }
    path = night.fresh_folder("check") / "results.json"
    write_json(path, results)
    if reason := production.why_read_only():
        print(f"check: the outcome is not stored for later nights: {reason}", file=sys.stderr)
    else:
        audits.write_audit(night.day, night_outcome)
    docs = data_docs / "index.html"
    _print_warnings(expectation_results)
    _raise_if_blocked(expectation_results, night.day, f"{docs} and {path}")
    return RunManifest(
        reads=reads,
        digests={"results.json": hashing.hash_file(path)},
        facts={
            "outcome": night_outcome,
            "data_docs": str(docs),
            "missing_days": [str(day) for day in sorted(lake.hidden_days)],
            "warnings": [result.describe() for result in outcome.failed_results(expectation_results, "warn")],
            "expectations": results["expectations"],
        },
    )


def measure_tables(lake: Lake, night: Night, params: CheckConfig) -> dict[str, TableMetrics]:
    """Compute the metrics of the night's landing files, events, interactions and vectors.

    Args:
        lake: The lake, without the rows of blocked nights.
        night: The night.
        params: The section `check`.

    Returns:
        Table -> metrics.
    """
    day = night.day
    events = _read_batches(lake, "events", table_metrics.EVENT_COLUMNS, on_days(day))
    interactions = _read_batches(lake, "interactions", table_metrics.INTERACTION_COLUMNS, on_days(day))
    videos = known_videos(lake, day)
    fingerprints = read_manifest(night.run_manifests, "embed")["facts"]["fingerprints"]
    landed = lake.scan("landings", on_days(day), ("kind", "rows", "rejected")).to_pylist()
    return {
        "landings": table_metrics.landing_metrics(landed, params.max_unreadable_rate_per_file),
        "events": table_metrics.event_metrics(
            events, _rejects_by_reason(lake, day), _count_unreadable(lake, day), _median_events(lake, day)
        ),
        "interactions": table_metrics.interaction_metrics(interactions, day),
        "features": table_metrics.feature_metrics(
            _vectors(lake, day, fingerprints, videos),
            fingerprints,
            [video for video, record in videos.items() if record["media_uri"]],
            {video: text for video, record in videos.items() if (text := text_or_none(record["caption"]))},
            lambda text: bool(normalise_text(text)),
        ),
    }


def _vectors(
    lake: Lake, day: date, fingerprints: Mapping[str, str], videos: Mapping[str, Any]
) -> Iterator[pa.RecordBatch]:
    """Yield the vectors that the night uses: those of its encoders, and those landed up to its day."""
    columns = table_metrics.VECTOR_COLUMNS
    own_fingerprints = sorted(set(fingerprints.values()) - {LANDED_FINGERPRINT})
    encoded = (
        _read_batches(lake, "features", columns, vectors.fingerprint_filter(own_fingerprints))
        if own_fingerprints
        else []
    )
    landed = LANDED_FINGERPRINT in fingerprints.values()
    delivered = vectors.landed_vectors(lake, day, columns).select(columns).to_batches() if landed else []
    video_ids = pa.array(videos, pa.string())
    for batch in chain(encoded, delivered):
        yield batch.filter(pc.is_in(batch["video_id"], video_ids))


def _read_batches(
    lake: Lake, table: str, columns: Sequence[str], where: BooleanExpression | str
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of whole partitions in batches."""
    paths = lake.data_files(table, where)
    if not paths:
        return
    rows = ds.dataset(paths, schema=TABLES[table].schema, format="parquet")
    with tqdm(desc=f"check {table}", total=rows.count_rows(), unit="row", unit_scale=True) as bar:
        for batch in rows.to_batches(columns=list(columns)):
            yield batch
            bar.update(batch.num_rows)


def _rejects_by_reason(lake: Lake, day: date) -> dict[str, int]:
    """Count by reason the events received on the day that `clean` rejected, whichever day they belong to."""
    where = f"step = 'clean' and received_day = '{day}'"
    counts = lake.scan("rejects", where, ("reason",))["reason"].value_counts().to_pylist()
    return {row["values"]: row["counts"] for row in counts}


def _count_unreadable(lake: Lake, day: date) -> int:
    return sum(row["rejected"] for row in _event_landings(lake, on_days(day)))


def _median_events(lake: Lake, day: date) -> float | None:
    """Return the median number of events of earlier days, or None if there are too few days."""
    events_by_day: Counter[date] = Counter()
    for row in _event_landings(lake, up_to_day(day)):
        if row["day"] < day:
            events_by_day[row["day"]] += row["kept"]
    recent = [events_by_day[day_before] for day_before in sorted(events_by_day)[-MEDIAN_DAYS:]]
    return statistics.median(recent) if len(recent) >= MIN_DAYS else None


def _event_landings(lake: Lake, where: BooleanExpression) -> list[dict]:
    rows = lake.scan("landings", where, ("kind", "day", "kept", "rejected")).to_pylist()
    return [row for row in rows if row["kind"] == "events"]


def _print_warnings(expectation_results: Sequence[ExpectationResult]) -> None:
    for result in outcome.failed_results(expectation_results, "warn"):
        print(f"check: warning: {result.describe()}", file=sys.stderr)


def _raise_if_blocked(expectation_results: Sequence[ExpectationResult], day: date, where: str) -> None:
    errors = outcome.failed_results(expectation_results, "error")
    if errors:
        reasons = "; ".join(result.describe() for result in errors)
        raise ChecksBlocked(f"the data checks of {day} failed: {reasons}; see {where}")


if __name__ == "__main__":
    sys.exit(step_cli.main("check", run, __doc__))
