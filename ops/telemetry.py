"""What monitoring systems get of a step that is done: lineage for OpenLineage, metrics for Prometheus.

Both are read from the step's run manifest. Airflow's own settings turn OpenLineage on.
`UNDERCURRENT_METRICS_FOLDER` turns the metrics on. The textfile collector of Prometheus' node exporter reads
the files of that folder.
"""

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from core.paths import redact_credentials, warehouse
from core.run_manifests import read_manifest
from ops import night_results

if TYPE_CHECKING:  # the provider is slow to import, and only OpenLineage needs it
    from airflow.providers.openlineage.extractors import OperatorLineage


def step_lineage(workspace: Path, step: str) -> "OperatorLineage":
    """Return the tables that a step read and wrote.

    Args:
        workspace: folder of the night.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset

    manifest = read_manifest(workspace / "run_manifests", step)
    namespace = redact_credentials(str(warehouse()))
    inputs, outputs = (
        [Dataset(namespace=namespace, name=table) for table in sorted(manifest[key])]
        for key in ("reads", "writes")
    )
    return OperatorLineage(inputs=inputs, outputs=outputs)


def write_metrics(workspace: Path, step: str, folder: Path) -> None:
    """Write `undercurrent_<step>.prom` with duration, rows and freshness, and the results of the night.

    Readers never see half a file.

    Args:
        workspace: folder of the night.
        folder: where to write. It is created if it is missing.
    """
    manifest = read_manifest(workspace / "run_manifests", step)
    registry = CollectorRegistry()

    def add(name: str, text: str, values: Mapping[str, float], label: str = "step") -> None:
        metric = Gauge(f"undercurrent_{name}", text, [label], registry=registry)
        for label_value, number in values.items():
            metric.labels(label_value).set(number)

    add("step_seconds", "Duration of the newest run", {step: manifest["seconds"]})
    add("step_done_timestamp_seconds", "When the newest run ended", {step: time.time()})
    midnight = datetime.combine(date.fromisoformat(manifest["night"]), datetime.min.time(), UTC)
    add("night_timestamp_seconds", "Start of the newest night, for freshness", {step: midnight.timestamp()})
    if rows := manifest["row_counts"]:
        add(f"{step}_rows", "Rows of the newest run", {k: rows[k] for k in ("rows_in", "kept")}, "count")
        add(f"{step}_rejects", "Rejected rows of the newest run", rows["rejected"], "reason")
    if step == "evaluate":
        add("ndcg", "NDCG on the test day", night_results.read_ndcg(workspace), "model")
    if step == "gate":
        promote = night_results.read_verdict(workspace).promote
        add("verdict", "1: the gate promotes the challenger, 0: it refuses it", {step: float(promote)})
    folder.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(folder / f"undercurrent_{step}.prom"), registry)
