"""The Spark session, local by default. How much of the machine it may have comes from the environment."""

import os
import shutil
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from contracts.errors import InputError


def session(name: str) -> SparkSession:
    """The session of a step (UNDERCURRENT_SPARK_MASTER, UNDERCURRENT_SPARK_MEMORY).

    Raises:
        InputError: there is no Java to run Spark with.
    """
    _need_java()
    os.environ["PYSPARK_PYTHON"] = sys.executable  # or workers take whatever python3 is on the PATH
    cores = os.cpu_count() or 1
    builder = (
        SparkSession.builder.appName(f"undercurrent-{name}")
        .master(os.environ.get("UNDERCURRENT_SPARK_MASTER", "local[*]"))
        .config("spark.driver.memory", os.environ.get("UNDERCURRENT_SPARK_MEMORY", "2g"))
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")  # what Iceberg reads
        .config("spark.sql.shuffle.partitions", str(2 * cores))
        .config("spark.sql.adaptive.enabled", "true")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "true" if sys.stderr.isatty() else "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
    )
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def _need_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if (home and (Path(home) / "bin" / "java").exists()) or shutil.which("java"):
        return
    raise InputError(
        "Java is missing: Spark needs Java 17 on the PATH or in JAVA_HOME; "
        "run `make setup`, or `apt-get install openjdk-17-jre-headless`"
    )
