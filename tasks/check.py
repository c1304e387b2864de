"""Check the night's events, viewings and vectors; an error-level failure stops the night before training.

Writes `check/results.json` and the Data Docs first and judges then, so that a blocked night can be examined.
No later night sees what a blocked night brought, until this step passes it.
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

from checks import figures, outcome
from checks.figures import Figures
from checks.outcome import Finding
from checks.suites import expectations
from checks.validation import validate
from contracts import audits, digests, place, production, step
from contracts.audits import lake_of
from contracts.errors import ChecksBlocked
from contracts.lake import Lake, on, up_to
from contracts.params import Checks
from contracts.place import Night
from contracts.receipts import Receipt, read_receipt, write_json
from contracts.records import LANDED, text_or_none
from contracts.tables import TABLES
from tasks import vectors
from tasks.captions import clean
from tasks.unembedded import known_videos

READS = ("events", "interactions", "features", "videos", "rejects", "landings")
USUAL_DAYS, FEWEST_DAYS = 14, 3  # a usual day is the median of the last 14, if there are at least 3


def run(params: Checks, night: Night) -> Receipt:
    """Measure, validate, write; then judge.

    Raises:
        ChecksBlocked: an error-level expectation failed.
    """
    lake = lake_of(night.day)
    reads = {name: lake.version(name) for name in READS}
    measured = measure(lake, night, params)
    site = place.home() / "data_docs"
    findings = validate(
        expectations(params, measured), measured, str(night.day), place.home() / "checks", site
    )
    judged = outcome.judge(findings)
    results = {
        "night": str(night.day),
        "outcome": judged,
        "figures": measured,
        "checks": [finding.record() for finding in findings],
    }
    path = night.fresh_folder("check") / "results.json"
    write_json(path, results)
    if why := production.left_alone():
        print(f"check: the outcome is not kept for later nights: {why}", file=sys.stderr)
    else:
        audits.note(night.day, judged)
    docs = site / "index.html"
    _warn(findings)
    _block(findings, night.day, f"{docs} and {path}")
    return Receipt(
        reads=reads,
        digests={"results.json": digests.of_file(path)},
        facts={
            "outcome": judged,
            "data_docs": str(docs),
            "missing_days": [str(day) for day in sorted(lake.without)],
            "warnings": [finding.sentence() for finding in outcome.failed(findings, "warn")],
            "results": results["checks"],
        },
    )


def measure(lake: Lake, night: Night, params: Checks) -> dict[str, Figures]:
    """The figures of the night's files, events and viewings, and of the vectors of the known videos."""
    day = night.day
    events = _batches(lake, "events", figures.EVENT_COLUMNS, on(day))
    viewings = _batches(lake, "interactions", figures.VIEWING_COLUMNS, on(day))
    known = known_videos(lake, day)
    fingerprints = read_receipt(night.receipts, "embed")["facts"]["fingerprints"]
    landed = lake.scan("landings", on(day), ("kind", "rows", "rejected")).to_pylist()
    return {
        "landings": figures.landings(landed, params.max_unreadable_file),
        "events": figures.events(
            events, _refused(lake, day), _unreadable(lake, day), _usual_events(lake, day)
        ),
        "interactions": figures.interactions(viewings, day),
        "features": figures.features(
            _vectors(lake, day, fingerprints, known),
            fingerprints,
            [video for video, record in known.items() if record["media_uri"]],
            {video: text for video, record in known.items() if (text := text_or_none(record["caption"]))},
            lambda text: bool(clean(text)),
        ),
    }


def _vectors(
    lake: Lake, day: date, fingerprints: Mapping[str, str], known: Mapping[str, Any]
) -> Iterator[pa.RecordBatch]:
    """What the encoders in use made of the videos known by the night, and what of it had landed by then."""
    columns, ours = figures.VECTOR_COLUMNS, sorted(set(fingerprints.values()) - {LANDED})
    made = _batches(lake, "features", columns, vectors.made_by(ours)) if ours else []
    landed = LANDED in fingerprints.values()
    ready = vectors.landed(lake, day, columns).select(columns).to_batches() if landed else []
    videos = pa.array(known, pa.string())
    for batch in chain(made, ready):
        yield batch.filter(pc.is_in(batch["video_id"], videos))


def _batches(
    lake: Lake, table: str, columns: Sequence[str], where: BooleanExpression | str
) -> Iterator[pa.RecordBatch]:
    """The rows of whole partitions, as a stream."""
    paths = lake.files(table, where)
    if not paths:
        return
    rows = ds.dataset(paths, schema=TABLES[table].schema, format="parquet")
    with tqdm(desc=f"check {table}", total=rows.count_rows(), unit="row", unit_scale=True) as bar:
        for batch in rows.to_batches(columns=list(columns)):
            yield batch
            bar.update(batch.num_rows)


def _refused(lake: Lake, day: date) -> dict[str, int]:
    """Reason -> how many of the events received on the day clean refused, whichever day they belong to."""
    where = f"step = 'clean' and received_day = '{day}'"
    counts = lake.scan("rejects", where, ("reason",))["reason"].value_counts().to_pylist()
    return {row["values"]: row["counts"] for row in counts}


def _unreadable(lake: Lake, day: date) -> int:
    return sum(row["rejected"] for row in _landed_events(lake, on(day)))


def _usual_events(lake: Lake, day: date) -> float | None:
    """The median of the events of the last days before; None while they are too few."""
    kept: Counter[date] = Counter()
    for row in _landed_events(lake, up_to(day)):
        if row["day"] < day:
            kept[row["day"]] += row["kept"]
    last = [kept[past] for past in sorted(kept)[-USUAL_DAYS:]]
    return statistics.median(last) if len(last) >= FEWEST_DAYS else None


def _landed_events(lake: Lake, where: BooleanExpression) -> list[dict]:
    rows = lake.scan("landings", where, ("kind", "day", "kept", "rejected")).to_pylist()
    return [row for row in rows if row["kind"] == "events"]


def _warn(findings: Sequence[Finding]) -> None:
    for finding in outcome.failed(findings, "warn"):
        print(f"check: warning: {finding.sentence()}", file=sys.stderr)


def _block(findings: Sequence[Finding], day: date, where: str) -> None:
    errors = outcome.failed(findings, "error")
    if errors:
        reasons = "; ".join(finding.sentence() for finding in errors)
        raise ChecksBlocked(f"the data of {day} is not fit to train on: {reasons}; see {where}")


if __name__ == "__main__":
    sys.exit(step.main("check", run, __doc__))
