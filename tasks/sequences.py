"""Build the sequences of all users as they are known before each fold, and at the end of the night.

A fold is a validation day or the test day (core/time_split.py). It reads the sequences up to the day before.
Serving reads those of the night itself. So nothing later is used for anything earlier.

Validation takes the newest days before the night that are not blocked. A day is built again only if the
interactions up to it have changed.

The step also counts the item statistics of each day, from which `snapshot` sums those of a fold. A day is
counted again only if its own interactions have changed.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial

from core import hashing, step_cli
from core.config import SequencesConfig
from core.errors import InputError
from core.paths import Night
from core.run_manifests import RunManifest
from core.storage import StoragePath
from core.time_split import split_by_time
from lake.audits import visible_lake
from lake.client import Lake, days_between, on_days, up_to_day
from spark_jobs.cleaned_days import cleaned_days
from spark_jobs.exchange import bucket_files, count_buckets, deleted_at_end, split_by_user, task_scheduler
from spark_jobs.item_statistics import stage_item_statistics
from spark_jobs.sequences import SequenceFolders, build_bucket, engaged_interactions, stored_sequences


def run(params: SequencesConfig, night: Night) -> RunManifest:
    """Build the sequences and the item statistics of each day whose inputs changed."""
    lake = visible_lake(night.day)
    split = split_by_time(night.day, lake.hidden_days, params.validation_days, _first_day(lake))
    days = [*split.known_until.values(), split.test_day]
    with lake.lock("sequences"):
        digest = partial(_input_digest, _visible_days(lake), params)
        input_digests = {day: digest(day) for day in days}
        stored_digests = lake.input_digests("sequences")
        days_to_build = [day for day in days if stored_digests.get(str(day)) != input_digests[day]]
        reads = {"interactions": lake.version("interactions")}
        base_day = None
        if days_to_build:
            base_day = _newest_valid_day(lake, digest, stored_digests, min(days_to_build))
            built = {day: input_digests[day] for day in days_to_build}
            _build_sequences(lake, params.max_length, base_day, built)
        counted_days = _count_items(lake, night.day)
    return RunManifest(
        reads=reads,
        writes={name: lake.version(name) for name in ("sequences", "item_statistics")},
        digests={str(day): input_digests[day] for day in days},
        facts={
            "folds": split.to_json(),
            "days": [str(day) for day in days_to_build],
            "continued_from": str(base_day) if base_day else None,
            "counted_days": [str(day) for day in counted_days],
        },
    )


def _visible_days(lake: Lake) -> dict[date, str]:
    """Return the cleaned days that are not blocked -> the input digest of their interactions."""
    days = cleaned_days(lake).items()
    return {day: cleaned.input_digest for day, cleaned in days if day not in lake.hidden_days}


def _first_day(lake: Lake) -> date | None:
    """Return the first visible day with interactions. All events of a cleaned day may be rejects."""
    days = sorted(_visible_days(lake))
    return next((day for day in days if lake.data_files("interactions", on_days(day))), None)


def _input_digest(visible_days: Mapping[date, str], params: SequencesConfig, day: date) -> str:
    """Return a digest over the inputs of all visible days up to `day`."""
    day_lines = sorted(f"{d} {input_digest}" for d, input_digest in visible_days.items() if d <= day)
    return hashing.hash_lines([str(params.max_length), *day_lines])


def _newest_valid_day(
    lake: Lake, digest: Callable[[date], str], stored_digests: Mapping[str, str], end: date
) -> date | None:
    """Return the newest day before `end` whose stored sequences agree with the present interactions."""
    for day in sorted(map(date.fromisoformat, stored_digests), reverse=True):
        is_valid = day < end and stored_digests[str(day)] == digest(day)
        if is_valid and lake.data_files("sequences", on_days(day)):
            return day
    return None


def _build_sequences(
    lake: Lake, max_length: int, base_day: date | None, input_digests: Mapping[date, str]
) -> None:
    """Build the sequences at the end of some days from those of an earlier day and the interactions since.

    Args:
        lake: the lake.
        max_length: most interactions of a sequence.
        base_day: the earlier day. None: the sequences are built from all interactions.
        input_digests: day to build -> digest of its inputs.
    """
    days = sorted(input_digests)
    since_base = days_between(base_day, days[-1]) if base_day else up_to_day(days[-1])
    paths = lake.data_files("interactions", since_base)
    base_paths = lake.data_files("sequences", on_days(base_day)) if base_day else []
    if not paths and not base_paths:
        raise InputError(
            f"no interactions up to {days[-1]} are in the lake; run `python -m tasks.ingest` and"
            " `python -m tasks.clean` for that night first, or repair what `clean` rejected"
        )
    staging = lake.create_staging_folder("sequences")
    with deleted_at_end(lake.create_staging_folder("sequences")) as exchange:
        staged = _run_tasks(base_paths, paths, SequenceFolders(exchange, staging), days, max_length)
    digests_by_day = {str(day): input_digest for day, input_digest in input_digests.items()}
    lake.commit("sequences", [{"day": day} for day in days], staged, digests_by_day)


def _run_tasks(
    base_paths: Sequence[str],
    paths: Sequence[str],
    folders: SequenceFolders,
    days: Sequence[date],
    max_length: int,
) -> list[StoragePath]:
    """Write the staged files, and return their paths."""
    inputs = [*base_paths, *paths]
    with task_scheduler("sequences", inputs) as scheduler:
        num_buckets = count_buckets(scheduler, inputs)
        base_files = bucket_files(scheduler, base_paths, folders.base, num_buckets)
        if base_files:
            num_buckets = len(base_files)
        else:
            split_by_user(scheduler, base_paths, stored_sequences, folders.base, num_buckets)
        split_by_user(scheduler, paths, engaged_interactions, folders.interactions, num_buckets)
        build = partial(
            build_bucket, folders=folders, base_files=base_files, days=days, max_length=max_length
        )
        return [path for paths in scheduler.run(build, range(num_buckets)) for path in paths]


def _count_items(lake: Lake, until: date) -> list[date]:
    """Count the item statistics of the days whose files changed, and return these days."""
    files = lake.data_files_by_day("interactions", up_to_day(until))
    stored = lake.input_digests("item_statistics")
    digests = {day: hashing.hash_lines(paths) for day, paths in files.items()}
    changed = sorted(day for day in digests if stored.get(str(day)) != digests[day])
    without_files = {date.fromisoformat(day) for day in stored} - digests.keys() - lake.hidden_days
    withdrawn = sorted(day for day in without_files if day <= until)
    if not changed and not withdrawn:
        return []
    paths = [path for day in changed for path in files[day]]
    folder = lake.create_staging_folder("item_statistics")
    with task_scheduler("sequences", paths) as scheduler:
        count = partial(stage_item_statistics, folder=folder)
        staged = scheduler.run(count, [files[day] for day in changed])
    replaced = [*changed, *withdrawn]
    lake.commit(
        "item_statistics",
        [{"day": day} for day in replaced],
        [path for paths in staged for path in paths],
        {str(day): digests.get(day) for day in replaced},
    )
    return changed


if __name__ == "__main__":
    sys.exit(step_cli.main("sequences", run, __doc__))
