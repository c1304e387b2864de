"""Write the night's report: `report/report.html`, one page without external files.

The page shows the verdict first, then the metrics, example users, the data and the versions.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow.parquet as pq

from core import hashing, step_cli
from core.baselines import BASELINE_LABELS
from core.config import ReportConfig
from core.paths import Night
from core.run_manifests import RunManifest, read_json, read_manifest, write_text
from core.step_graph import STEPS
from core.tables import MODALITIES
from core.time_split import TEST_FOLD
from evaluation.gate_inputs import DETAILS_FILE, MANIFEST_FILE
from evaluation.verdict import night_outcome, read_verdict
from models.evaluation.metrics import classify_difference
from reporting import plots
from reporting.explanations import item_map_points
from reporting.segments import segment_plots
from reporting.users import example_users
from tasks.gate import REQUIRED_SLICES

TEMPLATE = Path(plots.__file__).with_name("report.html.j2")
MODEL_ORDER = ("challenger", "champion", "incumbent", *BASELINE_LABELS)
CUTOFF_METRICS = (
    "ndcg",
    "recall",
    "mrr",
    "coverage",
    "gini",
    "tail_share",
    "new_share",
)  # shown at every cut-off
RANKING_METRICS = ("auc", "gauc", "f1", "log_loss", "calibration_error")
MODEL_LABELS = {
    **BASELINE_LABELS,
    "challenger": "Challenger",
    "champion": "Champion",
    "incumbent": "Incumbent (present champion, made by this night)",
}


def run(params: ReportConfig, night: Night) -> RunManifest:
    """Write the report from the night's files.

    Raises:
        InputError: The verdict, the evaluation or the snapshot is missing.
    """
    text = render(context(params, night))
    page = night.fresh_folder("report") / "report.html"
    write_text(page, text)
    print(f"report: {page}", file=sys.stderr)
    return RunManifest(digests={"report.html": hashing.hash_file(page)}, facts={"page": str(page)})


def render(values: Mapping[str, Any]) -> str:
    """Render the page. All texts are escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "format_number": format_number,
        "format_signed": format_signed,
        "humanise": humanise,
        "metric_label": metric_label,
        "significance": significance,
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(values)


def context(params: ReportConfig, night: Night) -> dict[str, Any]:
    """Collect all values that the template shows.

    Raises:
        InputError: The verdict, the evaluation or the snapshot is missing.
    """
    metrics = _read_night_json(night.require_output(*DETAILS_FILE))
    manifest = _read_night_json(night.require_output(*MANIFEST_FILE))
    run_manifests = _run_manifests(night)
    verdict = read_verdict(night)
    promotion = run_manifests.get("promote", {}).get("facts")
    reference = verdict.reference
    modalities = [m for m in MODALITIES if m in manifest["modalities"]]
    alignment = _read_optional(night, "align", "metrics.json")
    directions = _retrieval_directions(alignment.get("modality_pairs", {}))
    users = example_users(night, params.example_users, modalities, metrics["attention"]["is_faithful"])
    return {
        "night": str(night.day),
        "verdict": verdict,
        "promotion": promotion,
        "headline": night_outcome(verdict.promote, promotion or {}).capitalize(),
        "primary_metric": metrics["primary_metric"],
        "primary_difference": metrics["differences"].get(reference, {}).get(metrics["primary_metric"]) or {},
        "reference": MODEL_LABELS[reference],
        "num_users": metrics["num_users"],
        "validation_days": [day for fold, day in manifest["folds"].items() if fold != TEST_FOLD],
        "model_rows": _model_rows(metrics),
        "shown_metrics": _shown_metrics(metrics),
        "cutoff_rows": _cutoff_rows(metrics),
        "plots": {
            **_plots(night, metrics, reference),
            **_explanation_plots(night, metrics),
            "retrieval": plots.cross_modal_recall(directions),
        },
        "modality_weights": metrics["modality_weights"],
        "max_groups": plots.MAX_GROUPS,
        "weight_groups": _weight_groups(metrics["modality_weights"]),
        "attention": metrics["attention"],
        "item_map": metrics["item_map"],
        "trends": metrics.get("trends"),
        "cutoff_metrics": CUTOFF_METRICS,
        "modalities": modalities,
        "alignment": alignment,
        "retrieval_directions": directions,
        "embedding_drift": metrics["embedding_drift"],
        "snapshot_manifest": manifest,
        "run_manifests": run_manifests,
        "timings": _timings(run_manifests),
        "segments": metrics.get("segments"),
        "example_users": users,
        "segment_plots": segment_plots(night, [user["user_id"] for user in users]),
        "pseudonym_key": run_manifests.get("snapshot", {}).get("facts", {}).get("pseudonym_key"),
        "champion": manifest["champion"],
    }


def format_number(value: Any, digits: int = 4) -> str:
    """Format a number for reading. An unknown number is a dash."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    text = f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"
    return text.replace("-", "−")


def format_signed(value: float | None, digits: int = 4) -> str:
    """Format a difference with its sign. An unknown difference is a dash."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def humanise(name: str) -> str:
    """Turn a key into words."""
    return name.replace("_", " ")


