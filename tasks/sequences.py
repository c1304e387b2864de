"""What each person's past looked like at the end of the night's day and of the two days before it.

Training reads the past as of the day before yesterday, the test as of yesterday, tomorrow's serving as of
today: a global time split, by construction. Where yesterday's data is blocked, training ends before the
newest day that is not. A day is made again only when the interactions below it changed.
"""

import sys
from collections.abc import Sequence
from datetime import date

from contracts import digests, step
from contracts.audits import lake_of
from contracts.errors import InputError
from contracts.lake import Lake, up_to
from contracts.params import Sequences
from contracts.place import Night
from contracts.receipts import Receipt
from contracts.split import split_of
from contracts.tables import SEQUENCES
from spark_jobs.sequences import histories
from spark_jobs.session import session
from tasks.catalogue import cleaned
from tasks.staging import stage


def run(params: Sequences, night: Night) -> Receipt:
    """Make the histories as of the night and the two days before, where their inputs changed."""
    lake = lake_of(night.day)
    split = split_of(night.day, lake.without)
    days = [split.train, split.known, split.test]
    with lake.alone("sequences"):
        made_of = {day: _inputs(lake, params, day) for day in days}
        known = lake.inputs("sequences")
        todo = [day for day in days if known.get(str(day)) != made_of[day]]
        reads = {"interactions": lake.version("interactions")}
        if todo:
            _make(lake, params, todo, {str(day): made_of[day] for day in todo})
    return Receipt(
        reads=reads,
        writes={"sequences": lake.version("sequences")},
        digests={str(day): made_of[day] for day in days},
        facts={"days": [str(day) for day in todo]},
    )


def _make(lake: Lake, params: Sequences, days: Sequence[date], inputs: dict[str, str]) -> None:
    files = lake.files("interactions", up_to(max(days)))
    if not files:
        raise InputError(
            f"no interactions up to {max(days)} are in the lake; run `python -m tasks.ingest` and"
            " `python -m tasks.clean` for that night first"
        )
    spark = session("sequences")
    past = spark.read.parquet(*files)
    paths = stage(lake, SEQUENCES, histories(past, days, params.max_length), ["user_id"])
    spark.stop()
    lake.commit("sequences", [{"day": day} for day in days], paths, inputs)


def _inputs(lake: Lake, params: Sequences, day: date) -> str:
    """A digest over what every day up to `day` that may be seen was made of."""
    days = {d: made for d, (made, _) in cleaned(lake).items() if d <= day and d not in lake.without}
    below = sorted(f"{d} {made}" for d, made in days.items())
    return digests.of_lines([str(params.max_length), *below])


if __name__ == "__main__":
    sys.exit(step.main("sequences", run, __doc__))
