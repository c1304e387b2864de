"""`make demo`: run five simulated nights in Airflow and print the outcome of each.

The demo simulates a platform, starts Airflow and runs the nights one after the other. It corrupts the input
of the fourth night (half of its events lose their user), then repairs it and runs the night again. The data
checks and the gate decide the outcome of a night. The demo fails if a night fails for any other reason.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from core import config as parameters
from core import paths
from core.config import SimulatorConfig
from core.errors import DONE, FAILED, REFUSED_INPUT, InputError
from ops import airflow_home, airflow_server, ports, process_group, run_outcome, up_lock
from ops.airflow_api import AirflowClient
from ops.airflow_server import DAG_ID
from ops.ports import LOOPBACK
from ops.run_outcome import OutcomeRow
from ops.supervisor import Supervisor
from ops.watch_run import watch_run

CORRUPTED_NIGHT = 4  # number of the night, from 1
MARKER_FILE = "MADE_BY_DEMO.txt"
COLUMN_NOTES = """\
gate      promoted: this night's model becomes the champion; refused: the champion stays
champion  its version in MLflow before -> after the run
NDCG      on the test day, full ranking; the challenger is this night's model"""
# Variables that would let the demo read or write outside its home.
OVERRIDING_VARIABLES = (
    "AIRFLOW__CORE__EXECUTOR",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "MLFLOW_TRACKING_URI",
    "UNDERCURRENT_CATALOG_URI",
    "UNDERCURRENT_LOCK_DATABASE",
    "UNDERCURRENT_LANDING",
    "UNDERCURRENT_MODEL",
    "UNDERCURRENT_PARAMS",
    "UNDERCURRENT_RECORD",
    "UNDERCURRENT_RECORD_REMOTE",
    "UNDERCURRENT_WAREHOUSE",
)


@dataclass(frozen=True)
class DemoRun:
    """One run of the demo.

    Attributes:
        night: the night to run.
        input_state: unchanged, corrupted or repaired.
        simulator_command: subcommand of `python -m simulator` that is run first, None for none.
    """

    night: date
    input_state: str
    simulator_command: str | None = None


