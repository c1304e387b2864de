import shutil
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


def test_a_table_whose_making_is_killed_is_made_whole_later(monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("pyiceberg.table.update.spec.UpdateSpec.add_identity", killed)
        with pytest.raises(Killed):
            Lake().table("landings")
    assert [field.name for field in Lake().table("landings").spec().fields] == list(LANDINGS.partition)


def test_a_lake_that_was_copied_or_moved_is_refused_and_the_original_left_alone(home, tmp_path):
    Lake().write("landings", _rows(FIRST))
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    moved = Lake(f"sqlite:///{copy / 'lake' / 'catalog.db'}", copy / "lake")
    with pytest.raises(InputError, match=r"was made in .*; move it back"):
        moved.write("landings", _rows(SECOND))
    assert _days(Lake().scan("landings")) == [FIRST]


def test_a_lake_moved_with_a_link_in_its_old_place_goes_on(home, tmp_path, monkeypatch):
    Lake().write("landings", _rows(FIRST))
    home.rename(tmp_path / "new")
    home.symlink_to(tmp_path / "new")
    lake = Lake(f"sqlite:///{tmp_path / 'new' / 'lake' / 'catalog.db'}", tmp_path / "new" / "lake")
    lake.write("landings", _rows(SECOND))
    assert _days(lake.scan("landings")) == [FIRST, SECOND]


def test_a_pinned_table_is_read_as_it_was(home):
    lake = Lake()
    lake.write("landings", _rows(FIRST))
    lake.pin({name: lake.version(name) for name in ("landings", "audits")})
    Lake().write("landings", _rows(SECOND))
    row = pa.Table.from_pylist([{"day": FIRST, "outcome": "blocked"}], TABLES["audits"].schema)
    Lake().write("audits", row)
    assert _days(lake.scan("landings")) == [FIRST]
    assert len(lake.files("landings")) == 1
    assert lake.scan("audits").num_rows == 0


def test_days_left_out_are_in_no_scan_and_no_list_of_files():
    Lake().write("landings", _rows(FIRST, SECOND))
    lake = Lake(without=[FIRST])
    assert _days(lake.scan("landings")) == [SECOND]
    assert _days(lake.scan("landings", "kind = 'events'")) == [SECOND]
    assert len(lake.files("landings", up_to(SECOND))) == 1


def test_many_writers_at_once_lose_nothing():
    Lake().table("landings")
    days = [date(2026, 3, n) for n in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda day: Lake().write("landings", _rows(day), inputs={str(day): "d"}), days))
    lake = Lake()
    assert _days(lake.scan("landings")) == days
    assert sorted(lake.inputs("landings")) == [str(day) for day in days]


def test_an_input_can_be_forgotten():
    lake = Lake()
    lake.write("landings", _rows(FIRST), inputs={str(FIRST): "a", str(SECOND): "b"})
    lake.commit("landings", [{"day": FIRST}], [], {str(FIRST): None, "never there": None})
    assert lake.inputs("landings") == {str(SECOND): "b"}
