import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.tables import LANDINGS
from lake.client import Lake
from lake.data_files import list_data_files
from lake.maintenance import MaintenancePolicy, maintain_table, measure_table

DAYS = [date(2026, 3, n) for n in (1, 2)]
HOUR, NOW = timedelta(hours=1), timedelta(0)
EVERYTHING = MaintenancePolicy(target_bytes=1 << 20, keep_versions=NOW, min_age=NOW)
ONLY_JOIN = MaintenancePolicy(target_bytes=1 << 20, keep_versions=HOUR, min_age=HOUR)


def _write(*rows: tuple[date, str]) -> int | None:
    fixed = {"kind": "events", "path": "p", "rows": 1, "kept": 1, "rejected": 0}
    table = [fixed | {"day": day, "digest": digest} for day, digest in rows]
    return Lake().write("landings", pa.Table.from_pylist(table, LANDINGS.schema))


def _rows(version: int | None = None) -> list[tuple[date, str]]:
    table = Lake().scan("landings", version=version)
    return sorted(zip(table["day"].to_pylist(), table["digest"].to_pylist(), strict=True))


def _files() -> set[Path]:
    return {path for path in (Lake().warehouse / "undercurrent" / "landings").rglob("*") if path.is_file()}


def test_small_files_are_joined_within_their_partition():
    for digest in "abc":
        _write(*((day, digest) for day in DAYS))
    before = _rows()
    result = maintain_table(Lake(), "landings", ONLY_JOIN)
    assert (result.before.data_files, result.after.data_files, result.joined_files) == (6, 2, 6)
    assert _rows() == before
    assert len({file.partition for file in list_data_files(Lake(), "landings")}) == 2


def test_a_large_file_is_left_and_a_joined_file_has_at_most_the_target_size():
    for digest in "abcd":
        _write((DAYS[0], digest))
    size = list_data_files(Lake(), "landings")[0].num_bytes
    maintain_table(Lake(), "landings", MaintenancePolicy(int(2.5 * size), HOUR, HOUR))
    assert [file.rows for file in list_data_files(Lake(), "landings")] == [2, 2]
    maintain_table(Lake(), "landings", MaintenancePolicy(size, HOUR, HOUR))
    assert [file.rows for file in list_data_files(Lake(), "landings")] == [2, 2]


