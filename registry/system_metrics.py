"""System metrics of a training: CPU, memory, disk, network and GPU, as the monitors of MLflow read them.

The samples stay in memory until the run is logged, so a training does not need MLflow before its end.
MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false turns them off. MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL is the time
between two samples, in seconds.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from mlflow.entities import Metric
from mlflow.environment_variables import (
    MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING,
    MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL,
)
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

DEFAULT_SECONDS = 10.0  # between two samples; a sample takes about a millisecond
PREFIX = "system/"  # MLflow shows metrics with this prefix on a page of their own


@contextmanager
def sample_system_metrics() -> Iterator[list[Metric]]:
    """Sample in a thread until the block ends, and once more at its end.

    Yields:
        The points, which are complete after the block. Empty if system metrics are turned off.
    """
    points: list[Metric] = []
    if MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.is_set() and not MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        yield points
        return
    ended = Event()
    thread = Thread(target=_sample, args=(points, ended), name="system-metrics", daemon=True)
    thread.start()
    try:
        yield points
    finally:
        ended.set()
        thread.join()


def _sample(points: list[Metric], ended: Event) -> None:
    """Append samples until the event is set. Waiting for the event ends at once, whatever the interval."""
    monitors, seconds = _monitors(), MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or DEFAULT_SECONDS
    step, is_last = 0, False
    while not is_last:
        is_last = ended.wait(seconds)
        timestamp = int(time.time() * 1000)
        for monitor in monitors:
            monitor.collect_metrics()
            values = monitor.aggregate_metrics()
            points += [Metric(f"{PREFIX}{name}", value, timestamp, step) for name, value in values.items()]
            monitor.clear_metrics()
        step += 1


def _monitors() -> list[BaseMetricsMonitor]:
    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        return [*monitors, GPUMonitor()]
    except (ImportError, RuntimeError):  # no package nvidia-ml-py, or no GPU
        return monitors