def significance(interval: Mapping[str, float | None]) -> str:
    """Describe a paired difference: its direction, and whether its confidence interval excludes 0."""
    direction = classify_difference(interval)
    return f"significantly {direction}" if direction in ("better", "worse") else direction


def metric_label(metric: str) -> str:
    """Return the usual spelling of a metric."""
    name = metric.split("@")[0]
    if name == "gauc":
        return "gAUC"
    return metric.upper() if name in ("ndcg", "mrr", "auc", "f1", "hr") else metric


def _shown_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Return the columns of the models' table: first the primary cut-off, then the ranking head."""
    k = metrics["primary_metric"].split("@")[1]
    available = {key for figures in metrics["models"].values() for key in figures}
    return [
        key for key in (*(f"{name}@{k}" for name in CUTOFF_METRICS), *RANKING_METRICS) if key in available
    ]


def _cutoff_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per model and cut-off."""
    keys = {int(key.split("@")[1]) for figures in metrics["models"].values() for key in figures if "@" in key}
    return [
        {
            "model": MODEL_LABELS.get(name, name),
            "k": k,
            **{m: metrics["models"][name].get(f"{m}@{k}") for m in CUTOFF_METRICS},
        }
        for name in sorted(metrics["models"], key=lambda name: _order_index(MODEL_ORDER, name))
        for k in sorted(keys)
    ]


def _order_index(order: Sequence[str], name: str) -> int:
    """Return the position of a name in an order. Other names come last."""
    return order.index(name) if name in order else len(order)


def _model_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per model, with the difference between the challenger and it."""
    return [
        {
            "name": MODEL_LABELS.get(name, name),
            "metrics": metrics["models"][name],
            "difference": metrics["differences"].get(name, {}).get(metrics["primary_metric"]),
        }
        for name in sorted(metrics["models"], key=lambda name: _order_index(MODEL_ORDER, name))
    ]


def _retrieval_directions(pairs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per direction of cross-modal retrieval: the query's modality and the target's."""
    return [
        {"query": query, "target": target, **pair, **pair[f"from_{query}"]}
        for name, pair in pairs.items()
        for query, target in (name.split("-"), reversed(name.split("-")))
    ]


def _plots(night: Night, metrics: Mapping[str, Any], reference: str) -> dict[str, str | int | None]:
    users = pq.read_table(night.require_output("evaluate", "per_user.parquet"))
    reference_ndcg = users[f"ndcg_{reference}"] if f"ndcg_{reference}" in users.column_names else None
    difference = (
        users["ndcg_challenger"].to_numpy() - reference_ndcg.to_numpy()
        if reference_ndcg is not None
        else np.zeros(0)
    )
    slices = metrics["slices"]
    curve = _read_optional(night, "train", "curve.json", list)
    return {
        "curve": plots.learning_curve(curve or []),
        "slices": plots.slice_differences(
            {name: slices[name] for name in sorted(slices, key=lambda n: _order_index(REQUIRED_SLICES, n))}
        ),
        "differences": plots.user_differences(difference, reference),
        "num_better": int((difference > 0).sum()),
        "num_worse": int((difference < 0).sum()),
        "num_same": int((difference == 0).sum()),
    }


def _explanation_plots(night: Night, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the map of the videos, and the modality weights of user segments and of categories."""
    points, weights = item_map_points(night), metrics["modality_weights"]
    xy_V2 = np.stack([points["x"].to_numpy(), points["y"].to_numpy()], 1)
    return {
        "item_map": plots.item_map(points["category"].to_pylist(), xy_V2),
        "modality_weights": {
            title: plots.modality_weights(rows) if weights["is_informative"] else None
            for title, rows in _weight_groups(weights).items()
        },
    }


def _weight_groups(weights: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the largest user segments and categories of videos, with their modality weights."""
    groups = {"user segment": weights["by_user_segment"], "video category": weights["by_category"]}
    return {title: plots.largest_groups(rows) for title, rows in groups.items()}


def _timings(run_manifests: Mapping[str, Mapping]) -> list[dict[str, Any]]:
    """Return seconds and memory of each step, and its time relative to the slowest step."""
    slowest = max((manifest["seconds"] for manifest in run_manifests.values()), default=0) or 1
    return [
        {
            "step": name,
            "seconds": manifest["seconds"],
            "memory": manifest["peak_memory_mib"],
            "share": manifest["seconds"] / slowest,
        }
        for name, manifest in run_manifests.items()
    ]


def _run_manifests(night: Night) -> dict[str, dict[str, Any]]:
    """Read the night's run manifests, in the order of the steps."""
    finished = [
        name for name in STEPS if name != "report" and (night.run_manifests / f"{name}.json").exists()
    ]
    return {name: read_manifest(night.run_manifests, name) for name in finished}


def _read_optional(
    night: Night, step_name: str, file: str, expected_type: type[dict] | type[list] = dict
) -> Any:
    path = night.workspace / step_name / file
    return _read_night_json(path, expected_type) if path.exists() else {}


def _read_night_json(path: Path, expected_type: type[dict] | type[list] = dict) -> Any:
    return read_json(path, f"run `python -m tasks.{path.parent.name}` again", expected_type=expected_type)


if __name__ == "__main__":
    sys.exit(step_cli.main("report", run, __doc__))
