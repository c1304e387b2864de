"""Where runs are written down: the MLflow experiment that training and promotion share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from contracts import place, production

EXPERIMENT = "undercurrent"
SQLITE = "sqlite:///"
BATCH = 1000  # metric points that one request may carry


def client() -> MlflowClient:
    """A client of the tracking server or file that MLFLOW_TRACKING_URI names."""
    uri = place.tracking_uri()
    if uri.startswith(SQLITE):
        Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(uri, registry_uri=uri)


def experiment(mlflow: MlflowClient) -> str:
    """The experiment's id, made when missing; beside a local database its artifacts lie in the home.

    What DVC runs unasked has an experiment of its own.
    """
    name = f"{EXPERIMENT}-experiments" if production.left_alone() else EXPERIMENT
    found = mlflow.get_experiment_by_name(name)
    if found:
        return found.experiment_id
    local = place.tracking_uri().startswith(SQLITE)
    return mlflow.create_experiment(name, (place.home() / "mlflow" / "artifacts").as_uri() if local else None)


def log_run(
    name: str, params: Mapping[str, Any], curve: Sequence[Mapping[str, float]], final: Mapping[str, float]
) -> str:
    """One training run: its parameters, a metric point an epoch, and what came out; returns the run's id."""
    mlflow = client()
    run = mlflow.create_run(experiment(mlflow), run_name=name, tags={"night": name})
    now = run.info.start_time
    points = [Metric(_key(key), float(row[key]), now, int(row["epoch"])) for row in curve for key in row]
    points += [Metric(_key(f"final_{key}"), float(value), now, 0) for key, value in final.items()]
    mlflow.log_batch(run.info.run_id, params=[Param(key, str(value)) for key, value in params.items()])
    for at in range(0, len(points), BATCH):
        mlflow.log_batch(run.info.run_id, metrics=points[at : at + BATCH])
    mlflow.set_terminated(run.info.run_id)
    return run.info.run_id


def _key(name: str) -> str:
    """MLflow allows no @ in names."""
    return name.replace("@", "_at_")
