import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pyarrow as pa
import pytest

from core.errors import InputError, ServiceUnavailableError
from core.tables import LANDINGS, TABLES
from lake.client import SCHEMA_DIGEST_PROPERTY, Lake, days_between, on_days, up_to_day
from tests.support.postgres import create_database

FIRST, SECOND = date(2026, 3, 1), date(2026, 3, 2)


def _rows(*days: date, kind: str = "events", digest: str = "d") -> pa.Table:
    row = {"kind": kind, "path": "p", "digest": digest, "rows": 1, "kept": 1, "rejected": 0}
    return pa.Table.from_pylist([row | {"day": day} for day in days], LANDINGS.schema)


def _days(table: pa.Table) -> list[date]:
    return sorted(table["day"].to_pylist())


def test_replacing_a_day_keeps_other_days():
    lake = Lake()
    lake.write("landings", _rows(FIRST, SECOND, digest="old"))
    lake.write("landings", _rows(SECOND, SECOND, digest="new"), [{"day": SECOND}])
    rows = lake.scan("landings")
    assert _days(rows) == [FIRST, SECOND, SECOND]
    assert sorted(rows["digest"].to_pylist()) == ["new", "new", "old"]


def test_replacing_a_partition_keeps_other_partitions_of_the_day():
    lake = Lake()
    lake.write("landings", _rows(FIRST, kind="events"))
    lake.write("landings", _rows(FIRST, kind="users"))
    lake.write("landings", _rows(), [{"day": FIRST, "kind": "users"}])
    assert lake.scan("landings")["kind"].to_pylist() == ["events"]


def test_an_old_version_can_still_be_read():
    lake = Lake()
    old = lake.write("landings", _rows(FIRST, digest="old"))
    lake.write("landings", _rows(FIRST, digest="new"), [{"day": FIRST}])
    assert lake.scan("landings", version=old)["digest"].to_pylist() == ["old"]


def test_input_digests_are_kept_across_commits():
    lake = Lake()
    lake.write("landings", _rows(FIRST), input_digests={str(FIRST): "a"})
    lake.write("landings", _rows(SECOND), input_digests={str(SECOND): "b"})
    assert Lake().input_digests("landings") == {str(FIRST): "a", str(SECOND): "b"}


def test_scans_and_files_filter_by_day():
    lake = Lake()
    lake.write("landings", _rows(FIRST, SECOND))
    assert _days(lake.scan("landings", up_to_day(FIRST))) == [FIRST]
    assert _days(lake.scan("landings", on_days(FIRST, SECOND))) == [FIRST, SECOND]
    assert _days(lake.scan("landings", days_between(FIRST, SECOND))) == [SECOND]
    assert len(lake.data_files("landings", on_days(SECOND))) == 1


def test_files_are_listed_by_day():
    lake = Lake()
    assert lake.data_files_by_day("landings") == {}
    lake.write("landings", _rows(SECOND, FIRST))
    lake.write("landings", _rows(SECOND, kind="users"))
    files = lake.data_files_by_day("landings")
    assert {day: len(paths) for day, paths in files.items()} == {FIRST: 1, SECOND: 2}
    assert all(paths == lake.data_files("landings", on_days(day)) for day, paths in files.items())
    assert list(lake.data_files_by_day("landings", up_to_day(FIRST))) == [FIRST]
    assert list(Lake(hidden_days=[FIRST]).data_files_by_day("landings")) == [SECOND]


def test_a_lazy_scan_reads_the_rows_that_a_scan_reads():
    lake = Lake()
    assert lake.lazy_scan("landings").collect().columns == LANDINGS.schema.names
    lake.write("landings", _rows(FIRST, SECOND))
    seen = Lake(hidden_days=[SECOND])
    assert seen.lazy_scan("landings").collect()["day"].to_list() == _days(seen.scan("landings")) == [FIRST]
    assert lake.lazy_scan("landings", on_days(SECOND)).collect()["day"].to_list() == [SECOND]


def test_concurrent_writers_of_different_partitions_lose_no_rows():
    Lake().table("landings")
    landing_types = [f"type-{n}" for n in range(8)]

    def write(kind: str) -> None:
        Lake().write("landings", _rows(FIRST, kind=kind), [{"day": FIRST, "kind": kind}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, landing_types))
    assert sorted(Lake().scan("landings")["kind"].to_pylist()) == landing_types


def test_a_table_of_another_schema_version_is_refused():
    lake = Lake()
    table = lake.table("landings")
    with table.transaction() as transaction:
        transaction.set_properties({SCHEMA_DIGEST_PROPERTY: "of-last-year"})
    with pytest.raises(InputError, match=r"'landings'.*schema digest of-last-year.*undercurrent migrate"):
        lake.scan("landings")


@pytest.mark.parametrize("name", sorted(TABLES))
def test_spark_and_iceberg_schemas_have_the_same_columns(name):
    declaration = TABLES[name]
    iceberg = Lake().table(name)
    assert [field.name for field in declaration.spark_schema()] == declaration.schema.names
    assert [field.name for field in iceberg.schema().fields] == declaration.schema.names
    assert {field.name for field in iceberg.spec().fields} == set(declaration.partition)


