"""`make backfill`: a real backfill of two tiny simulated nights in a real Airflow."""

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from core.errors import InputError
from core.paths import PROJECT_ROOT
from core.step_graph import LAKE_HALF, STEPS
from ops import airflow_server, backfill, up_lock
from ops.airflow_server import DAG_ID
from simulator.__main__ import main as simulator
from tests.support.processes import free_port

NIGHTS = [date(2026, 3, 5), date(2026, 3, 6)]
SMALL: dict[str, dict[str, Any]] = {
    "simulator": {
        "users": 40,
        "videos": 14,
        "history_days": 3,
        "nights": 2,
        "new_users_per_day": 2,
        "new_videos_per_day": 2,
        "outage_night": 0,
    },
    "check": {"min_rows": 20, "max_reject_rate_per_reason": 0.9, "max_reject_rate": 0.9},
    "align": {"epochs": 2},
    "train": {"epochs": 2},
    "gate": {"min_users": 5},
}


@pytest.fixture
def platform(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The landing files of two tiny nights. The steps read small parameters."""
    params = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text())
    for section, values in SMALL.items():
        params[section] |= values
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    monkeypatch.setenv("UNDERCURRENT_PARAMS", str(path))
    assert simulator(["make", "--params", str(path)]) == 0


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("platform")
def test_two_nights_run_in_order_and_only_the_newest_gets_a_model(home: Path) -> None:
    with up_lock.hold(), airflow_server.start(free_port()) as (api, supervisor):
        assert api.is_paused(DAG_ID)
        states = backfill.run_backfill(api, supervisor, NIGHTS, "newest", force=False)
        assert states == {str(night): "success" for night in NIGHTS}
        runs = sorted(api.runs(DAG_ID), key=lambda run: run["start_date"])
        # What the schedule starts once the DAG is unpaused is no night of the backfill.
        runs = [run for run in runs if run["run_type"] == "backfill"]
        assert [run["partition_key"] for run in runs] == [str(night) for night in NIGHTS]
        assert all(a["end_date"] <= b["start_date"] for a, b in pairwise(runs))
        assert [steps_of(home, night) for night in NIGHTS] == [set(LAKE_HALF), set(STEPS)]
        assert api.is_paused(DAG_ID)  # as before
        again = backfill.run_backfill(api, supervisor, NIGHTS, "newest", force=False)
        assert {state.split(":")[0] for state in again.values()} == {"skipped"}


def steps_of(home: Path, night: date) -> set[str]:
    """The steps of a night that completed."""
    return {path.stem for path in (home / "nights" / str(night) / "run_manifests").glob("*.json")}


def test_the_run_of_a_night_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backfill, "watch_run", lambda *_, **__: "success")
    run_id = "backfill__2026-03-05T02:00:00+00:00__2026-03-05__Ab12"
    assert backfill._follow(Mock(), Mock(), "2026-03-05", run_id) == "success"
    assert f"night 2026-03-05 is the run {run_id}" in capsys.readouterr().err


def test_both_days_of_a_range_are_included() -> None:
    assert backfill.parse_range("2026-03-05", "2026-03-06", date(2026, 3, 8)) == NIGHTS
    assert backfill.parse_range("2026-03-05", "2026-03-05", date(2026, 3, 8)) == NIGHTS[:1]


@pytest.mark.parametrize(
    ("first", "last", "sentence"),
    [
        ("2026-03-06", "2026-03-05", "FROM is 2026-03-06, after TO"),
        ("2026-03-05", "2026-03-08", "this day has not ended in UTC"),
        ("", "2026-03-05", "FROM: '' is not a date; write it as YYYY-MM-DD"),
    ],
)
def test_a_wrong_range_is_refused(first: str, last: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        backfill.parse_range(first, last, date(2026, 3, 8))
