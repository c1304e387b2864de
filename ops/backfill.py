"""`make backfill FROM=… TO=…`: run nights of the past in Airflow, in order, and follow them to the end.

Both days are included. One night runs at a time. Nights that succeeded before are skipped unless `--force` is
set. By default every night runs its lake half, and only the last one its model half, because each model
replaces the one before.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import Any

import requests

from core import paths
from core.errors import DONE, FAILED, REFUSED_INPUT, InputError
from ops import airflow_server, ports, run_outcome
from ops.airflow_api import AirflowClient
from ops.airflow_server import DAG_ID
from ops.supervisor import Supervisor
from ops.watch_run import watch_run

COMPLETION_SECONDS = 60.0  # how long to wait until Airflow notices the end of an earlier backfill


def main(argv: Sequence[str] | None = None) -> int:
    """Run the backfill.

    Returns:
        the exit code: 1 if a night failed.
    """
    args = _build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        nights = parse_range(args.first, args.last, datetime.now(UTC).date())
        with airflow_server.attach_or_start(ports.from_environment().airflow) as (api, supervisor):
            states = run_backfill(api, supervisor, nights, args.model, args.force)
    except InputError as error:
        print(f"backfill: refused: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    except (RuntimeError, OSError) as error:  # a dead server, no answer, a full disk
        print(f"backfill: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("backfill: interrupted", file=sys.stderr)
        return FAILED
    for night, state in states.items():
        print(f"{night}  {state}")
    return FAILED if any(state.startswith("failed") for state in states.values()) else DONE


def parse_range(first: str, last: str, today: date) -> list[date]:
    """Return the nights from the first to the last, both included.

    Raises:
        InputError: a value is not a date, the first is after the last, or the last has not ended (UTC).
    """
    start, end = paths.parse_day(first, "FROM"), paths.parse_day(last, "TO")
    if start > end:
        raise InputError(f"FROM is {start}, after TO ({end}); exchange them")
    if end >= today:
        raise InputError(f"TO is {end}, but this day has not ended in UTC; choose a day before {today}")
    return [start + timedelta(days) for days in range((end - start).days + 1)]


def run_backfill(
    api: AirflowClient, supervisor: Supervisor, nights: Sequence[date], model: str, force: bool
) -> dict[str, str]:
    """Create the backfill and follow its runs.

    Args:
        nights: consecutive nights.
        model: which nights run their model half: `newest` or `all`.
        force: whether to run nights again that succeeded before.

    Returns:
        night -> success, failed with the reason, or skipped with the reason.
    """
    conf: dict[str, Any] = {"force": force}
    if model == "newest":
        conf["model_half_from"] = str(nights[-1])
    with _unpaused(api):
        backfill = _create(api, nights, conf, reprocess="completed" if force else "failed")
        runs = [run for run in api.runs(DAG_ID) if run["queued_at"] >= backfill["created_at"]]
        run_ids = {run["partition_key"]: run["dag_run_id"] for run in runs if run["run_type"] == "backfill"}
        try:
            return {night: _follow(api, supervisor, night, run_ids.get(night)) for night in map(str, nights)}
        except BaseException:
            api.cancel_backfill(backfill["id"])  # else its runs wait for the next Airflow of this home
            raise


def _create(api: AirflowClient, nights: Sequence[date], conf: Mapping[str, Any], reprocess: str) -> Any:
    """Create the backfill. Airflow notices the end of an earlier one only after up to 30 seconds.

    Raises:
        InputError: an earlier backfill still runs.
    """
    deadline = time.monotonic() + COMPLETION_SECONDS
    while True:
        try:
            return api.create_backfill(DAG_ID, nights, conf, reprocess)
        except requests.HTTPError as error:
            if error.response.status_code != HTTPStatus.CONFLICT:
                raise
        if time.monotonic() > deadline:
            raise InputError(f"another backfill of {DAG_ID} runs; wait for its end, or cancel it in Airflow")
        time.sleep(2)


def _follow(api: AirflowClient, supervisor: Supervisor, night: str, run_id: str | None) -> str:
    """Wait for the end of the run of a night and return its state in words."""
    if run_id is None:
        return "skipped: it ran before, and force is off"
    print(f"backfill: night {night} is the run {run_id}", file=sys.stderr)
    state = watch_run(api, supervisor, DAG_ID, run_id, timeout=float("inf"))
    failure = run_outcome.find_failure(api, DAG_ID, run_id) if state == "failed" else None
    return f"{state}: {failure.reason}" if failure else state


@contextmanager
def _unpaused(api: AirflowClient) -> Iterator[None]:
    """Unpause the DAG, because the runs of a paused DAG stay queued. Pause it again if it was paused."""
    was_paused = api.is_paused(DAG_ID)
    api.set_paused(DAG_ID, False)
    try:
        yield
    finally:
        if was_paused:
            api.set_paused(DAG_ID, True)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ops.backfill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--from", dest="first", required=True, metavar="YYYY-MM-DD", help="the first night")
    parser.add_argument("--to", dest="last", required=True, metavar="YYYY-MM-DD", help="the last night")
    parser.add_argument(
        "--model",
        choices=("newest", "all"),
        default="newest",
        help="which nights run their model half (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="run nights again that succeeded before")
    return parser


if __name__ == "__main__":
    sys.exit(main())
