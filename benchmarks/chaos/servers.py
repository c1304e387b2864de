"""The servers of `make up PROFILE=postgres` that steps need, each of which can be stopped and started again.

Steps reach S3 through a proxy, which stands for the network.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from subprocess import Popen

import sqlalchemy

from core.paths import PROJECT_ROOT
from ops import components, ports, postgres_server, process_group, profiles, s3_server, spark_cluster
from ops.ports import Ports
from ops.supervisor import Component

POSTGRES, S3, NETWORK, MLFLOW = "postgres", "s3", "network", "mlflow"
POLL_SECONDS, START_SECONDS = 0.1, 240.0
LOG_CHARS = 2000  # of the end of a log that an error shows
# After a kill, SeaweedFS waits up to twice this long before it answers. Its default is 10 s.
FAST_ELECTION = "-master.electionTimeout=1s"


class Server:
    """A server that runs while its context is open.

    Args:
        component: its process.
        is_ready: whether it answers.
        stop_signal: ends it at once. PostgreSQL needs SIGQUIT to end all of its processes.
        log: file for its output.
    """

    def __init__(
        self,
        component: Component,
        is_ready: Callable[[], bool],
        log: Path,
        stop_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._component, self._is_ready = component, is_ready
        self._log, self._stop_signal = log, stop_signal
        self._process: Popen[str] | None = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def process_id(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server if it does not run, and wait until it answers.

        Raises:
            TimeoutError: it does not answer.
        """
        if self._process is None:
            with self._log.open("a") as log:
                command, environment = self._component.command, self._component.environment
                self._process = process_group.start(command, PROJECT_ROOT, environment, log)
        until = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if time.monotonic() > until:
                log_end = self._log.read_text(errors="replace")[-LOG_CHARS:]
                raise TimeoutError(f"{self._component.name} does not answer:\n{log_end}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End the server as a crash does."""
        self._signal(self._stop_signal)
        if self._process:
            self._process.wait()
        self._process = None

    def stall(self) -> None:
        """Let it answer nothing until `resume`. Its connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)


@dataclass(frozen=True)
class Servers:
    """The running servers.

    Attributes:
        by_name: name -> server.
        variables: settings that lead a step to them.
        database: SQLAlchemy address of a database, to create others.
    """

    by_name: Mapping[str, Server]
    variables: Mapping[str, str]
    database: str

    def variables_of(self, home: str) -> dict[str, str]:
        """Create a catalog for a home, and return the settings of its steps. It shares nothing with others.

        Args:
            home: name of the home.
        """
        engine = sqlalchemy.create_engine(self.database, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f'CREATE DATABASE "{home}"'))
        engine.dispose()
        return {
            **self.variables,
            "UNDERCURRENT_CATALOG_URI": f"{self.database.rpartition('/')[0]}/{home}",
            "UNDERCURRENT_WAREHOUSE": f"s3://{s3_server.BUCKET}/{home}/lake",
            "UNDERCURRENT_LANDING": f"s3://{s3_server.BUCKET}/{home}/landing",
            "UNDERCURRENT_MODEL": home,
        }


@contextmanager
def run_servers(folder: Path) -> Iterator[Servers]:
    """Run PostgreSQL, S3, MLflow and the proxy.

    Args:
        folder: where they keep their files. Every user must be able to enter it.
    """
    os.environ["UNDERCURRENT_HOME"] = str(folder)  # where the servers of `make up` keep their files
    mlflow, postgres, s3, network, unused = ports.find_free(5)
    used = Ports(mlflow=mlflow, postgres=postgres, s3=network, spark=unused)
    postgres_server.initialise()
    # A step gets the servers' addresses, but no setting of Airflow or of a Spark cluster.
    settings = {
        name: text
        for name, text in profiles.postgres_variables(used).items()
        if not name.startswith("AIRFLOW__") and name not in spark_cluster.variables(unused)
    }
    proxy = (sys.executable, "-m", "benchmarks.chaos.tcp_proxy", str(s3), str(network))
    database = {"MLFLOW_TRACKING_URI": postgres_server.address(postgres, "mlflow")}
    artifacts = f"s3://{s3_server.BUCKET}/mlflow"
    with ExitStack() as stack:
        by_name: dict[str, Server] = {}

        def run(
            component: Component,
            is_ready: Callable[[], bool],
            stop_signal: signal.Signals = signal.SIGKILL,
        ) -> None:
            checked = partial(_with_home, folder, is_ready)
            server = Server(component, checked, folder / f"{component.name}.log", stop_signal)
            by_name[component.name] = stack.enter_context(server)

        run(postgres_server.component(postgres), partial(postgres_server.is_ready, postgres), signal.SIGQUIT)
        postgres_server.create_databases(postgres)
        store = s3_server.component(s3)
        store = replace(store, command=[*store.command, FAST_ELECTION])
        run(store, partial(s3_server.is_ready, s3))
        run(Component(NETWORK, proxy, dict(os.environ)), partial(spark_cluster.is_listening, network))
        run(
            components.mlflow_web(used, settings | database, artifacts),
            partial(spark_cluster.is_listening, mlflow),
        )
        yield Servers(by_name, settings, postgres_server.address(postgres, "postgres"))


def _with_home(folder: Path, is_ready: Callable[[], bool]) -> bool:
    """Ask whether a server answers, with the logins of its own home and not those of the present one."""
    present_home = os.environ["UNDERCURRENT_HOME"]
    os.environ["UNDERCURRENT_HOME"] = str(folder)
    try:
        return is_ready()
    finally:
        os.environ["UNDERCURRENT_HOME"] = present_home
