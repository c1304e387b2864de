"""The Spark session, local by default. The environment sets its cores and memory."""

import os
import shutil
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from core.errors import InputError


def spark_session(name: str) -> SparkSession:
    """Return the Spark session of a step (UNDERCURRENT_SPARK_MASTER, UNDERCURRENT_SPARK_MEMORY).

    Raises:
        InputError: Java is missing.
    """
    _require_java()
    os.environ["PYSPARK_PYTHON"] = sys.executable  # else workers run the python3 on the PATH
    cores = os.cpu_count() or 1
    builder = (
        SparkSession.builder.appName(f"undercurrent-{name}")
        .master(os.environ.get("UNDERCURRENT_SPARK_MASTER", "local[*]"))
        .config("spark.driver.memory", os.environ.get("UNDERCURRENT_SPARK_MEMORY", "2g"))
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")  # Iceberg reads no other type
        .config("spark.sql.shuffle.partitions", str(2 * cores))
        .config("spark.sql.adaptive.enabled", "true")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.executorEnv.POLARS_MAX_THREADS", "1")  # a task has one core
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "true" if sys.stderr.isatty() else "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
    )
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if (home and (Path(home) / "bin" / "java").exists()) or shutil.which("java"):
        return
    raise InputError(
        "Java is missing: Spark needs Java 17 on the PATH or in JAVA_HOME; "
        "run `make setup`, or `apt-get install openjdk-17-jre-headless`"
    )
