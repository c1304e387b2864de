"""The model card: what a registered version was trained on, how good it is, and what its limits are.

MLflow shows it as the description of the version. It holds no data of single users.
"""

from collections.abc import Mapping
from typing import Any

MAX_CHARACTERS = 5000  # of a description in MLflow's database
USE = (
    "Recommends videos of its catalogue for the day after training. Its files are safetensors, JSON and"
    " Parquet; set `MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false` when loading."
)
LIMITS = (
    "The metrics are offline, of one platform and one day. The model knows no video that is newer than its"
    " catalogue. A score says what a user is likely to watch, and nothing else about the user."
)
SHOWN_METRICS = ("ndcg", "recall", "coverage")  # at the primary cut-off


def model_card(
    summary: str, details: Mapping[str, Any], manifest: Mapping[str, Any], model: Mapping[str, Any]
) -> str:
    """Return the card as Markdown.

    Args:
        summary: Of the verdict of the gate.
        details: The content of `evaluate/details.json`.
        manifest: The content of `snapshot/manifest.json`.
        model: The content of `model.json`.
    """
    sections = (
        f"# Model of the night {manifest['test_day']}",
        summary,
        f"## Data\n\n{_data(details, manifest)}",
        f"## Metrics on the test day\n\n{_metrics_table(details)}",
        f"## Model\n\n{_architecture(model)}",
        f"## Use\n\n{USE}",
        f"## Limits\n\n{LIMITS}",
    )
    return "\n\n".join(sections)[:MAX_CHARACTERS]


def _data(details: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    modalities = ", ".join(f"{name} ({m['covered']} videos)" for name, m in manifest["modalities"].items())
    return (
        f"{manifest['num_users']} users, {manifest['num_videos']} videos; {details['num_users']} users with a"
        f" target on the test day {manifest['test_day']}. Modalities: {modalities or 'none'}."
    )


def _metrics_table(details: Mapping[str, Any]) -> str:
    primary = details["primary_metric"]
    names = [f"{name}@{primary.partition('@')[2]}" for name in SHOWN_METRICS]
    rows = [["model", *names, f"difference of {primary} (95 % interval)"]]
    rows += [["---"] * len(rows[0])]
    for model, metrics in details["models"].items():
        values = [f"{metrics[name]:.4f}" for name in names]
        rows += [[model, *values, _interval(details["differences"].get(model, {}).get(primary))]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _interval(difference: Mapping[str, float | None] | None) -> str:
    if difference is None or difference["low"] is None or difference["high"] is None:
        return "–"
    return f"{difference['mean']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"


def _architecture(model: Mapping[str, Any]) -> str:
    parts = [f"`{model['model']}`, width {model['width']}"]
    parts += [f"{name} encoder `{value}`" for name, value in model["encoder_fingerprints"].items()]
    return "; ".join(parts) + "."
