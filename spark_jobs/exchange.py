"""Exchange rows between tasks by user. Spark schedules the tasks of large inputs, and polars does their work.

A step that needs all rows of a user together runs in two stages. In stage one, each task reads one file,
applies a kernel, and splits the rows into buckets by a hash of the user. In stage two, each task reads one
bucket. So the memory of a task is bounded by a batch in stage one, and by a bucket in stage two.

Tasks hand over paths and counts only. Rows stay in Arrow IPC files below one folder, which all workers must
see: on a shared disk or on S3. It lies in the folder of a table, where maintenance removes what a killed run
left. A task that Spark repeats writes the same files again.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import polars as pl

from core.errors import InputError, ServiceUnavailableError
from core.storage import StoragePath, create_folder, delete_folder, is_local, list_folder, total_bytes

if TYPE_CHECKING:
    from pyspark import SparkContext

Kernel = Callable[[pl.DataFrame], pl.DataFrame]
Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH_ROWS = 1 << 20  # rows of a file that a task holds at a time, some 200 MiB of events
BUCKET_BYTES = 64 << 20  # Parquet input of a bucket, some 2.5 million events that take 1.6 GiB in a task
MAX_FILES_PER_BUCKET = 4  # of small inputs that are split by user already
MAX_BYTES_IN_PROCESS = 2 * BUCKET_BYTES  # below, a JVM takes longer to start than this process to do the work


@dataclass(frozen=True)
class TaskScheduler:
    """Runs the tasks of a step.

    Attributes:
        spark: runs them in parallel, on one core each. None: they run in this process, one after the other,
            and polars uses all cores for each.
    """

    spark: "SparkContext | None" = None

    @property
    def parallel_tasks(self) -> int:
        """How many tasks run at the same time."""
        return self.spark.defaultParallelism if self.spark else 1

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Apply a function to each item in a task of its own, and return the results in order.

        Raises:
            InputError, ServiceUnavailableError: the first one that a task raised.
        """
        if self.spark is None or not items:
            return [function(item) for item in items]
        results: list[Result] = []
        for outcome in self.spark.parallelize(items, len(items)).map(partial(_outcome, function)).collect():
            if isinstance(outcome, InputError | ServiceUnavailableError):
                raise outcome
            results.append(outcome)
        return results


@contextmanager
def task_scheduler(step: str, paths: Sequence[str]) -> Iterator[TaskScheduler]:
    """Yield a scheduler for the tasks of a step that reads some files. Large files need Spark.

    Args:
        step: the name of the step.
        paths: the Parquet files that its tasks read.

    Raises:
        ServiceUnavailableError: Spark's JVM has ended.
    """
    if total_bytes(paths) <= MAX_BYTES_IN_PROCESS:
        yield TaskScheduler()
        return
    with spark_scheduler(step) as scheduler:
        yield scheduler


@contextmanager
def spark_scheduler(step: str) -> Iterator[TaskScheduler]:
    """Yield a scheduler on Spark for the tasks of a step.

    Raises:
        ServiceUnavailableError: Spark's JVM has ended.
    """
    # Most nights need no Spark, and its import is slow.
    from spark_jobs.context import explained_jvm_errors, spark_context

    with explained_jvm_errors():
        spark = spark_context(step)
        try:
            yield TaskScheduler(spark)
        finally:
            spark.stop()


@contextmanager
def deleted_at_end(folder: StoragePath) -> Iterator[StoragePath]:
    """Delete a folder of exchanged rows at the end of the block."""
    try:
        yield folder
    finally:
        delete_folder(folder)


