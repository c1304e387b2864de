from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pyarrow as pa
import pytest

from contracts.errors import InputError
from contracts.lake import SCHEMA_PROPERTY, Lake, on, up_to
from contracts.tables import LANDINGS, TABLES

FIRST, SECOND = date(2026, 3, 1), date(2026, 3, 2)


def _rows(*days: date, kind: str = "events", digest: str = "d") -> pa.Table:
    row = {"kind": kind, "path": "p", "digest": digest, "rows": 1, "kept": 1, "rejected": 0}
    return pa.Table.from_pylist([row | {"day": day} for day in days], LANDINGS.schema)


def _days(table: pa.Table) -> list[date]:
    return sorted(table["day"].to_pylist())


def test_replacing_a_day_replaces_that_day_and_nothing_else():
    lake = Lake()
    lake.write("landings", _rows(FIRST, SECOND, digest="old"))
    lake.write("landings", _rows(SECOND, SECOND, digest="new"), [{"day": SECOND}])
    found = lake.scan("landings")
    assert _days(found) == [FIRST, SECOND, SECOND]
    assert sorted(found["digest"].to_pylist()) == ["new", "new", "old"]


def test_a_day_is_replaced_for_one_kind_only_when_the_partition_says_so():
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


def test_inputs_are_remembered_with_the_commit_and_survive_others():
    lake = Lake()
    lake.write("landings", _rows(FIRST), inputs={str(FIRST): "a"})
    lake.write("landings", _rows(SECOND), inputs={str(SECOND): "b"})
    assert Lake().inputs("landings") == {str(FIRST): "a", str(SECOND): "b"}


def test_scans_and_files_respect_the_day():
    lake = Lake()
    lake.write("landings", _rows(FIRST, SECOND))
    assert _days(lake.scan("landings", up_to(FIRST))) == [FIRST]
    assert _days(lake.scan("landings", on(FIRST, SECOND))) == [FIRST, SECOND]
    assert len(lake.files("landings", on(SECOND))) == 1


def test_writers_of_different_partitions_at_the_same_time_lose_nothing():
    Lake().table("landings")
    kinds = [f"kind-{n}" for n in range(8)]

    def write(kind: str) -> None:
        Lake().write("landings", _rows(FIRST, kind=kind), [{"day": FIRST, "kind": kind}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, kinds))
    assert sorted(Lake().scan("landings")["kind"].to_pylist()) == kinds


def test_a_table_of_another_schema_version_is_refused_in_one_sentence():
    lake = Lake()
    table = lake.table("landings")
    with table.transaction() as transaction:
        transaction.set_properties({SCHEMA_PROPERTY: "of-last-year"})
    with pytest.raises(InputError, match=r"'landings'.*schema version of-last-year.*UNDERCURRENT_HOME"):
        lake.scan("landings")


@pytest.mark.parametrize("name", sorted(TABLES))
def test_each_declaration_has_a_spark_and_an_iceberg_form_with_the_same_columns(name):
    spec = TABLES[name]
    iceberg = Lake().table(name)
    assert [field.name for field in spec.spark_schema()] == spec.schema.names
    assert [field.name for field in iceberg.schema().fields] == spec.schema.names
    assert {field.name for field in iceberg.spec().fields} == set(spec.partition)
