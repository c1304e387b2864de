"""Check the night's data by the suites of `checks.suites`. A failed expectation of severity error blocks it.

The step writes `check/results.json` and the Data Docs before it blocks, so that the failure can be examined.
Later nights do not read the rows of a blocked night until this step passes for it.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date

import polars as pl
from pyspark.sql import SparkSession

from checks import outcome
from checks.history import History, reference_nights
from checks.night_tables import NightTables
from checks.outcome import ExpectationResult
from checks.suite import NightFacts
from checks.suites import night_suites
from checks.validation import validate
from core import hashing, paths, production, step_cli
from core.config import CheckConfig, load_params
from core.errors import ChecksBlocked
from core.paths import Night
from core.records import LANDED_FINGERPRINT
from core.run_manifests import RunManifest, read_manifest, write_json
from lake import audits
from lake.audits import visible_lake
from lake.client import Lake, on_days, up_to_day
from spark_jobs.context import explained_jvm_errors, spark_session

READ_TABLES = ("events", "interactions", "features", "videos", "users", "sequences", "rejects", "landings")


def run(params: CheckConfig, night: Night) -> RunManifest:
    """Validate the suites on the night's tables and write the results.

    Raises:
        ChecksBlocked: An expectation of severity error failed.
    """
    lake = visible_lake(night.day)
    reads = {name: lake.version(name) for name in READ_TABLES}
    data_docs = paths.home() / "data_docs"
    facts = night_facts(lake, night)
    tables = NightTables(night_files(lake, facts), lambda: spark_session("check"))
    hide_users = load_params(night.params_path).privacy.pseudonymise
    with explained_jvm_errors():
        expectation_results = validate(
            night_suites(facts, params),
            tables,
            str(night.day),
            paths.home() / "checks",
            data_docs,
            hide_users,
        )
        if spark := SparkSession.getActiveSession():
            spark.stop()
    night_outcome = outcome.night_outcome(expectation_results)
    results = {
        "night": str(night.day),
        "outcome": night_outcome,
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


def night_facts(lake: Lake, night: Night) -> NightFacts:
    """Collect what the suites know before the rows are read.

    Args:
        lake: The lake, without the rows of blocked nights.
        night: The night.
    """
    events_by_day = _events_by_day(lake, night.day)
    reference = reference_nights(night.day, events_by_day)
    history_files = {
        name: lake.data_files(name, on_days(*reference)) if reference else []
        for name in ("events", "interactions")
    }
    return NightFacts(
        day=night.day,
        num_events=events_by_day.get(night.day, 0),
        reject_reasons=_reject_reasons(lake, night.day),
        fingerprints=read_manifest(night.run_manifests, "embed")["facts"]["fingerprints"],
        history=History({day: events_by_day[day] for day in reference}, history_files),
    )


def night_files(lake: Lake, night: NightFacts) -> dict[str, list[str]]:
    """Return the files of each table that hold the rows to check.

    Landing files, events, users and interactions are those of the night. Videos are all known ones. Vectors
    are those of the encoders in use, and the landed ones up to the night. Sequences are the newest ones.
    """
    day = night.day
    return {
        "landings": lake.data_files("landings", on_days(day)),
        "events": lake.data_files("events", on_days(day)),
        "rejects": _reject_files(lake, day),
        "users": lake.data_files("users", on_days(day)),
        "videos": lake.data_files("videos", up_to_day(day)),
        "interactions": lake.data_files("interactions", on_days(day)),
        "features": _feature_files(lake, night),
        "sequences": _sequence_files(lake, day),
    }


def _events_by_day(lake: Lake, day: date) -> dict[date, int]:
    """Return day -> number of events received, up to the night."""
    events_by_day: Counter[date] = Counter()
    for row in lake.scan("landings", up_to_day(day), ("kind", "day", "kept")).to_pylist():
        if row["kind"] == "events":
            events_by_day[row["day"]] += row["kept"]
    return dict(events_by_day)


def _reject_files(lake: Lake, day: date) -> list[str]:
    """Return the files that may hold rejects received on the night. They may hold others, too."""
    return lake.data_files("rejects", f"step = 'clean' and received_day = '{day}'")


def _reject_reasons(lake: Lake, day: date) -> list[str]:
    """Return the reasons for which `clean` refused events received on the night."""
    files = _reject_files(lake, day)
    if not files:
        return []
    rejects = pl.scan_parquet(files).filter(pl.col("received_day") == day)
    reasons = rejects.select(pl.col("reason").drop_nulls().unique().sort()).collect(engine="streaming")
    return reasons["reason"].to_list()


def _feature_files(lake: Lake, night: NightFacts) -> list[str]:
    """Return the files with the vectors of the encoders in use, and with those landed up to the night."""
    files = []
    for fingerprint in sorted(set(night.fingerprints.values())):
        until = f" and day <= '{night.day}'" if fingerprint == LANDED_FINGERPRINT else ""
        files += lake.data_files("features", f"fingerprint = '{fingerprint}'{until}")
    return files


def _sequence_files(lake: Lake, day: date) -> list[str]:
    """Return the files with the sequences of the newest stored day up to the night."""
    days = [date.fromisoformat(name) for name in lake.input_digests("sequences")]
    stored = [stored_day for stored_day in days if stored_day <= day]
    return lake.data_files("sequences", on_days(max(stored))) if stored else []


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
