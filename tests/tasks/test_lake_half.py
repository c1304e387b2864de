"""The lake half over several nights: blocked nights, batches of nights, and nights at the same time."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config import load_params
from core.paths import PROJECT_ROOT, Night
from lake import audits
from lake.client import Lake, on_days, up_to_day
from tasks import clean, ingest, sequences
from tests.support.landing_files import DAY, at, event, land, small_platform

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
DAYS = [DAY - timedelta(n) for n in reversed(range(5))]
TABLES = ("events", "interactions", "rejects")
LATE = event(900, "u0", "v7", "view", at(DAYS[2], 23), watch_ms=4000)


def _land(root: Path) -> None:
    """Write five days. The last two bring the same late event of the third."""
    small_platform(root, days=len(DAYS))
    land(root, "events", DAYS[3], [LATE], "late.jsonl")
    land(root, "events", DAYS[4], [LATE, event(901, None, "v0", "view", at(DAY, 9))], "later.jsonl")


def _use_home(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Work in another home, and return its landing folder."""
    patch.setenv("UNDERCURRENT_HOME", str(folder))
    return folder / "landing"


def _run_night(night: Night, outcome: str = "passed") -> dict:
    """Run the lake half of a night, and return the facts of `sequences`. A blocked night ends before it."""
    ingest.run(PARAMS.ingest, night)
    clean.run(PARAMS.clean, night)
    audits.write_audit(night.day, outcome)
    return {} if outcome == audits.BLOCKED else dict(sequences.run(PARAMS.sequences, night).facts)


def _tables(folder: Path) -> dict[str, list[str]]:
    """Return table -> its sorted rows as the night after the last one sees them, and its sequences."""
    lake = audits.visible_lake(DAY + timedelta(1))
    rows = {name: lake.scan(name, up_to_day(DAY)).to_pylist() for name in TABLES}
    days = sequences.run(PARAMS.sequences, Night(DAY, folder)).digests
    rows |= {f"sequences {day}": lake.scan("sequences", f"day = '{day}'").to_pylist() for day in days}
    return {name: sorted(map(str, values)) for name, values in rows.items()}


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The tables after all nights, one after another."""
    folder = tmp_path_factory.mktemp("in-turn")
    with pytest.MonkeyPatch.context() as patch:
        _land(_use_home(folder, patch))
        for day in DAYS[1:]:
            _run_night(Night(day, folder / "night"))
        return _tables(folder / "night")


def test_a_blocked_night_that_is_never_repaired_leaves_nothing(landing, tmp_path, monkeypatch):
    night = Night(DAY, tmp_path / "night")
    _land(landing)
    _run_night(Night(DAYS[2], tmp_path / "night"))
    _run_night(Night(DAYS[3], tmp_path / "night"), audits.BLOCKED)
    assert str(DAYS[3]) not in _run_night(night)["folds"].values()
    lake = audits.visible_lake(DAY + timedelta(1))
    seen = sorted(map(str, lake.scan("interactions").to_pylist()))
    known = sorted(map(str, lake.scan("sequences", on_days(DAY)).to_pylist()))
    assert clean.run(PARAMS.clean, night).facts["missing_days"] == [str(DAYS[3])]

    other = _use_home(tmp_path / "without", monkeypatch)
    _land(other)
    for path in (other / "events" / f"dt={DAYS[3]}").iterdir():
        path.unlink()
    _run_night(night)
    assert sorted(map(str, Lake().scan("interactions").to_pylist())) == seen
    assert sorted(map(str, Lake().scan("sequences", on_days(DAY)).to_pylist())) == known


def test_a_night_repaired_after_two_more_nights_joins_in(landing, tmp_path, in_turn):
    _land(landing)
    good = landing / "events" / f"dt={DAYS[2]}" / "part-0.jsonl"
    text = good.read_text()
    good.write_text(text.replace('"user_id"', '"unknown"', text.count("user_id") - 1))
    for day, outcome in zip(DAYS[1:], ("passed", audits.BLOCKED, "passed", "passed"), strict=True):
        _run_night(Night(day, tmp_path / "night"), outcome)
    assert clean.run(PARAMS.clean, Night(DAY, tmp_path / "night")).facts["missing_days"] == [str(DAYS[2])]
    good.write_text(text)
    _run_night(Night(DAYS[2], tmp_path / "night"))
    _run_night(Night(DAY, tmp_path / "night"))
    assert _tables(tmp_path / "night") == in_turn


def test_a_night_killed_before_its_checks_is_missing_until_it_is_repeated(landing, tmp_path, in_turn):
    _land(landing)
    killed, night = Night(DAYS[3], tmp_path / "night"), Night(DAY, tmp_path / "night")
    ingest.run(PARAMS.ingest, killed)
    clean.run(PARAMS.clean, killed)
    assert str(killed.day) not in _run_night(night)["folds"].values()
    assert clean.run(PARAMS.clean, night).facts["missing_days"] == [str(killed.day)]
    _run_night(killed)
    _run_night(night)
    assert _tables(tmp_path / "night") == in_turn


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nights=st.sets(st.sampled_from(DAYS[1:-1])))
def test_any_batch_of_nights_has_the_tables_of_its_nights_in_turn(
    in_turn, tmp_path_factory, monkeypatch, nights
):
    folder = tmp_path_factory.mktemp("batch")
    _land(_use_home(folder, monkeypatch))
    for day in [*sorted(nights), DAY]:
        _run_night(Night(day, folder / "night"))
    assert _tables(folder / "night") == in_turn


def _start(steps: Sequence[str], night: Night) -> subprocess.Popen:
    options = ("--night", str(night.day), "--workspace", str(night.workspace))
    command = (sys.executable, "-m", "tests.support.run_steps", ",".join(steps), "", "", *options)
    return subprocess.Popen(command, cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(300)
def test_two_nights_at_once_do_not_damage_each_other(landing, tmp_path, in_turn):
    _land(landing)
    nights = [Night(day, tmp_path / str(day)) for day in DAYS[-2:]]
    started = [_start(("ingest", "clean", "sequences"), night) for night in nights]
    for process in started:
        _, messages = process.communicate()
        assert process.returncode == 0, messages[-2000:]
    for night in nights:
        _run_night(night)
    assert _tables(tmp_path / "night") == in_turn
