"""What experiments are compared by: a dozen metrics, and the tables behind DVC's plots.

`details.json` holds everything that the evaluation measured. These are its headlines, under names that do not
depend on the model, so that two experiments have the same columns.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.baselines import BASELINE_LABELS
from core.run_manifests import write_json


def write_experiment_files(out: Path, details: Mapping[str, Any]) -> None:
    """Write `metrics.json`, and one table for each plot of dvc.yaml into `plots/`.

    Args:
        out: Output folder of `evaluate`.
        details: The content of `details.json`.
    """
    write_json(out / "metrics.json", headline_metrics(details))
    write_json(out / "plots" / "slices.json", slice_rows(details))
    write_json(out / "plots" / "calibration.json", calibration_rows(details))
    write_json(out / "plots" / "modality_weights.json", modality_weight_rows(details))


def headline_metrics(details: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the metrics of the challenger as name -> value. A value is None if it is undefined.

    The gains are paired differences of the primary metric. `modality_entropy` is the mean entropy of the
    modality weights relative to equal weights, in [0, 1]. `embedding_drift` is the 95th percentile of
    1 − cosine from the champion's space.
    """
    primary = details["primary_metric"]
    k = primary.partition("@")[2]
    challenger, slices = details["models"]["challenger"], details["slices"]
    names = (f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"coverage@{k}", "auc", "calibration_error")
    best_baseline = max(BASELINE_LABELS, key=lambda name: details["models"][name][primary])
    return {
        **{name: challenger.get(name) for name in names},
        **{f"ndcg@{k}_{s}": slices.get(s, {}).get("challenger") for s in ("cold_users", "new_videos")},
        "gain_over_champion": _mean_gain(details, "champion"),
        "gain_over_best_baseline": _mean_gain(details, best_baseline),
        "modality_entropy": _relative_entropy(details["modality_weights"]),
        "embedding_drift": details["embedding_drift"]["max_p95_drift"],
    }


def _relative_entropy(weights: Mapping[str, Any]) -> float | None:
    """Return the mean entropy relative to equal weights. None without weights or with one modality only."""
    entropy, max_entropy = weights.get("entropy"), weights.get("max_entropy")
    return None if entropy is None or not max_entropy else entropy / max_entropy


def _mean_gain(details: Mapping[str, Any], reference: str) -> float | None:
    return details["differences"].get(reference, {}).get(details["primary_metric"], {}).get("mean")


def slice_rows(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each slice: the NDCG@k of the challenger."""
    return [
        {"slice": name, "ndcg": metrics["challenger"], "num_users": metrics["num_users"]}
        for name, metrics in details["slices"].items()
    ]


def calibration_rows(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the reliability diagram of the challenger's headline head. Empty without ranking heads."""
    head = details["models"]["challenger"].get("ranking_head")
    return details["ranking_heads"]["challenger"][head]["calibration_curve"] if head else []


def modality_weight_rows(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each group of users and modality: the mean weight. Empty without modalities."""
    weights = details["modality_weights"]
    groups = {"all users": weights["users"], **weights["by_user_segment"]}
    return [
        {"group": f"{group}: {modality}", "weight": weight}
        for group, distribution in groups.items()
        for modality, weight in distribution.get("mean", {}).items()
    ]
