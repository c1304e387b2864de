"""Read landing files into the tables `events`, `users`, `videos` and `features`.

A file is identified by its content and ingested once. If a file of a day is new, changed or withdrawn, the
whole day is replaced. Other days do not change. A day whose folder is missing was archived, and its rows
stay.

Spark parses the files if there are many bytes, else this process. The rows are the same.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from operator import attrgetter
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from core import hashing, paths, production, step_cli
from core.config import IngestConfig, load_params
from core.errors import InputError
from core.paths import Night
from core.pseudonyms import require_key
from core.records import LANDED_FINGERPRINT, LANDING_TYPES, LandingType
from core.run_manifests import RowCounts, RunManifest
from core.storage import StoragePath, require_access
from core.tables import LANDINGS
from lake import audits, landing
from lake.client import Lake
from lake.landing import LandingLimits
from lake.landing_digests import LandingFile, digest_files
from lake.landing_parts import FilePart, Run, divide_file, number_parts, require_unchanged
from lake.landing_staging import StagedFiles, StagingTask, ledger_entries, stage_files
from lake.profile_columns import require_profile_columns
from spark_jobs.exchange import spark_scheduler

MIB = 1 << 20
TASK_BYTES = 64 * MIB  # parts of a task; a larger part is a task of its own
# A larger file of JSON is divided into parts of this size. To count its lines takes 0.3 of the time to parse.
PART_BYTES = 256 * MIB
MIN_SPARK_BYTES = 256 * MIB  # below, a JVM takes longer to start than this process to parse


@dataclass(frozen=True)
class ChangedDays:
    """The days of a landing type whose files changed since they were ingested.

    Attributes:
        landing_type: the landing type.
        files: day -> its files, which may be none.
    """

    landing_type: LandingType
    files: Mapping[date, Sequence[LandingFile]]


def run(params: IngestConfig, night: Night) -> RunManifest:
    """Ingest every day up to the night that has new or changed files.

    Raises:
        InputError: The night has no events, a file or folder cannot be read, params.yaml names a profile
            column that no user has, or users must be pseudonymised and the key is missing.
    """
    require_key(load_params(night.params_path).privacy)
    root, lake = paths.landing(), Lake()
    require_access(root)
    landing.check_folder_names(root)
    if not landing.list_files(root, "events", night.day):
        raise InputError(
            f"{root}/events/dt={night.day} holds no files; deliver the night's events there "
            "(docs/data-contract.md), or set UNDERCURRENT_LANDING to the folder that has them"
        )
    if not production.why_read_only():  # a night of an experiment has no audit
        audits.begin_audit(night.day)
    with lake.lock("ingest"):
        counts = _ingest(lake, root, night.day, params)
    require_profile_columns(lake, load_params(night.params_path).snapshot, night.day)
    rejected = {reason: n for reason, n in counts.items() if reason not in ("rows", "kept", "files", "days")}
    tables = ("events", "users", "videos", "features", "landings", "rejects")
    return RunManifest(
        writes={name: lake.version(name) for name in tables},
        row_counts=RowCounts(counts["rows"], counts["kept"], rejected),
        digests={"landed": _ingested_digest(lake, night.day)},
        facts={
            "new_files": counts["files"],
            "new_days": counts["days"],
            "night": _night_counts(lake, night.day),
        },
    )


def _ingest(lake: Lake, root: StoragePath, until: date, params: IngestConfig) -> Counter[str]:
    """Replace the days whose files changed, and return the counts."""
    changes = _changed_days(lake, root, until)
    staged = _stage(lake, changes, params)
    entries = ledger_entries(part for result in staged for part in result.parts)
    counts = Counter[str](days=sum(len(change.files) for change in changes))
    for change in changes:
        name = change.landing_type.name
        results = [result for result in staged if result.type_name == name]
        counts.update(_commit(lake, change, results, [entry for entry in entries if entry["kind"] == name]))
    return counts


def _changed_days(lake: Lake, root: StoragePath, until: date) -> list[ChangedDays]:
    """Return the landing types whose files changed, with the files of the changed days."""
    days = {name: landing.list_days(root, name) for name in LANDING_TYPES}
    files = digest_files(
        lake,
        root,
        {
            (name, day): landing.list_files(root, name, day)
            for name in LANDING_TYPES
            for day in days[name]
            if day <= until
        },
    )
    ledger = lake.scan("landings").to_pylist()
    changes = []
    for name, landing_type in LANDING_TYPES.items():
        ingested = [row for row in ledger if row["kind"] == name]
        archived = {row["digest"] for row in ingested if row["day"] not in days[name]}
        files_by_day = {day: files[name, day] for day in days[name] if day <= until}
        counted = _count_once(landing_type, files_by_day, archived)
        if changed := _different_days(landing_type, counted, ingested):
            changes.append(ChangedDays(landing_type, changed))
    return changes


def _count_once(
    landing_type: LandingType, files_by_day: Mapping[date, Sequence[LandingFile]], archived: set[str]
) -> dict[date, list[LandingFile]]:
    """Return the files of each day that count.

    An event file counts once, even if another folder or an archived day holds the same file. A file of states
    counts again, because a state can return.
    """
    if not landing_type.is_event_log:
        return {day: list(files) for day, files in files_by_day.items()}
    seen = set(archived)
    counted: dict[date, list[LandingFile]] = {}
    for day, files in sorted(files_by_day.items()):
        counted[day] = []
        for file in files:
            if file.digest not in seen:
                counted[day].append(file)
            seen.add(file.digest)
    return counted


def _different_days(
    landing_type: LandingType,
    files_by_day: Mapping[date, list[LandingFile]],
    ingested: Sequence[Mapping[str, Any]],
) -> dict[date, list[LandingFile]]:
    """Return the days whose files are not those of the ledger."""
    ingested_keys: dict[date, set[tuple[str, str]]] = {}
    for row in ingested:
        key = _file_key(landing_type, row["path"], row["digest"])
        ingested_keys.setdefault(row["day"], set()).add(key)
    return {
        day: files
        for day, files in files_by_day.items()
        if {_file_key(landing_type, file.name, file.digest) for file in files}
        != ingested_keys.get(day, set())
    }


def _file_key(landing_type: LandingType, name: str, digest: str) -> tuple[str, str]:
    """Return the identity of a file. States include the name, because it decides which record is newest."""
    return ("" if landing_type.is_event_log else name), digest


def _stage(lake: Lake, changes: Sequence[ChangedDays], params: IngestConfig) -> list[StagedFiles]:
    """Write the rows and rejects of the changed days to staging folders, and return the results."""
    limits = LandingLimits.from_params(params)
    files = [file for change in changes for files in change.files.values() for file in files]
    parts = [part for file in files for part in divide_file(file, PART_BYTES)]
    with _task_runner(parts) as run:
        numbered = number_parts(parts, limits, params.batch_rows, run)
        parts_by_type = groupby(numbered, attrgetter("file.type_name"))
        tasks = [
            task
            for type_name, parts_of_type in parts_by_type
            for task in _staging_tasks(lake, type_name, parts_of_type, limits, params.batch_rows)
        ]
        staged = run(stage_files, tasks)
    require_unchanged(parts)
    return staged


def _staging_tasks(
    lake: Lake, type_name: str, parts: Iterable[FilePart], limits: LandingLimits, batch_rows: int
) -> Iterator[StagingTask]:
    """Yield the tasks that read the changed days of a landing type."""
    row_folder = lake.create_staging_folder(LANDING_TYPES[type_name].table.name)
    reject_folder = lake.create_staging_folder("rejects")
    days = groupby(parts, attrgetter("file.day"))
    groups = [(day, group) for day, parts_of_day in days for group in _group_by_size(parts_of_day)]
    for number, (day, group) in enumerate(groups):
        name = f"part-{number:05d}.parquet"
        yield StagingTask(
            type_name=type_name,
            day=day,
            parts=group,
            row_path=row_folder / name,
            reject_path=reject_folder / name,
            limits=limits,
            batch_rows=batch_rows,
        )


def _group_by_size(parts: Iterable[FilePart]) -> list[list[FilePart]]:
    """Group parts so that a task is neither long nor tiny."""
    groups: list[list[FilePart]] = []
    group_bytes = 0
    for part in parts:
        if not groups or group_bytes + part.size > TASK_BYTES:
            groups.append([])
            group_bytes = 0
        groups[-1].append(part)
        group_bytes += part.size
    return groups


@contextmanager
def _task_runner(parts: Sequence[FilePart]) -> Iterator[Run]:
    """Yield what runs the tasks of the parts: Spark, or the threads of this process."""
    if len(parts) < 2 or sum(part.size for part in parts) < MIN_SPARK_BYTES:
        yield _run_in_threads
        return
    with spark_scheduler("ingest") as scheduler:
        yield scheduler.run


def _run_in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Arrow and polars release the interpreter lock
        return list(tqdm(pool.map(function, items), "ingest", len(items), unit="task", disable=not items))


def _commit(
    lake: Lake, change: ChangedDays, results: Sequence[StagedFiles], entries: Sequence[dict[str, Any]]
) -> Counter[str]:
    """Replace the days by the staged files, and return the counts.

    The ledger of the days is deleted first and written last. So a killed run is repeated, even if the files
    have changed again.
    """
    name, table = change.landing_type.name, change.landing_type.table.name
    ledger_partitions = [{"day": day, "kind": name} for day in change.files]
    lake.write("landings", LANDINGS.schema.empty_table(), ledger_partitions)
    fingerprint = {"fingerprint": LANDED_FINGERPRINT} if name == "features" else {}
    row_paths = [path for result in results for path in result.row_paths]
    lake.commit(table, [{"day": day} | fingerprint for day in change.files], row_paths)
    reject_paths = [path for result in results for path in result.reject_paths]
    lake.commit("rejects", [{"day": day, "step": f"ingest.{name}"} for day in change.files], reject_paths)
    lake.write("landings", pa.Table.from_pylist(entries, LANDINGS.schema), ledger_partitions)
    counts = Counter(files=len(entries), rows=0, kept=0)
    for result in results:
        counts.update(result.reasons)
    for entry in entries:
        counts.update(rows=entry["rows"], kept=entry["kept"])
    return counts


def _night_counts(lake: Lake, day: date) -> dict[str, dict[str, int]]:
    """Count files and rows of the night's own landing files, whichever run ingested them."""
    totals: dict[str, dict[str, int]] = {}
    for row in lake.scan("landings").to_pylist():
        if row["day"] == day:
            total = totals.setdefault(row["kind"], {"files": 0, "rows": 0, "kept": 0, "rejected": 0})
            total["files"] += 1
            for count in ("rows", "kept", "rejected"):
                total[count] += row[count]
    return totals


def _ingested_digest(lake: Lake, until: date) -> str:
    """Return one digest over all files ingested up to the night."""
    rows = [row for row in lake.scan("landings").to_pylist() if row["day"] <= until]
    return hashing.hash_lines(sorted(f"{row['kind']} {row['day']} {row['digest']}" for row in rows))


if __name__ == "__main__":
    sys.exit(step_cli.main("ingest", run, __doc__))
