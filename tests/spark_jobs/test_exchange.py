from functools import partial
from pathlib import Path

import polars as pl
import pytest

from core.errors import InputError
from spark_jobs import exchange

NO_ROWS = pl.DataFrame(schema={"user_id": pl.String, "number": pl.Int64})


def _write(folder: Path, name: str, numbers: range) -> str:
    path = folder / f"{name}.parquet"
    users = [f"u{number % 7}" if number % 5 else None for number in numbers]
    pl.DataFrame({"user_id": users, "number": numbers}).write_parquet(path)
    return str(path)


def _even(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("number") % 2 == 0)


@pytest.fixture(params=["in this process", "on Spark"])
def scheduler(request) -> exchange.TaskScheduler:
    on_spark = request.param == "on Spark"
    return exchange.TaskScheduler(request.getfixturevalue("spark") if on_spark else None)


def test_all_rows_of_a_user_meet_in_one_bucket(scheduler, tmp_path):
    paths = [_write(tmp_path, "a", range(50)), _write(tmp_path, "b", range(50, 120))]
    folder = tmp_path / "exchange"
    assert exchange.split_by_user(scheduler, paths, _even, folder, num_buckets=3) == 60
    buckets = [exchange.read_bucket(folder, bucket, NO_ROWS) for bucket in range(3)]
    assert sorted(pl.concat(buckets)["number"]) == list(range(0, 120, 2))
    users = [set(bucket["user_id"]) for bucket in buckets]
    assert sum(map(len, users)) == len(set.union(*users)) == 8


def _write_buckets(folder: Path, num_buckets: int) -> list[str]:
    """Write one Parquet file for each bucket, and return the files in another order."""
    rows = pl.DataFrame({"user_id": [f"u{number}" for number in range(50)], "number": range(50)})
    paths = [str(folder / f"{bucket}.parquet") for bucket in range(num_buckets)]
    for bucket, path in enumerate(paths):
        rows.filter(rows["user_id"].hash() % num_buckets == bucket).write_parquet(path)
    return paths[::-1]


def test_files_of_one_bucket_each_are_not_split_again(scheduler, tmp_path):
    paths = _write_buckets(tmp_path, 3)
    assert exchange.bucket_files(scheduler, paths, tmp_path, 3) == paths[::-1]
    assert exchange.bucket_files(scheduler, paths, tmp_path, 1) == paths[::-1]  # smaller tasks are no harm


@pytest.mark.parametrize("num_buckets", [0, 4])
def test_fewer_or_many_more_files_than_buckets_are_split_again(tmp_path, num_buckets):
    paths = _write_buckets(tmp_path, 3)
    assert exchange.bucket_files(exchange.TaskScheduler(), paths, tmp_path, num_buckets) == []


def test_files_with_the_users_of_several_buckets_are_split_again(tmp_path):
    first, second, third = _write_buckets(tmp_path, 3)
    bucket_files = partial(exchange.bucket_files, exchange.TaskScheduler(), folder=tmp_path, num_buckets=3)
    assert bucket_files([first, second]) == []  # two files of three buckets
    assert bucket_files([first, second, second]) == []
    pl.concat([pl.read_parquet(first), pl.read_parquet(third)]).write_parquet(third)
    assert bucket_files([first, second, third]) == []
    assert bucket_files([]) == []


def test_a_repeated_task_writes_the_same_files_again(tmp_path):
    path = _write(tmp_path, "a", range(50))
    (tmp_path / "exchange").mkdir()
    split = partial(exchange._split_file, kernel=_even, folder=tmp_path / "exchange", num_buckets=2)
    assert split((0, path)) == split((0, path)) == 25
    rows = [exchange.read_bucket(tmp_path / "exchange", bucket, NO_ROWS) for bucket in range(2)]
    assert sum(frame.height for frame in rows) == 25


def test_a_large_file_is_read_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "BATCH_ROWS", 8)
    heights = []

    def kernel(rows: pl.DataFrame) -> pl.DataFrame:
        heights.append(rows.height)
        return rows

    path = _write(tmp_path, "a", range(20))
    (tmp_path / "exchange").mkdir()
    assert exchange._split_file((0, path), kernel, tmp_path / "exchange", num_buckets=1) == 20
    assert heights == [8, 8, 4]
    assert sorted(exchange.read_bucket(tmp_path / "exchange", 0, NO_ROWS)["number"]) == list(range(20))


def _refuse(_: object) -> None:
    raise InputError("a sentence")


def test_an_error_of_the_user_in_a_task_is_one_sentence(scheduler):
    with pytest.raises(InputError) as refusal:
        scheduler.run(_refuse, [0, 1])
    assert str(refusal.value) == "a sentence"


def test_a_folder_that_a_worker_does_not_see_is_refused(tmp_path):
    """Else a worker would write to a disk of its own, and the others would miss its rows."""
    path, folder = _write(tmp_path, "a", range(5)), tmp_path / "unseen"
    with pytest.raises(InputError, match=r"does not see .*unseen; set UNDERCURRENT_WAREHOUSE"):
        exchange._split_file((0, path), _even, folder, num_buckets=1)
    with pytest.raises(InputError, match="does not see"):
        exchange.read_bucket(folder, 0, NO_ROWS)
    assert not folder.exists()


def test_an_empty_bucket_has_the_columns_of_the_rows(scheduler, tmp_path):
    assert exchange.split_by_user(scheduler, [], _even, tmp_path / "exchange", num_buckets=1) == 0
    assert exchange.read_bucket(tmp_path / "exchange", 0, NO_ROWS).equals(NO_ROWS)


def test_the_size_of_the_input_sets_the_number_of_buckets(scheduler, tmp_path, monkeypatch):
    paths = [_write(tmp_path, name, range(1000)) for name in "ab"]
    num_bytes = sum(Path(path).stat().st_size for path in paths)
    assert exchange.count_buckets(scheduler, paths) == 1
    monkeypatch.setattr(exchange, "BUCKET_BYTES", num_bytes - 1)
    assert exchange.count_buckets(scheduler, paths) == max(2, scheduler.parallel_tasks)
    monkeypatch.setattr(exchange, "BUCKET_BYTES", num_bytes // 100)
    assert exchange.count_buckets(scheduler, paths) >= 100


def test_only_a_large_input_starts_spark(keep_spark, tmp_path, monkeypatch):
    paths = [_write(tmp_path, "a", range(1000))]
    num_bytes = Path(paths[0]).stat().st_size
    for max_bytes, starts_spark in ((num_bytes, False), (num_bytes - 1, True)):
        monkeypatch.setattr(exchange, "MAX_BYTES_IN_PROCESS", max_bytes)
        with exchange.task_scheduler("tests", paths) as scheduler:
            assert (scheduler.spark is not None) == starts_spark


def test_exchanged_rows_are_deleted_after_a_failure(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InterruptedError), exchange.deleted_at_end(tmp_path):
        raise InterruptedError
    assert not tmp_path.exists()


def test_a_task_on_spark_uses_one_thread(spark):
    assert exchange.TaskScheduler(spark).run(lambda _: pl.thread_pool_size(), [0]) == [1]
