"""`make up PROFILE=postgres` and `make down` for real: a tiny night, and a champion in MLflow."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml

from core.errors import DONE, REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT
from ops import postgres_server, profiles, s3_server, serve, spark_cluster
from ops.ports import LOOPBACK, Ports
from ops.profiles import Profile
from tests.ops.test_backfill import SMALL
from tests.support.processes import eventually, free_port

NIGHT = "2026-03-05"
SERVERS = ("AIRFLOW", "MLFLOW", "PAGES", "POSTGRES", "S3", "SPARK")
LENIENT_GATE = {  # two epochs on 46 users beat no baseline
    "min_gain": -1.0,
    "max_slice_loss": 1.0,
    "min_users": 5,
    "max_calibration_error": 1.0,
    "min_modality_entropy_gap": 0.0,
    "max_modality_share": 1.0,
    "max_embedding_drift": 2.0,
}
# What a client does with the variables that `make up` writes for a shell.
CLIENT = """
import json, os, sys, time
import mlflow
from ops import airflow_home, ports, run_outcome
from ops.airflow_api import AirflowClient

night = sys.argv[1]
api = AirflowClient(
    f"http://127.0.0.1:{ports.from_environment().airflow}", airflow_home.USER, airflow_home.get_password()
)
api.log_in()
api.set_paused("nightly", False)
api.trigger_run("nightly", "tiny", {}, partition_key=night)
while (state := api.run_state("nightly", "tiny")) not in ("success", "failed"):
    time.sleep(1)
if state == "failed":
    sys.exit(str(run_outcome.find_failure(api, "nightly", "tiny")))
client = mlflow.MlflowClient()
champion = client.get_model_version_by_alias("undercurrent", "champion")
run = client.get_run(champion.run_id)
model = client.get_model_version_download_uri("undercurrent", champion.version)
files = os.listdir(mlflow.artifacts.download_artifacts(model))
print(json.dumps({"version": champion.version, "night": run.data.tags["night"], "files": files}))
"""
# A tiny night schedules no task, so this does.
SPARK_JOB = """
from spark_jobs.context import spark_context
print(spark_context("profile").parallelize(range(10)).sum())
"""


@pytest.fixture
def home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home that the user of PostgreSQL may enter if this one is root."""
    with tempfile.TemporaryDirectory(prefix="undercurrent-profile-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        monkeypatch.setenv("UNDERCURRENT_HOME", str(folder / "home"))
        yield folder / "home"


@pytest.fixture
def free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server uses the port of another one on this machine."""
    for server in SERVERS:
        monkeypatch.setenv(f"UNDERCURRENT_{server}_PORT", str(free_port()))


@contextmanager
def running(profile: str, home: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run `make up`. It is killed at the end, if it still runs then. No process of the home may be left."""
    process = start(profile, home)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
    assert eventually(lambda: processes_of(home) == []), processes_of(home)


def start(profile: str, home: Path) -> "subprocess.Popen[str]":
    """Start `make up`, and wait until it has printed the addresses."""
    log = home.parent / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.serve", "--profile", profile],
            cwd=PROJECT_ROOT, stdout=output, stderr=output, text=True,
        )  # fmt: skip
    ready = eventually(lambda: process.poll() is not None or "make down" in log.read_text(), 400)
    assert ready, log.read_text()
    assert process.poll() is None, log.read_text()
    return process


def processes_of(home: Path) -> list[psutil.Process]:
    """The processes that have this home in their command or environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            text = " ".join([*process.cmdline(), *process.environ().values()])
            if str(home) in text and process.pid != os.getpid():
                found.append(process)
    return found


def listening_addresses(home: Path) -> set[str]:
    """The addresses that the processes of a home listen on."""
    connections = []
    for process in processes_of(home):
        with suppress(psutil.NoSuchProcess):  # short processes end meanwhile
            connections += process.net_connections("tcp")
    listening = [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN]
    return {address.removeprefix("::ffff:") for address in listening}  # Java writes IPv4 as IPv6


def in_shell(home: Path, program: str, *arguments: str) -> str:
    """Run a Python program with the variables that `make up` wrote, and return what it prints."""
    command = f'. "{home}/profile/environment.sh" && exec "{sys.executable}" -c "$0" "$@"'
    completed = subprocess.run(
        ["bash", "-c", command, program, *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr[-3000:]
    return completed.stdout


def make_down() -> int:
    return subprocess.run([sys.executable, "-m", "ops.down"], cwd=PROJECT_ROOT).returncode


@pytest.mark.skipif(
    not shutil.which("initdb") and not postgres_server.DEBIAN_PROGRAMS.exists(), reason="no PostgreSQL"
)
@pytest.mark.timeout(900)
def test_a_night_runs_on_postgres_and_s3_and_make_down_ends_every_process(
    home: Path, free_ports: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text())
    for section, values in (SMALL | {"gate": LENIENT_GATE}).items():
        params[section] |= values
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.setenv("UNDERCURRENT_PARAMS", str(tmp_path / "params.yaml"))
    simulate = [sys.executable, "-m", "simulator", "make", "--params", str(tmp_path / "params.yaml")]
    subprocess.run(simulate, cwd=PROJECT_ROOT, check=True)
    with running("postgres", home) as process:
        champion = json.loads(in_shell(home, CLIENT, NIGHT).splitlines()[-1])
        assert champion["night"] == NIGHT
        assert "MLmodel" in champion["files"]
        assert not list((home / "mlflow").rglob("MLmodel"))  # artifacts are on S3
        assert not list(home.rglob("*.db"))  # no database is a file
        assert in_shell(home, SPARK_JOB).split() == ["45"]
        assert list((home / "spark").glob("app-*"))  # the worker ran its tasks
        assert listening_addresses(home) == {LOOPBACK}
        assert make_down() == DONE
        assert process.wait(30) == DONE


def test_make_down_ends_the_default_profile(home: Path, free_ports: None) -> None:
    with running("default", home) as process:
        assert listening_addresses(home) == {LOOPBACK}
        assert make_down() == DONE
        assert process.wait(30) == DONE


def test_a_profile_that_does_not_exist_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["--profile", "mysql"]) == REFUSED_INPUT
    assert capsys.readouterr().err == "up: refused: PROFILE is 'mysql'; write one of: default, postgres\n"
    assert not home.exists()


def test_a_variable_that_contradicts_the_profile_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERCURRENT_WAREHOUSE", "s3://elsewhere/lake")
    with pytest.raises(InputError, match="UNDERCURRENT_WAREHOUSE is set, but PROFILE=postgres"):
        profiles.postgres_variables(Ports())


def test_passwords_are_generated_once_and_kept_in_private_files(home: Path) -> None:
    first, again = profiles.postgres_variables(Ports()), profiles.postgres_variables(Ports())
    assert first == again
    profile = Profile(variables=first)
    text = profiles.write_environment(profile).read_text()
    assert f"export AWS_SECRET_ACCESS_KEY={first['AWS_SECRET_ACCESS_KEY']}\n" in text
    modes = {path.name: path.stat().st_mode & 0o077 for path in (home / "profile").rglob("*")}
    assert len(modes) >= 4
    assert not any(modes.values())


def test_every_server_of_the_profile_listens_on_loopback_only(home: Path) -> None:
    commands = [
        *(postgres_server.component(5433).command, s3_server.component(8333).command),
        *(spark_cluster.master(7077).command, spark_cluster.worker(7077, {}).command),
    ]
    assert all(any(LOOPBACK in word for word in command) for command in commands)
    assert not any("0.0.0.0" in word for command in commands for word in command)
