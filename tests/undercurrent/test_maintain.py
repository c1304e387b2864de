from datetime import timedelta

import pyarrow as pa
import pytest

from core.config import load_params
from core.errors import DONE
from core.paths import PROJECT_ROOT, Night
from core.tables import TABLES
from lake.client import Lake
from spark_jobs.catalogue_changes import days_with_changed_videos
from tasks import clean, ingest
from tests.support.command_line import undercurrent
from tests.support.landing_files import DAY, land, small_platform

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
EVERYTHING = ("--keep-days", "0", "--min-age-hours", "1")


def _rows() -> dict[str, list[str]]:
    return {name: sorted(map(str, Lake().scan(name).to_pylist())) for name in TABLES}


@pytest.fixture
def night(landing, tmp_path, keep_spark) -> Night:
    small_platform(landing, days=2)
    night = Night(DAY, tmp_path / "night")
    ingest.run(PARAMS.ingest, night)
    clean.run(PARAMS.clean, night)
    return night


def test_maintenance_reports_every_table_and_changes_no_row(night, capsys):
    before = _rows()
    assert undercurrent("maintain", *EVERYTHING) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(TABLES)
    assert _rows() == before


def test_a_dry_run_reports_and_changes_nothing(night, capsys):
    versions = {name: Lake().version(name) for name in TABLES}
    assert undercurrent("maintain", *EVERYTHING, "--dry-run") == DONE
    assert capsys.readouterr().out.endswith("dry run: nothing was changed\n")
    assert {name: Lake().version(name) for name in TABLES} == versions


def test_the_catalogue_that_a_day_was_cleaned_with_stays_readable(night, landing):
    later = DAY + timedelta(1)
    land(landing, "events", later, [])
    land(landing, "videos", later, [{"video_id": "new", "duration_ms": 9000}])
    ingest.run(PARAMS.ingest, Night(later, night.workspace))
    assert undercurrent("maintain", *EVERYTHING) == DONE
    assert days_with_changed_videos(Lake(), later) == set()


def test_rows_with_lists_and_maps_are_joined():
    row = {"user_id": "u", "day": DAY, "video_ids": ["a", None], "started_at": [None], "behaviours": [1]}
    profile = {"user_id": "u", "profile": [("age", "20")], "day": DAY}
    for _ in range(2):
        Lake().write("sequences", pa.Table.from_pylist([row], TABLES["sequences"].schema))
        Lake().write("users", pa.Table.from_pylist([profile], TABLES["users"].schema))
    before = _rows()
    assert undercurrent("maintain", *EVERYTHING) == DONE
    assert _rows() == before
    assert {name: len(Lake().data_files(name)) for name in ("sequences", "users")} == {
        "sequences": 1,
        "users": 1,
    }
