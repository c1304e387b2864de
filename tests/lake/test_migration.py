"""Migration of tables that an older version of the code created."""

from dataclasses import replace

import pyarrow as pa
import pytest

from core.errors import InputError
from core.tables import EVENTS, INTERACTIONS, LANDINGS, PLAYBACK_SIGNALS, TABLES, VIDEOS, TableSpec
from lake import migration
from lake.client import Lake
from lake.migration import migrate_table, plan_migration
from tests.support.landing_files import DAY


def _without(spec: TableSpec, column: str) -> TableSpec:
    """The specification before the column was added."""
    return replace(spec, schema=spec.schema.remove(spec.schema.get_field_index(column)))


@pytest.fixture
def previous_version(monkeypatch):
    """Create tables as the version before `other_fields` did, until the returned function is called."""
    for spec in (EVENTS, VIDEOS):
        monkeypatch.setitem(TABLES, spec.name, _without(spec, "other_fields"))
    return lambda: [monkeypatch.setitem(TABLES, spec.name, spec) for spec in (EVENTS, VIDEOS)]


def _rows(count: int) -> pa.Table:
    rows = [{"event_id": f"e{n}", "user_id": "u", "day": DAY, "watch_ms": n} for n in range(count)]
    return pa.Table.from_pylist(rows, TABLES["events"].schema)


def _content(rows: pa.Table) -> list[dict]:
    return sorted(rows.to_pylist(), key=lambda row: row["event_id"])


def test_a_table_of_the_previous_version_is_migrated(previous_version):
    lake = Lake()
    lake.write("events", _rows(3), [], {"2026-03-05": "digest"})
    lake.write("events", _rows(2))
    before, old_version = _content(lake.scan("events")), lake.version("events")
    previous_version()
    with pytest.raises(InputError, match="undercurrent migrate"):
        lake.scan("events")
    done = migrate_table(lake, "events")
    assert (done.added, done.removed, done.widened, done.files, done.rows) == (["other_fields"], [], [], 2, 5)
    migrated = Lake().scan("events")
    assert migrated.schema.names == EVENTS.schema.names
    assert _content(migrated) == [{**row, "other_fields": None} for row in before]
    assert Lake().lazy_scan("events").collect().height == 5
    assert Lake().input_digests("events") == {"2026-03-05": "digest"}
    assert Lake().scan("events", version=old_version).num_rows == 5
    assert plan_migration(Lake(), "events") is None


def test_rows_are_written_to_a_migrated_table_as_to_a_new_one(previous_version):
    Lake().write("events", _rows(1))
    previous_version()
    migrate_table(Lake(), "events")
    rows = _rows(1).set_column(
        EVENTS.schema.get_field_index("other_fields"),
        EVENTS.schema.field("other_fields"),
        pa.array([[("client", "tv")]], EVENTS.schema.field("other_fields").type),
    )
    Lake().write("events", rows)
    kept = Lake().scan("events")["other_fields"].to_pylist()
    assert sorted(kept, key=bool) == [None, [("client", "tv")]]
    assert Lake().lazy_scan("events").collect()["other_fields"].null_count() == 1


def test_interactions_of_a_version_without_playback_events_get_unknown_counts(monkeypatch):
    old = INTERACTIONS
    for column in PLAYBACK_SIGNALS:
        old = _without(old, column)
    monkeypatch.setitem(TABLES, "interactions", old)
    row = {"user_id": "u", "video_id": "v", "day": DAY, "viewed": True, "comment_text": "good", "events": 2}
    Lake().write("interactions", pa.Table.from_pylist([row], old.schema))
    monkeypatch.setitem(TABLES, "interactions", INTERACTIONS)
    done = migrate_table(Lake(), "interactions")
    assert (done.added, done.rows) == (list(PLAYBACK_SIGNALS), 1)
    (migrated,) = Lake().scan("interactions").to_pylist()
    assert migrated == dict.fromkeys(INTERACTIONS.schema.names) | row


def test_a_killed_migration_leaves_the_table_as_it_was(previous_version, monkeypatch):
    Lake().write("events", _rows(3))
    previous_version()
    with monkeypatch.context() as patch:
        patch.setattr(migration, "_rewrite_file", _stop)
        with pytest.raises(KeyboardInterrupt):
            migrate_table(Lake(), "events")
    assert plan_migration(Lake(), "events").rows == 3
    assert migrate_table(Lake(), "events").rows == 3
    assert Lake().scan("events").num_rows == 3


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_removed_and_a_widened_column_are_migrated(monkeypatch):
    old = LANDINGS.schema.append(pa.field("host", pa.string()))
    old = old.set(old.get_field_index("rows"), pa.field("rows", pa.int32()))
    monkeypatch.setitem(TABLES, "landings", replace(LANDINGS, schema=old))
    row = {"kind": "events", "day": DAY, "rows": 7, "kept": 7, "host": "h"}
    Lake().write("landings", pa.Table.from_pylist([row], old))
    monkeypatch.setitem(TABLES, "landings", LANDINGS)
    done = migrate_table(Lake(), "landings")
    assert (done.removed, done.widened) == (["host"], ["rows"])
    rows = Lake().scan("landings")
    assert rows.schema.field("rows").type == pa.int64()
    assert rows.select(["kind", "rows"]).to_pylist() == [{"kind": "events", "rows": 7}]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (
            replace(LANDINGS, schema=LANDINGS.schema.set(4, pa.field("rows", pa.string()))),
            "cannot be migrated",
        ),
        (replace(LANDINGS, partition=("day",)), "is partitioned by day, but this code needs day, kind"),
    ],
)
def test_an_incompatible_table_is_refused_and_not_changed(monkeypatch, changed, complaint):
    monkeypatch.setitem(TABLES, "landings", changed)
    Lake().write("landings", pa.Table.from_pylist([{"kind": "events", "day": DAY}], changed.schema))
    monkeypatch.setitem(TABLES, "landings", LANDINGS)
    before = Lake().existing_table("landings").metadata_location
    with pytest.raises(InputError, match=complaint):
        migrate_table(Lake(), "landings")
    assert Lake().existing_table("landings").metadata_location == before


def test_a_missing_table_is_not_created():
    assert migrate_table(Lake(), "events") is None
    assert Lake().existing_table("events") is None
