"""The Spark context: local by default, or on a cluster that the environment names.

Most steps only schedule tasks, so they do not start the SQL engine. `spark_session` adds it.

The workers of a cluster need the same Python environment, but no code of the project: the driver sends it.
Between driver and workers are only Spark's connections and the storage of the tables.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from core.errors import InputError, ServiceUnavailableError
from core.paths import PROJECT_ROOT

# The JVM runs for seconds and handles few rows: compiling its code thoroughly costs more than it saves.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
LOOPBACK = "127.0.0.1"
JVM_END_SECONDS = 1.0  # from the last answer of a JVM that is killed to its end
TASK_PACKAGES = ("core", "lake", "spark_jobs")  # packages whose functions run in tasks


def spark_context(name: str) -> SparkContext:
    """Return the Spark context of a step.

    These variables set it. Spark reads all else from `spark-defaults.conf` in SPARK_CONF_DIR.

    - UNDERCURRENT_SPARK_MASTER: the master, by default `local[*]`.
    - UNDERCURRENT_SPARK_MEMORY: the memory of the driver's JVM, by default `2g`.
    - UNDERCURRENT_SPARK_PYTHON: the Python program of the workers, by default the path of this one.
    - UNDERCURRENT_SPARK_DRIVER_HOST: the address of the driver for the workers of a cluster, by default
      the one that Spark finds.

    Raises:
        InputError: Java is missing.
    """
    _require_java()
    # Else workers run the python3 on their PATH.
    os.environ["PYSPARK_PYTHON"] = os.environ.get("UNDERCURRENT_SPARK_PYTHON") or sys.executable
    master = os.environ.get("UNDERCURRENT_SPARK_MASTER", "local[*]")
    is_local = master.startswith("local")
    settings = {
        "spark.app.name": f"undercurrent-{name}",
        "spark.master": master,
        "spark.driver.memory": os.environ.get("UNDERCURRENT_SPARK_MEMORY", "2g"),
        "spark.driver.extraJavaOptions": JVM_OPTIONS,
        "spark.executorEnv.POLARS_MAX_THREADS": "1",  # a task has one core
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "true" if sys.stderr.isatty() else "false",
        **(_local_address() if is_local else _cluster_address()),
    }
    context = SparkContext.getOrCreate(SparkConf().setAll(list(settings.items())))
    context.setLogLevel("ERROR")
    if not is_local:
        _send_code(context)
    return context


@contextmanager
def explained_jvm_errors() -> Iterator[None]:
    """Turn an error of a block into one sentence if it has ended because Spark's JVM has ended.

    Py4J reports such an end by many errors, for example as a refused connection.

    Raises:
        ServiceUnavailableError: The JVM has ended.
    """
    try:
        yield
    except Exception as error:
        if not _jvm_has_ended(error):
            raise
        raise ServiceUnavailableError(
            "Spark's JVM has ended, perhaps because the machine had no memory left; run the step again, or"
            " set UNDERCURRENT_SPARK_MEMORY to less than this machine has"
        ) from error


def _jvm_has_ended(error: Exception) -> bool:
    gateway = SparkContext._gateway
    if gateway is None:
        return isinstance(error, PySparkRuntimeError) and error.getCondition() == "JAVA_GATEWAY_EXITED"
    try:
        gateway.proc.wait(JVM_END_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _local_address() -> dict[str, str]:
    return {"spark.driver.bindAddress": LOOPBACK, "spark.driver.host": LOOPBACK}


def _cluster_address() -> dict[str, str]:
    """Return the addresses of the driver: where it listens, and where the workers reach it."""
    host = os.environ.get("UNDERCURRENT_SPARK_DRIVER_HOST")
    listen = LOOPBACK if host == LOOPBACK else "0.0.0.0"  # a cluster of one machine needs no other address
    return {"spark.driver.bindAddress": listen, **({"spark.driver.host": host} if host else {})}


def _send_code(context: SparkContext) -> None:
    """Send the code that tasks run to the workers. It comes before code that is installed there."""
    folder = tempfile.mkdtemp(prefix="undercurrent-tasks-")  # the driver serves the file until its end
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    archive = Path(folder) / "undercurrent_tasks.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for package in TASK_PACKAGES:
            for path in sorted((PROJECT_ROOT / package).rglob("*.py")):
                file.write(path, path.relative_to(PROJECT_ROOT))
    context.addPyFile(str(archive))


def spark_session(name: str) -> SparkSession:
    """Return a session of the SQL engine on the Spark context of a step.

    Raises:
        InputError: Java is missing.
    """
    spark_context(name)
    builder = SparkSession.builder.config("spark.sql.session.timeZone", "UTC")
    return builder.config("spark.sql.shuffle.partitions", str(2 * (os.cpu_count() or 1))).getOrCreate()


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if (home and (Path(home) / "bin" / "java").exists()) or shutil.which("java"):
        return
    raise InputError(
        "Java is missing: Spark needs Java 17 on the PATH or in JAVA_HOME; "
        "run `make setup`, or `apt-get install openjdk-17-jre-headless`"
    )
