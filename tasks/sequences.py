"""Build the sequences of all users as they are known before each fold, and at the end of the night.

A fold is a validation day or the test day (core/time_split.py). It reads the sequences up to the day before.
Serving reads those of the night itself. So nothing later is used for anything earlier.

Validation takes the newest days before the night that are not blocked. A day is built again only if the
interactions up to it have changed.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path

from core import hashing, step_cli
from core.config import SequencesConfig
from core.errors import InputError
from core.paths import Night
from core.run_manifests import RunManifest
from core.time_split import split_by_time
from lake.audits import visible_lake
from lake.client import Lake, days_between, on_days, up_to_day
from spark_jobs.catalogue_changes import cleaned_days
from spark_jobs.exchange import count_buckets, exchange_folder, run_tasks, split_by_user
from spark_jobs.sequences import SequenceFolders, build_bucket, engaged_interactions, stored_sequences
from spark_jobs.session import spark_session


def run(params: SequencesConfig, night: Night) -> RunManifest:
    """Build the sequences at the end of each day whose inputs changed."""
    lake = visible_lake(night.day)
    split = split_by_time(night.day, lake.hidden_days, params.validation_days, _first_day(lake))
    days = [*split.known_until.values(), split.test_day]
    with lake.lock("sequences"):
        input_digests = {day: _input_digest(lake, params, day) for day in days}
        stored_digests = lake.input_digests("sequences")
        days_to_build = [day for day in days if stored_digests.get(str(day)) != input_digests[day]]
        reads = {"interactions": lake.version("interactions")}
        base_day = _build_sequences(lake, params, days_to_build, input_digests) if days_to_build else None
    return RunManifest(
        reads=reads,
        writes={"sequences": lake.version("sequences")},
        digests={str(day): input_digests[day] for day in days},
        facts={
            "folds": split.to_json(),
            "days": [str(day) for day in days_to_build],
            "continued_from": str(base_day) if base_day else None,
        },
    )


def _first_day(lake: Lake) -> date | None:
    """Return the first visible day with interactions. Cleaning also stores earlier days, which have none."""
    visible_days = sorted(cleaned_days(lake).keys() - lake.hidden_days)
    return next((day for day in visible_days if lake.data_files("interactions", on_days(day))), None)


def _build_sequences(
    lake: Lake, params: SequencesConfig, days: Sequence[date], input_digests: Mapping[date, str]
) -> date | None:
    """Build the sequences of some days. Return the earlier day that they continue, if any."""
    base_day = _newest_valid_day(lake, params, min(days))
    base_paths = lake.data_files("sequences", on_days(base_day)) if base_day else []
    new_days = days_between(base_day, max(days)) if base_day else up_to_day(max(days))
    paths = lake.data_files("interactions", new_days)
    if not paths and not base_paths:
        raise InputError(
            f"no interactions up to {max(days)} are in the lake; run `python -m tasks.ingest` and"
            " `python -m tasks.clean` for that night first"
        )
    with exchange_folder(lake, "sequences") as folder:
        staging = lake.create_staging_folder("sequences")
        staged = _run_tasks(base_paths, paths, folder, staging, sorted(days), params.max_length)
    built = {str(day): input_digests[day] for day in days}
    lake.commit("sequences", [{"day": day} for day in days], staged, built)
    return base_day


def _run_tasks(
    base_paths: Sequence[str],
    paths: Sequence[str],
    exchange: Path,
    staging: Path,
    days: Sequence[date],
    max_length: int,
) -> list[Path]:
    """Write the staged files in Spark tasks, and return their paths."""
    spark = spark_session("sequences")
    num_buckets = count_buckets(spark, [*base_paths, *paths])
    folders = SequenceFolders(
        base=exchange / "base" if base_paths else None,
        interactions=exchange / "interactions" if paths else None,
        staging=staging,
    )
    if folders.base:
        split_by_user(spark, base_paths, stored_sequences, folders.base, num_buckets)
    if folders.interactions:
        split_by_user(spark, paths, engaged_interactions, folders.interactions, num_buckets)
    build = partial(build_bucket, folders=folders, days=days, max_length=max_length)
    staged = [path for paths in run_tasks(spark, build, range(num_buckets)) for path in paths]
    spark.stop()
    return staged


def _newest_valid_day(lake: Lake, params: SequencesConfig, before: date) -> date | None:
    """Return the newest day before another whose stored sequences agree with the present interactions."""
    stored_digests = lake.input_digests("sequences")
    for day in sorted(map(date.fromisoformat, stored_digests), reverse=True):
        is_valid = day < before and stored_digests[str(day)] == _input_digest(lake, params, day)
        if is_valid and lake.data_files("sequences", on_days(day)):
            return day
    return None


def _input_digest(lake: Lake, params: SequencesConfig, day: date) -> str:
    """Return a digest over the inputs of all days up to `day`, without blocked days."""
    days = {
        d: input_digest
        for d, (input_digest, _) in cleaned_days(lake).items()
        if d <= day and d not in lake.hidden_days
    }
    day_lines = sorted(f"{d} {input_digest}" for d, input_digest in days.items())
    return hashing.hash_lines([str(params.max_length), *day_lines])


if __name__ == "__main__":
    sys.exit(step_cli.main("sequences", run, __doc__))
