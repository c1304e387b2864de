"""The tables of a night for SQL queries: in this process if they are small, on Spark if they are large.

A suite selects its rows by one query that both dialects understand. Great Expectations checks pandas rows and
Spark rows with the same expectations. So the results do not depend on where they were computed.

Starting Spark takes longer than checking a small night. A large night does not fit into one process.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from core.storage import arrow_source, file_path, is_local, total_bytes
from core.tables import TABLES

MAX_BYTES_IN_PROCESS = 16 * 2**20  # of the Parquet files; their rows in pandas take up to a GiB

# Arrow types keep whole numbers whole and tell NaN from a missing value, as Spark does.
PANDAS_TYPES = {kind: pd.ArrowDtype(kind) for kind in (pa.int32(), pa.int64(), pa.float64())}


class NightTables:
    """The tables of a night.

    Args:
        files: table -> paths of its Parquet files.
        start_spark: returns the Spark session. It is called only if a query needs Spark.
        max_bytes_in_process: a query that reads larger files runs on Spark.
    """

    def __init__(
        self,
        files: Mapping[str, Sequence[str]],
        start_spark: Callable[[], SparkSession],
        max_bytes_in_process: int = MAX_BYTES_IN_PROCESS,
    ) -> None:
        self._files = files
        self._start_spark = start_spark
        self._max_bytes_in_process = max_bytes_in_process

    def select(self, query: str, tables: Collection[str]) -> pd.DataFrame | DataFrame:
        """Return the rows of an SQL query.

        Args:
            query: the query, in the common dialect of polars and Spark.
            tables: the tables that it reads.

        Returns:
            pandas rows if the files are small, else Spark rows.
        """
        files = {name: self._files[name] for name in tables}
        if sum(map(total_bytes, files.values())) <= self._max_bytes_in_process:
            return _select_in_process(query, files)
        return _select_on_spark(query, files, self._start_spark())


def _select_in_process(query: str, files: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    views = {name: _scan(name, paths) for name, paths in files.items()}
    rows = pl.SQLContext(views, eager=False).execute(query).collect()
    return rows.to_arrow().to_pandas(types_mapper=PANDAS_TYPES.get)


def _scan(name: str, paths: Sequence[str]) -> pl.LazyFrame:
    return pl.scan_parquet(list(paths)) if paths else pl.LazyFrame(TABLES[name].schema.empty_table())


def _select_on_spark(query: str, files: Mapping[str, Sequence[str]], spark: SparkSession) -> DataFrame:
    for name, paths in files.items():
        _read_on_spark(name, paths, spark).createOrReplaceTempView(name)
    return spark.sql(query.replace("ARRAY_LENGTH(", "ARRAY_SIZE("))  # Spark's name for it


def _read_on_spark(name: str, paths: Sequence[str], spark: SparkSession) -> DataFrame:
    schema = TABLES[name].spark_schema()
    if not paths:
        return spark.createDataFrame([], schema)
    if is_local(file_path(paths[0])):
        return spark.read.schema(schema).parquet(*paths)
    # Spark itself needs further jars for S3. So its tasks read the files by Arrow.
    addresses = spark.createDataFrame([(path,) for path in paths], "path string").repartition(len(paths))
    return addresses.mapInArrow(_read_files, schema)


def _read_files(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for path in batch["path"].to_pylist():
            yield from pq.ParquetFile(arrow_source(file_path(path))).iter_batches()
