"""From a Spark DataFrame to Parquet files that `Lake.commit` can add."""

from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from contracts.lake import Lake
from contracts.tables import TableSpec


def stage(lake: Lake, spec: TableSpec, rows: DataFrame, order: list[str]) -> list[Path]:
    """Write rows as Parquet beside the table, one day a file; nothing is visible until the commit."""
    folder = lake.staging(spec.name)
    shaped = rows.select(*[F.col(f.name).cast(f.dataType) for f in spec.spark_schema()])
    day_by_day = shaped.withColumn("folder", F.col("day")).sortWithinPartitions("folder", *order)
    day_by_day.write.partitionBy("folder").mode("append").parquet(str(folder))
    return sorted(folder.glob("folder=*/*.parquet"))
