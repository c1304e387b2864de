from collections import Counter

import pytest

from benchmarks.chaos import lake
from benchmarks.chaos.lake import TABLES, KillCounts, format_table
from tests.support.landing_files import small_platform

ROWS = {name: Counter(["a", "a", "b"]) for name in TABLES}


def test_lost_and_added_rows_are_counted():
    counts = KillCounts()
    counts.add(True, ROWS, ROWS)
    assert (counts.survived, counts.rows_lost, counts.rows_added) == (1, 0, 0)
    counts.add(True, ROWS, ROWS | {"events": Counter(["a", "b", "c", "c"])})
    assert counts == KillCounts(kills=2, in_time=2, survived=1, rows_lost=1, rows_added=2)
    assert format_table({"clean": counts}).splitlines()[-1].split() == ["all", "2", "2", "1", "1", "2"]


@pytest.mark.timeout(300)
def test_a_step_killed_at_a_random_moment_loses_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr(lake, "STEPS", ("ingest",))
    small_platform(tmp_path / "landing", days=1)
    counts = lake.run_kills(tmp_path / "landing", tmp_path, num_kills=1, seed=1)
    assert [(c.kills, c.survived, c.rows_lost + c.rows_added) for c in counts.values()] == [(1, 1, 0)]
