import threading
import time

import pytest

from registry import tracking
from registry.system_metrics import sample_system_metrics

ENABLED, INTERVAL = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"


def test_a_training_is_sampled_and_logged_with_its_run(monkeypatch):
    monkeypatch.delenv(ENABLED)
    monkeypatch.setenv(INTERVAL, "0.01")
    with sample_system_metrics() as samples:
        while not samples:
            time.sleep(0.01)
    assert {metric.step for metric in samples} >= {0, 1}
    run_id = tracking.log_run("2026-03-12", {}, [], {}, None, samples)
    metrics = tracking.client().get_run(run_id).data.metrics
    assert 0 < metrics["system/system_memory_usage_percentage"] <= 100
    assert {"system/cpu_utilization_percentage", "system/disk_usage_percentage"} <= metrics.keys()


def test_a_short_training_has_one_sample_and_ends_before_the_interval(monkeypatch):
    monkeypatch.delenv(ENABLED)
    monkeypatch.setenv(INTERVAL, "3600")
    with sample_system_metrics() as samples:
        assert [thread.name for thread in threading.enumerate()].count("system-metrics") == 1
    assert {metric.step for metric in samples} == {0}
    assert "system-metrics" not in [thread.name for thread in threading.enumerate()]


def test_a_training_that_fails_ends_the_thread(monkeypatch):
    monkeypatch.delenv(ENABLED)
    with pytest.raises(FloatingPointError), sample_system_metrics():
        raise FloatingPointError
    assert "system-metrics" not in [thread.name for thread in threading.enumerate()]


def test_the_variable_of_mlflow_turns_them_off():
    with sample_system_metrics() as samples:
        assert "system-metrics" not in [thread.name for thread in threading.enumerate()]
    assert samples == []
