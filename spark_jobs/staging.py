"""Write Spark DataFrames as Parquet files that `Lake.commit` can add."""

from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from core.tables import TableSpec
from lake.client import Lake


def stage_parquet(lake: Lake, spec: TableSpec, rows: DataFrame, order: list[str]) -> list[Path]:
    """Write rows as Parquet files into a staging folder. Readers see them only after the commit.

    Args:
        lake: the lake.
        spec: the table.
        rows: rows with the table's columns; each file gets the rows of one `day`.
        order: columns by which a file is sorted.

    Returns:
        The paths of the files.
    """
    folder = lake.create_staging_folder(spec.name)
    typed_rows = rows.select(*[F.col(f.name).cast(f.dataType) for f in spec.spark_schema()])
    day_by_day = typed_rows.withColumn("folder", F.col("day")).sortWithinPartitions("folder", *order)
    day_by_day.write.partitionBy("folder").mode("append").parquet(str(folder))
    return sorted(folder.glob("folder=*/*.parquet"))
