from datetime import date
from pathlib import Path

import polars as pl
import pytest

from benchmarks.speed.lake import __main__ as lake
from benchmarks.speed.lake.heavy_user import write_landing
from simulator.event_stream import StreamConfig, write_stream


def _events(landing: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(landing.glob("events/*/*.parquet")))


def _share_of_heaviest_user(events: pl.DataFrame) -> float:
    counts = events.drop_nulls("user_id")["user_id"].value_counts()
    return counts["count"].max() / counts["count"].sum()


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    write_stream(StreamConfig(seed=1, num_events=20_000, num_days=2, first_day=date(2026, 3, 1)), folder)
    return folder / "landing"


def test_the_heaviest_user_has_the_wanted_share_of_events(landing, tmp_path):
    events = _events(landing)
    shares = {}
    for share in (0.0, 0.08):
        write_landing(landing, tmp_path / str(share), share)
        changed = _events(tmp_path / str(share))
        assert changed.drop("user_id").equals(events.drop("user_id"))
        assert changed["user_id"].null_count() == events["user_id"].null_count()
        shares[share] = _share_of_heaviest_user(changed)
    assert shares[0.08] == pytest.approx(0.08, abs=0.02)
    assert shares[0.0] < shares[0.08] < _share_of_heaviest_user(events)


def test_events_of_one_interaction_are_dealt_to_one_user(landing, tmp_path):
    write_landing(landing, tmp_path / "dealt", 0.0)
    pairs = pl.DataFrame({"old": _events(landing)["user_id"], "new": _events(tmp_path / "dealt")["user_id"]})
    day = pl.from_epoch("event_time", time_unit="ms").dt.date()
    keys = _events(landing).select("video_id", day.alias("day"))
    users = pl.concat([pairs, keys], how="horizontal").drop_nulls().group_by("old", "video_id", "day")
    assert users.agg(pl.col("new").n_unique())["new"].max() == 1


def test_the_cpu_time_of_a_child_that_nobody_waits_for_is_counted(tmp_path, monkeypatch):
    spin = "import time\nwhile time.process_time() < 1: pass"
    (tmp_path / "spinning.py").write_text(
        f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {spin!r}])\ntime.sleep(5)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    run = lake.run("spinning", environment={})

    assert run.cpu_seconds > 0.6
