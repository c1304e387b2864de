"""The contenders of the benchmark find the same places, on sets that are what they are said to be."""

import numpy as np
import pytest

from benchmarks.evaluate import CONTENDERS, STOP, at_the_top, measure, planted, told


@pytest.mark.parametrize("make", [planted, at_the_top])
def test_every_contender_that_is_installed_finds_the_same_places(make) -> None:
    task = make(200, 500, 8, 3)
    expected = told(CONTENDERS["ours"][0](task), task)
    for name in ("dense, counting", "dense, torch top-k", "dense, numpy sort"):
        rank_P = np.minimum(CONTENDERS[name][0](task), STOP + 1)
        assert told(rank_P, task) == pytest.approx(expected), name


def test_targets_at_the_top_are_all_found_and_planted_ones_are_not() -> None:
    top, some = at_the_top(300, 2000, 8, 3), planted(300, 2000, 8, 3)
    assert told(CONTENDERS["ours"][0](top), top)[f"recall@{STOP}"] == 1.0
    assert 0.02 < told(CONTENDERS["ours"][0](some), some)[f"recall@{STOP}"] < 0.6


def test_what_is_measured_tells_rates_and_memory_of_those_that_are_there(monkeypatch) -> None:
    for name in ("dense, counting", "dense, torch top-k", "FAISS flat"):
        monkeypatch.delitem(CONTENDERS, name)
    found = measure(planted(60, 100, 4, 2), threads=1, repeats=1)
    assert set(found["users_per_s"]) == set(found["peak_mib"]) == {"ours", "dense, numpy sort"}
    assert all(rate > 0 for rate in found["users_per_s"].values())
    assert found["largest_difference"] < 1e-9
