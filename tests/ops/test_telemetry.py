"""Lineage and metrics of a step that is done."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.config import load_params
from core.paths import PROJECT_ROOT
from core.run_manifests import RowCounts, RunManifest, write_manifest
from ops import telemetry
from tasks import gate
from tests.support.workspaces import sample_night

INFO = {"night": "2026-03-12", "seconds": 2.5}
CLEAN = RunManifest(
    reads={"events": 1},
    writes={"interactions": 2, "rejects": 3},
    row_counts=RowCounts(10, 7, {"duplicate_event": 3}),
)


def samples(folder: Path, step: str) -> dict[str, float]:
    """Metric with the value of its label -> number, as Prometheus parses the file."""
    text = (folder / f"undercurrent_{step}.prom").read_text()
    families = text_string_to_metric_families(text)
    return {
        f"{sample.name}/{next(iter(sample.labels.values()))}": sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_hold_duration_rows_rejects_and_freshness(tmp_path: Path) -> None:
    write_manifest(tmp_path / "run_manifests", "clean", CLEAN, INFO)
    telemetry.write_metrics(tmp_path, "clean", tmp_path / "metrics")
    values = samples(tmp_path / "metrics", "clean")
    assert values["undercurrent_step_seconds/clean"] == 2.5
    assert values["undercurrent_clean_rows/kept"] == 7
    assert values["undercurrent_clean_rejects/duplicate_event"] == 3
    assert values["undercurrent_night_timestamp_seconds/clean"] == 1773273600  # 2026-03-12T00:00Z
    assert values["undercurrent_step_done_timestamp_seconds/clean"] > 1773273600


@pytest.mark.parametrize(
    ("step", "name", "value"),
    [("gate", "undercurrent_verdict/gate", 1.0), ("evaluate", "undercurrent_ndcg/challenger", None)],
)
def test_metrics_hold_the_verdict_and_the_ndcg(
    tmp_path: Path, step: str, name: str, value: float | None
) -> None:
    night = sample_night(tmp_path, champion=None)
    gate.run(load_params(PROJECT_ROOT / "params.yaml").gate, night)
    write_manifest(night.run_manifests, step, RunManifest(), INFO)
    telemetry.write_metrics(tmp_path, step, tmp_path / "metrics")
    number = samples(tmp_path / "metrics", step)[name]
    assert number == value if value is not None else 0 < number < 1


def test_lineage_names_the_tables_without_credentials(tmp_path: Path, home: Path) -> None:
    write_manifest(tmp_path / "run_manifests", "clean", CLEAN, INFO)
    lineage = telemetry.step_lineage(tmp_path, "clean")
    assert [dataset.name for dataset in lineage.inputs] == ["events"]
    assert [dataset.name for dataset in lineage.outputs] == ["interactions", "rejects"]
    assert {dataset.namespace for dataset in lineage.outputs} == {str(home / "lake")}
