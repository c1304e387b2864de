"""The Spark context, local by default. The environment sets its cores and memory.

Most steps only schedule tasks, so they do not start the SQL engine. `spark_session` adds it.
"""

import os
import shutil
import sys
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from core.errors import InputError

# The JVM runs for seconds and handles few rows: compiling its code thoroughly costs more than it saves.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def spark_context(name: str) -> SparkContext:
    """Return the Spark context of a step (UNDERCURRENT_SPARK_MASTER, UNDERCURRENT_SPARK_MEMORY).

    Raises:
        InputError: Java is missing.
    """
    _require_java()
    os.environ["PYSPARK_PYTHON"] = sys.executable  # else workers run the python3 on the PATH
    settings = {
        "spark.app.name": f"undercurrent-{name}",
        "spark.master": os.environ.get("UNDERCURRENT_SPARK_MASTER", "local[*]"),
        "spark.driver.memory": os.environ.get("UNDERCURRENT_SPARK_MEMORY", "2g"),
        "spark.driver.extraJavaOptions": JVM_OPTIONS,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.executorEnv.POLARS_MAX_THREADS": "1",  # a task has one core
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "true" if sys.stderr.isatty() else "false",
    }
    context = SparkContext.getOrCreate(SparkConf().setAll(list(settings.items())))
    context.setLogLevel("ERROR")
    return context


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