def main() -> int:
    """Run the demo. The table goes to stdout, the progress to stderr.

    Returns:
        the exit code.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(run_demo())
    except InputError as error:
        print(f"demo: refused: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:  # a dead server, a full disk
        print(f"demo: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return FAILED
    return DONE


def run_demo() -> str:
    """Simulate the platform and run the nights.

    Returns:
        the table of outcomes, the duration and where to look next.

    Raises:
        InputError: Airflow runs in the home, a port is in use, or the home holds files that no demo made.
        UnexpectedFailureError: a night failed, and the data checks did not block it.
    """
    started, server_ports = time.monotonic(), ports.from_environment()
    up_lock.require_free()  # before the port, which the other Airflow uses
    ports.require_free("airflow", server_ports.airflow)
    plan = plan_runs(parameters.load_params(paths.PROJECT_ROOT / "params.yaml").simulator)
    _ignore_overriding_variables()
    _require_demo_home(paths.unchecked_home())  # before the lock writes a file there
    with up_lock.hold():
        reset_home(paths.unchecked_home())
        _log("simulating users, logs and videos (1 to 2 minutes)")
        _run_simulator("make")
        nights_started = time.monotonic()
        rows = _run_nights(plan, server_ports.airflow)
    ended = time.monotonic()
    total_minutes, night_minutes = (ended - started) / 60, (ended - nights_started) / 60
    duration = f"Total time: {total_minutes:.1f} minutes ({len(rows)} runs: {night_minutes:.1f} minutes)"
    return "\n\n".join(
        [run_outcome.format_table(rows), COLUMN_NOTES, duration, _format_locations(plan[-1].night)]
    )


def plan_runs(config: SimulatorConfig) -> list[DemoRun]:
    """Return the runs in order: each simulated night once, the corrupted one again after its repair."""
    first_day = paths.parse_day(config.first_day, "params.yaml: simulator.first_day")
    runs = []
    for number in range(1, config.nights + 1):
        night = first_day + timedelta(config.history_days + number - 1)
        if number == CORRUPTED_NIGHT:
            runs += [DemoRun(night, "corrupted", "corrupt"), DemoRun(night, "repaired", "repair")]
        else:
            runs.append(DemoRun(night, "unchanged"))
    return runs


def _ignore_overriding_variables() -> None:
    for name in OVERRIDING_VARIABLES:
        if os.environ.pop(name, None):
            _log(f"ignoring {name}: the demo uses only its own home")


def reset_home(home: Path) -> None:
    """Make an empty home and mark it as the demo's. The home of an earlier demo is emptied.

    The lock file stays, because this demo holds it.

    Raises:
        InputError: the home holds files that no demo made. It stays unchanged.
    """
    _require_demo_home(home)
    # The marker stays, too. Else a demo that is killed here would leave a home that the next one refuses.
    if earlier := [path for path in _entries(home) if path.name != MARKER_FILE]:
        _log(f"deleting the files of an earlier demo in {home}")
    for path in earlier:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    home.mkdir(parents=True, exist_ok=True)
    (home / MARKER_FILE).write_text("`make demo` made this folder and empties it at each start.\n")


def _require_demo_home(home: Path) -> None:
    """Check that a home is empty or was made by a demo.

    Raises:
        InputError: it holds other files.
    """
    if _entries(home) and not (home / MARKER_FILE).exists():
        raise InputError(
            f"{home} is not empty, and no demo made it (it has no {MARKER_FILE}); move it away, "
            "or point UNDERCURRENT_HOME at a new folder"
        )


def _entries(home: Path) -> list[Path]:
    """Return what a home holds besides the lock file."""
    lock = up_lock.lock_file(home)
    folders = [folder for folder in (home, lock.parent) if folder.is_dir()]
    return [path for folder in folders for path in folder.iterdir() if path not in (lock, lock.parent)]


def _run_nights(plan: list[DemoRun], port: int) -> list[OutcomeRow]:
    """Start Airflow, run every night, stop Airflow."""
    address, password = f"http://{LOOPBACK}:{port}", airflow_home.get_password()
    _log("starting Airflow: API server, scheduler, DAG processor (about 30 s)")
    with airflow_server.start(port) as (api, supervisor):
        api.set_paused(DAG_ID, False)
        _log(f"watch the runs at {address}/dags/{DAG_ID} (user {airflow_home.USER}, password {password})")
        rows = [_run_night(api, supervisor, number, demo_run) for number, demo_run in enumerate(plan, 1)]
        api.set_paused(DAG_ID, True)
    return rows


def _run_night(api: AirflowClient, supervisor: Supervisor, number: int, demo_run: DemoRun) -> OutcomeRow:
    """Trigger one run, wait for its end and return its row of the table."""
    if demo_run.simulator_command:
        _run_simulator(demo_run.simulator_command, "--night", str(demo_run.night))
    night, champion_before, started = str(demo_run.night), run_outcome.champion_version(), time.monotonic()
    _log(f"running night {night} ({demo_run.input_state} input)")
    run_id = f"demo-{number}-{night}"
    api.trigger_run(DAG_ID, run_id, {}, partition_key=night)
    watch_run(api, supervisor, DAG_ID, run_id)
    result = run_outcome.read_outcome(api, DAG_ID, run_id, paths.home() / "nights" / night)
    return OutcomeRow(night, demo_run.input_state, champion_before, result, time.monotonic() - started)


def _run_simulator(*arguments: str) -> None:
    """Run a command of the simulator. Its output goes to stderr."""
    command = [sys.executable, "-m", "simulator", *arguments]
    home = {"UNDERCURRENT_HOME": str(paths.home())}
    process = process_group.start(command, paths.PROJECT_ROOT, os.environ | home, sys.stderr)
    try:
        if exit_code := process.wait():
            raise subprocess.CalledProcessError(exit_code, command)
    finally:
        process_group.stop(process)  # `make down` ends its workers, too


def _format_locations(night: date) -> str:
    home = paths.home()
    return (
        "Where to look next:\n"
        f"  report of the last night  {home / 'nights' / str(night) / 'report' / 'report.html'}\n"
        f"  data docs                 {home / 'data_docs' / 'index.html'}\n"
        f"  record repository         {paths.record()} (try git log, git tag)\n"
        "  web pages                 make up"
    )


def _log(message: str) -> None:
    print(f"demo: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