@settings(max_examples=15)
@given(st.lists(st.lists(st.tuples(st.sampled_from(DAYS), st.sampled_from("ab")), min_size=1), max_size=4))
def test_maintenance_never_changes_the_rows(tmp_path_factory, commits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERCURRENT_HOME", str(tmp_path_factory.mktemp("home")))
        for rows in commits:
            _write(*rows)
        before = _rows()
        result = maintain_table(Lake(), "landings", EVERYTHING)
        assert _rows() == before == sorted(row for rows in commits for row in rows)
        assert result.before.rows == result.after.rows == len(before)
        assert result.after.data_files == len({day for rows in commits for day, _ in rows})


def test_only_versions_that_were_replaced_long_ago_expire():
    old, current = _write((DAYS[0], "a")), _write((DAYS[1], "b"))
    assert maintain_table(Lake(), "landings", ONLY_JOIN).expired_versions == 0
    assert _rows(old) == [(DAYS[0], "a")]
    assert maintain_table(Lake(), "landings", EVERYTHING).expired_versions == 1
    assert not Lake().has_version("landings", old)
    assert Lake().has_version("landings", current)


def test_a_version_that_is_needed_stays_readable():
    old = _write((DAYS[0], "a"))
    _write((DAYS[1], "b"))
    Lake().commit("landings", [{"day": DAYS[0]}], [])
    maintain_table(Lake(), "landings", EVERYTHING, [old])
    assert _rows(old) == [(DAYS[0], "a")]
    assert _rows() == [(DAYS[1], "b")]


def test_the_head_of_a_branch_stays_readable():
    _write((DAYS[0], "a"))
    table = Lake().table("landings")
    staged = table.current_snapshot().snapshot_id
    table.manage_snapshots().create_branch(staged, "audit").commit()
    _write((DAYS[1], "b"))
    maintain_table(Lake(), "landings", EVERYTHING)
    assert _rows(staged) == [(DAYS[0], "a")]


def test_files_of_expired_versions_and_of_killed_runs_are_deleted():
    _write((DAYS[0], "a"))
    replaced = list_data_files(Lake(), "landings")[0].path
    Lake().commit("landings", [{"day": DAYS[0]}], [])
    _write((DAYS[1], "b"))
    left = Lake().create_staging_folder("landings") / "part-0.parquet"
    left.write_bytes(b"half")
    result = maintain_table(Lake(), "landings", EVERYTHING)
    assert not replaced.parent.exists()
    assert not left.parent.exists()
    assert result.after.files == len(_files()) == result.before.files - result.deleted_files + 1
    assert _rows() == [(DAYS[1], "b")]


def test_a_young_file_of_a_running_step_is_never_deleted():
    _write((DAYS[0], "a"))
    running = Lake().create_staging_folder("landings") / "part-0.parquet"
    running.write_bytes(b"being written")
    policy = MaintenancePolicy(1 << 20, NOW, HOUR)
    maintain_table(Lake(), "landings", policy)
    assert running.exists()
    os.utime(running, (0, 0))
    maintain_table(Lake(), "landings", policy)
    assert not running.exists()


def test_steps_that_commit_meanwhile_lose_no_rows():
    policy = MaintenancePolicy(target_bytes=1 << 20, keep_versions=NOW, min_age=HOUR)
    _write((DAYS[0], "first"))
    digests = [str(n) for n in range(12)]
    with ThreadPoolExecutor(3) as pool:
        writes = [pool.submit(_write, (DAYS[0], digest)) for digest in digests]
        runs = [pool.submit(lambda: maintain_table(Lake(), "landings", policy)) for _ in range(4)]
        for task in [*writes, *runs]:
            task.result()
    assert _rows() == sorted((DAYS[0], digest) for digest in [*digests, "first"])


def test_a_dry_run_changes_nothing_and_counts_what_would_be_done():
    for digest in "ab":
        _write((DAYS[0], digest))
    files, version = _files(), Lake().version("landings")
    result = maintain_table(Lake(), "landings", EVERYTHING, dry_run=True)
    assert (_files(), Lake().version("landings")) == (files, version)
    assert (result.joined_files, result.expired_versions, result.after) == (2, 1, result.before)
    assert result.deleted_files > 0


def test_commits_keep_the_newest_metadata_files_only():
    for n in range(25):
        _write((DAYS[0], str(n)))
    metadata = [path for path in _files() if path.name.endswith(".metadata.json")]
    assert len(metadata) == 11  # the present one and ten before it
    assert measure_table(Lake(), "landings").rows == 25


def test_a_table_of_an_older_version_deletes_its_metadata_files_too():
    table = Lake().table("landings")
    with table.transaction() as transaction:
        transaction.remove_properties("write.metadata.delete-after-commit.enabled")
    for n in range(25):
        _write((DAYS[0], str(n)))
    maintain_table(Lake(), "landings", EVERYTHING)
    assert len([path for path in _files() if path.name.endswith(".metadata.json")]) == 11


def test_a_table_on_s3_is_joined_and_loses_its_orphans(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_WAREHOUSE", f"s3://bucket/{tmp_path.name}")
    for digest in "abc":
        _write(*((day, digest) for day in DAYS))
    before = _rows()
    orphan = Lake().create_staging_folder("landings") / "part-00000.parquet"
    orphan.write_bytes(b"of a killed run")
    result = maintain_table(Lake(), "landings", EVERYTHING)
    assert (result.joined_files, result.expired_versions, result.after.data_files) == (6, 3, 2)
    assert not orphan.exists()
    assert _rows() == before
