"""Build the sequences of all users as they are known before each fold, and at the end of the night.

A fold is a validation day or the test day (core/time_split.py). It reads the sequences up to the day before.
Serving reads those of the night itself. So nothing later is used for anything earlier.

Validation takes the newest days before the night that are not blocked. A day is built again only if the
interactions up to it have changed.
"""

import sys
from collections.abc import Sequence
from datetime import date

from core import hashing, step_cli
from core.config import SequencesConfig
from core.errors import InputError
from core.paths import Night
from core.run_manifests import RunManifest
from core.tables import SEQUENCES
from core.time_split import split_by_time
from lake.audits import visible_lake
from lake.client import Lake, on_days, up_to_day
from spark_jobs.catalogue_changes import cleaned_days
from spark_jobs.sequences import build_sequences
from spark_jobs.session import spark_session
from spark_jobs.staging import stage_parquet


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
        if days_to_build:
            _build_sequences(
                lake, params, days_to_build, {str(day): input_digests[day] for day in days_to_build}
            )
    return RunManifest(
        reads=reads,
        writes={"sequences": lake.version("sequences")},
        digests={str(day): input_digests[day] for day in days},
        facts={"folds": split.to_json(), "days": [str(day) for day in days_to_build]},
    )


def _first_day(lake: Lake) -> date | None:
    """Return the first visible day with interactions. Cleaning also stores earlier days, which have none."""
    visible_days = sorted(cleaned_days(lake).keys() - lake.hidden_days)
    return next((day for day in visible_days if lake.data_files("interactions", on_days(day))), None)


def _build_sequences(
    lake: Lake, params: SequencesConfig, days: Sequence[date], inputs: dict[str, str]
) -> None:
    files = lake.data_files("interactions", up_to_day(max(days)))
    if not files:
        raise InputError(
            f"no interactions up to {max(days)} are in the lake; run `python -m tasks.ingest` and"
            " `python -m tasks.clean` for that night first"
        )
    spark = spark_session("sequences")
    interactions = spark.read.parquet(*files)
    paths = stage_parquet(
        lake, SEQUENCES, build_sequences(interactions, days, params.max_length), ["user_id"]
    )
    spark.stop()
    lake.commit("sequences", [{"day": day} for day in days], paths, inputs)


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
