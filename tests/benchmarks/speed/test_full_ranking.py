"""The contenders of the benchmark compute the same ranks, on tasks with the described targets."""

import numpy as np
import pytest

from benchmarks.speed.full_ranking import (
    CONTENDERS,
    MAX_CUTOFF,
    benchmark_task,
    compute_metrics,
    make_deep_targets,
    make_top_targets,
)


@pytest.mark.parametrize("make", [make_deep_targets, make_top_targets])
def test_installed_contenders_compute_the_same_ranks(make) -> None:
    task = make(200, 500, 8, 3)
    expected = compute_metrics(CONTENDERS["undercurrent"][0](task), task)
    for name in ("dense, counted ranks", "dense, torch top-k", "dense, numpy sort"):
        rank_P = np.minimum(CONTENDERS[name][0](task), MAX_CUTOFF + 1)
        assert compute_metrics(rank_P, task) == pytest.approx(expected), name


def test_top_targets_are_all_found_and_deep_targets_are_not() -> None:
    top, deep = make_top_targets(300, 2000, 8, 3), make_deep_targets(300, 2000, 8, 3)
    assert compute_metrics(CONTENDERS["undercurrent"][0](top), top)[f"recall@{MAX_CUTOFF}"] == 1.0
    assert 0.02 < compute_metrics(CONTENDERS["undercurrent"][0](deep), deep)[f"recall@{MAX_CUTOFF}"] < 0.6


def test_results_hold_rates_and_memory_of_installed_contenders(monkeypatch) -> None:
    for name in ("dense, counted ranks", "dense, torch top-k", "FAISS flat"):
        monkeypatch.delitem(CONTENDERS, name)
    result = benchmark_task(make_deep_targets(60, 100, 4, 2), threads=1, repeats=1)
    assert set(result["users_per_s"]) == set(result["peak_mib"]) == {"undercurrent", "dense, numpy sort"}
    assert all(rate > 0 for rate in result["users_per_s"].values())
    assert result["max_metric_difference"] < 1e-9