def test_a_killed_table_creation_is_completed_later(monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("pyiceberg.table.update.spec.UpdateSpec.add_identity", killed)
        with pytest.raises(Killed):
            Lake().table("landings")
    assert [field.name for field in Lake().table("landings").spec().fields] == list(LANDINGS.partition)


def test_a_copied_lake_is_refused(home, tmp_path):
    Lake().write("landings", _rows(FIRST))
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    moved_lake = Lake(f"sqlite:///{copy / 'lake' / 'catalog.db'}", copy / "lake")
    with pytest.raises(InputError, match=r"was made in .*; move it back"):
        moved_lake.write("landings", _rows(SECOND))
    assert _days(Lake().scan("landings")) == [FIRST]


def test_a_moved_lake_with_a_link_at_its_old_path_works(home, tmp_path, monkeypatch):
    Lake().write("landings", _rows(FIRST))
    home.rename(tmp_path / "new")
    home.symlink_to(tmp_path / "new")
    lake = Lake(f"sqlite:///{tmp_path / 'new' / 'lake' / 'catalog.db'}", tmp_path / "new" / "lake")
    lake.write("landings", _rows(SECOND))
    assert _days(lake.scan("landings")) == [FIRST, SECOND]


def test_a_pinned_table_is_read_at_its_snapshot(home):
    lake = Lake()
    lake.write("landings", _rows(FIRST))
    lake.pin({name: lake.version(name) for name in ("landings", "audits")})
    Lake().write("landings", _rows(SECOND))
    row = pa.Table.from_pylist([{"day": FIRST, "outcome": "blocked"}], TABLES["audits"].schema)
    Lake().write("audits", row)
    assert _days(lake.scan("landings")) == [FIRST]
    assert len(lake.data_files("landings")) == 1
    assert lake.scan("audits").num_rows == 0


def test_hidden_days_are_in_no_scan_and_no_file_list():
    Lake().write("landings", _rows(FIRST, SECOND))
    lake = Lake(hidden_days=[FIRST])
    assert _days(lake.scan("landings")) == [SECOND]
    assert _days(lake.scan("landings", "kind = 'events'")) == [SECOND]
    assert len(lake.data_files("landings", up_to_day(SECOND))) == 1


def test_concurrent_writers_lose_no_rows():
    Lake().table("landings")
    days = [date(2026, 3, n) for n in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda day: Lake().write("landings", _rows(day), input_digests={str(day): "d"}), days))
    lake = Lake()
    assert _days(lake.scan("landings")) == days
    assert sorted(lake.input_digests("landings")) == [str(day) for day in days]


def test_an_input_digest_can_be_removed():
    lake = Lake()
    lake.write("landings", _rows(FIRST), input_digests={str(FIRST): "a", str(SECOND): "b"})
    lake.commit("landings", [{"day": FIRST}], [], {str(FIRST): None, "never there": None})
    assert lake.input_digests("landings") == {str(SECOND): "b"}


@pytest.fixture
def postgres_lake(postgres_uri, home, monkeypatch):
    """A lake whose catalog is a new database of a real PostgreSQL."""
    name = f"lake_{home.parent.name}".lower().replace("-", "_")
    monkeypatch.setenv("UNDERCURRENT_CATALOG_URI", create_database(postgres_uri, name))
    return Lake()


def test_a_catalog_on_postgres_keeps_tables_and_versions(postgres_lake):
    old = postgres_lake.write("landings", _rows(FIRST, digest="old"), input_digests={str(FIRST): "a"})
    postgres_lake.write("landings", _rows(FIRST, digest="new"), [{"day": FIRST}])
    assert Lake().scan("landings")["digest"].to_pylist() == ["new"]
    assert Lake().scan("landings", version=old)["digest"].to_pylist() == ["old"]
    assert Lake().input_digests("landings") == {str(FIRST): "a"}


def test_concurrent_writers_of_a_catalog_on_postgres_lose_no_rows(postgres_lake):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: Lake().write("landings", _rows(FIRST, digest=str(n))), range(6)))
    assert sorted(Lake().scan("landings")["digest"].to_pylist()) == [str(n) for n in range(6)]


def test_an_unreachable_catalog_is_one_sentence_without_the_password(monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_CATALOG_URI", "postgresql+psycopg://me:hunter2@127.0.0.1:1/lake")
    with pytest.raises(ServiceUnavailableError, match="cannot be reached") as refusal:
        Lake()
    assert "hunter2" not in str(refusal.value)


@pytest.fixture
def s3_lake(s3, home, monkeypatch):
    """A lake whose files lie on a real S3 server."""
    monkeypatch.setenv("UNDERCURRENT_WAREHOUSE", f"s3://bucket/{home.parent.name}")
    return Lake()


def test_a_warehouse_on_s3_keeps_tables_and_versions(s3_lake, home):
    old = s3_lake.write("landings", _rows(FIRST, SECOND, digest="old"))
    s3_lake.write("landings", _rows(FIRST, digest="new"), [{"day": FIRST}])
    assert sorted(Lake().scan("landings")["digest"].to_pylist()) == ["new", "old"]
    assert Lake().scan("landings", version=old)["digest"].to_pylist() == ["old", "old"]
    assert all(path.startswith("s3://bucket/") for path in Lake().data_files("landings"))
    assert not list(home.rglob("*.parquet"))


def test_a_lake_on_s3_under_another_prefix_is_refused(s3_lake, monkeypatch):
    s3_lake.write("landings", _rows(FIRST))
    monkeypatch.setenv("UNDERCURRENT_WAREHOUSE", "s3://bucket/elsewhere")
    with pytest.raises(InputError, match="was made in"):
        Lake().table("landings")