def count_buckets(scheduler: TaskScheduler, paths: Sequence[str]) -> int:
    """Return the number of buckets for the rows of some files.

    Small inputs take one bucket, so that they end in one file a day. Larger ones keep all cores busy.
    """
    num_bytes = total_bytes(paths)
    if num_bytes <= BUCKET_BYTES:
        return 1
    return max(-(-num_bytes // BUCKET_BYTES), scheduler.parallel_tasks)


def bucket_files(
    scheduler: TaskScheduler, paths: Sequence[str], folder: StoragePath, num_buckets: int
) -> list[str]:
    """Return files that are split by user already, in the order of their buckets, so that they need no split.

    Maintenance and another version of polars can change what a file holds. So its users are looked at.

    Args:
        scheduler: runs the tasks.
        paths: the files.
        folder: the folder of the exchanged rows, which all workers must see.
        num_buckets: the number of buckets that the rows would be split into.

    Returns:
        The file of each bucket. Nothing, if some file does not hold the rows of one bucket, or if the files
        are fewer or many more than `num_buckets`.

    Raises:
        InputError: A worker does not see the folder.
    """
    if not num_buckets <= len(paths) <= MAX_FILES_PER_BUCKET * num_buckets:
        return []
    create_folder(folder)
    buckets = scheduler.run(partial(_buckets_in_file, folder=folder, num_buckets=len(paths)), paths)
    files = {tuple(of_file): path for of_file, path in zip(buckets, paths, strict=True)}
    ordered = [files.get((bucket,)) for bucket in range(len(paths))]
    return [path for path in ordered if path is not None] if None not in ordered else []


def split_by_user(
    scheduler: TaskScheduler,
    paths: Sequence[str],
    kernel: Kernel,
    folder: StoragePath,
    num_buckets: int,
    columns: Sequence[str] = ("*",),
) -> int:
    """Run stage one: apply a kernel to the rows of Parquet files, and split the result by user.

    Args:
        scheduler: runs the tasks.
        paths: the files, one task each.
        kernel: returns the rows to hand over, with the column `user_id`. It sees a part of a file at a time.
        folder: the folder of the exchanged rows.
        num_buckets: the number of buckets.
        columns: the columns that the kernel needs. Others are not read.

    Returns:
        The number of rows that were handed over.

    Raises:
        InputError: A worker does not see the folder.
    """
    create_folder(folder)
    split = partial(_split_file, kernel=kernel, folder=folder, num_buckets=num_buckets, columns=columns)
    return sum(scheduler.run(split, list(enumerate(paths))))


def read_bucket(folder: StoragePath, bucket: int, no_rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a bucket, in no particular order.

    Args:
        folder: the folder of the exchanged rows.
        bucket: the number of the bucket.
        no_rows: a frame with the columns of the rows, which is returned if the bucket is empty.

    Raises:
        InputError: This worker does not see the folder.
    """
    _require_shared(folder)
    paths = list_folder(folder / f"{bucket:05d}")
    return pl.scan_ipc([str(path) for path in paths]).collect() if paths else no_rows


def _outcome(function: Callable[[Item], Result], item: Item) -> Result | InputError | ServiceUnavailableError:
    """Return the result or the error, because Spark hides a raised error in a long message of its own."""
    try:
        return function(item)
    except (InputError, ServiceUnavailableError) as error:
        return error


def _require_shared(folder: StoragePath) -> None:
    """Check that this worker sees a folder that the driver created. Else its rows would be lost.

    Raises:
        InputError: It does not.
    """
    if is_local(folder) and not folder.is_dir():
        raise InputError(
            f"the Spark worker on {socket.gethostname()} does not see {folder}; set UNDERCURRENT_WAREHOUSE to"
            " s3://bucket/folder, or to a disk that all workers share"
        )


def _split_file(
    numbered_path: tuple[int, str],
    kernel: Kernel,
    folder: StoragePath,
    num_buckets: int,
    columns: Sequence[str] = ("*",),
) -> int:
    _require_shared(folder)
    number, path = numbered_path
    rows = pl.scan_parquet(path).select(columns)
    num_rows = rows.select(pl.len()).collect().item()
    handed_over = 0
    for batch, start in enumerate(range(0, max(num_rows, 1), BATCH_ROWS)):
        result = kernel(rows.slice(start, BATCH_ROWS).collect())
        _write_buckets(result, folder, num_buckets, f"{number:06d}-{batch:06d}.arrow")
        handed_over += result.height
    return handed_over


def _buckets_in_file(path: str, folder: StoragePath, num_buckets: int) -> list[int]:
    _require_shared(folder)
    user_ids = pl.scan_parquet(path).select("user_id").collect()["user_id"]
    return _buckets(user_ids, num_buckets).unique().sort().to_list()


def _buckets(user_ids: pl.Series, num_buckets: int) -> pl.Series:
    """Return the bucket of each row. All workers have the same polars, so their hashes agree."""
    return user_ids.hash() % num_buckets


def _write_buckets(rows: pl.DataFrame, folder: StoragePath, num_buckets: int, name: str) -> None:
    """Write one file for each bucket with rows."""
    for (bucket,), rows_of_bucket in rows.group_by(_buckets(rows["user_id"], num_buckets)):
        path = folder / f"{bucket:05d}" / name
        create_folder(path.parent)
        rows_of_bucket.write_ipc(str(path), compression="lz4")
