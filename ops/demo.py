"""`make demo`: five simulated nights through a real Airflow, and what became of each.

The demo world is made, Airflow is started, and the nights are triggered one after the other. The fourth
night's input is poisoned first (half of its events lose their user), then mended and run again. What a night
ends in is decided by the data and the gate; this only watches, and fails when a night ends in a fault.
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

from contracts import params as parameters
from contracts import place
from contracts.errors import DONE, FAILED, REFUSED_INPUT, InputError
from contracts.params import World
from ops import airflow_home, components, outcome, ports
from ops.airflow_api import AirflowApi
from ops.follow import follow
from ops.outcome import FaultError, Row
from ops.ports import LOOPBACK
from ops.supervisor import ComponentDiedError, Supervisor

DAG = "nightly"
POISONED = 4  # which night, from 1
MARK = "MADE_BY_DEMO.txt"
SHORT_JOBS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # for Spark jobs of seconds: start sooner
ELSEWHERE = (  # settings that would take the demo out of its own home
    "MLFLOW_TRACKING_URI",
    "UNDERCURRENT_CATALOG_URI",
    "UNDERCURRENT_LANDING",
    "UNDERCURRENT_MODEL",
    "UNDERCURRENT_RECORD",
    "UNDERCURRENT_RECORD_REMOTE",
    "UNDERCURRENT_WAREHOUSE",
)


@dataclass(frozen=True)
class Turn:
    """One run of the demo: a night, what its input is like, and what is done to the world to make it so."""

    night: date
    note: str
    before: str | None = None  # a subcommand of `python -m world`


def main() -> int:
    """Play the demo; the table goes to stdout, the progress to stderr."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(play())
    except InputError as error:
        print(f"demo: refused: {place.without_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    except (FaultError, ComponentDiedError, TimeoutError, subprocess.CalledProcessError) as error:
        print(f"demo: {place.without_credentials(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return FAILED
    return DONE


def play() -> str:
    """Make the world, run the nights; returns the table.

    Raises:
        InputError: a port is in use, or the home holds something that is not the demo's.
        FaultError: a night ended in a fault.
    """
    started, where = time.monotonic(), ports.from_environment()
    ports.require_free("airflow", where.airflow)
    plan = turns(parameters.load(place.PROJECT / "params.yaml").world)
    for name in ELSEWHERE:
        if os.environ.pop(name, None):
            _say(f"{name} is left aside: the demo keeps to its own home")
    make_fresh(place.home_path())
    os.environ.setdefault("JDK_JAVA_OPTIONS", SHORT_JOBS)
    _say("making the demo world: its audience, its logs, its videos (a minute or two)")
    _world("make")
    nights = time.monotonic()
    rows = _run_nights(plan, where.airflow)
    ended = time.monotonic()
    took = f"{(ended - started) / 60:.1f} minutes, of which the nights {(ended - nights) / 60:.1f}"
    return "\n\n".join([outcome.table(rows), f"{len(rows)} runs in {took}", _where_to_look(plan[-1].night)])


def turns(world: World) -> list[Turn]:
    """The runs in order: every simulated night, the poisoned one twice."""
    first = place.parse_day(world.first_day, "params.yaml: world.first_day")
    plan = []
    for number in range(1, world.nights + 1):
        night = first + timedelta(world.history_days + number - 1)
        if number == POISONED:
            plan += [Turn(night, "poisoned", "poison"), Turn(night, "mended", "mend")]
        else:
            plan.append(Turn(night, "as it came"))
    return plan


def make_fresh(home: Path) -> None:
    """Make an empty home with our mark; a home of an earlier demo is emptied, any other is left alone.

    Raises:
        InputError: the home holds something that no demo made.
    """
    if home.exists() and any(home.iterdir()):
        if not (home / MARK).exists():
            raise InputError(
                f"{home} is not empty, and no demo made it (it has no {MARK}); move it away, "
                "or point UNDERCURRENT_HOME at a new folder"
            )
        _say(f"removing what an earlier demo left in {home}")
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / MARK).write_text("Made by `make demo`, which empties this folder when it starts.\n")


def _run_nights(plan: list[Turn], port: int) -> list[Row]:
    """Start Airflow, play every turn, end Airflow."""
    _say("preparing Airflow's database (some 10 s)")
    environment = airflow_home.environment(port)
    logs = airflow_home.folder() / "components"
    airflow_home.prepare(environment, logs / "prepare.log")
    address, password = f"http://{LOOPBACK}:{port}", airflow_home.password()
    api = AirflowApi(address, airflow_home.USER, password)
    _say("starting Airflow: API server, scheduler, DAG processor (some 20 s)")
    with Supervisor(components.airflow_parts(environment, port), logs) as supervisor:
        supervisor.wait_for(api.healthy, "Airflow", patience=180)
        api.log_in()
        supervisor.wait_for(lambda: api.knows(DAG), f"the DAG {DAG}", patience=120)
        api.pause(DAG, False)
        _say(f"to watch along: {address}/dags/{DAG} (user {airflow_home.USER}, password {password})")
        rows = [_play_turn(api, supervisor, number, turn) for number, turn in enumerate(plan, 1)]
        api.pause(DAG, True)
    return rows


def _play_turn(api: AirflowApi, supervisor: Supervisor, number: int, turn: Turn) -> Row:
    """Trigger one run, wait for it, and say what became of it: a row of the table."""
    if turn.before:
        _world(turn.before, "--night", str(turn.night))
    night, before, started = str(turn.night), outcome.champion(), time.monotonic()
    _say(f"night {night}, {turn.note}")
    run = f"demo-{number}-{night}"
    api.trigger(DAG, run, {"night": night})
    follow(api, supervisor, DAG, run)
    ended = outcome.of_run(api, DAG, run, place.home() / "nights" / night)
    return Row(night, turn.note, before, ended, time.monotonic() - started)


def _world(*arguments: str) -> None:
    """A command of the demo world; its words go to the screen."""
    command = [sys.executable, "-m", "world", *arguments]
    home = {"UNDERCURRENT_HOME": str(place.home())}
    subprocess.run(command, cwd=place.PROJECT, env=os.environ | home, check=True, stdout=sys.stderr)


def _where_to_look(night: date) -> str:
    home = place.home()
    return (
        f"the night's report   {home / 'nights' / str(night) / 'report' / 'report.html'}\n"
        f"data docs            {home / 'data_docs' / 'index.html'}\n"
        f"record of the nights {place.record()} (git tag, git log)\n"
        "web pages            make up"
    )


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
