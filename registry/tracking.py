"""MLflow tracking: the client, its errors, and the experiment that training and promotion share."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from core import paths, production
from core.errors import InputError, ServiceUnavailableError

EXPERIMENT = "undercurrent"
SQLITE = "sqlite:///"
MAX_MESSAGE_LENGTH = 300  # characters of MLflow's message that are shown
METRICS_PER_REQUEST = 1000  # metric points in one request

# An unreachable server is reported within two minutes; MLflow's default is twenty. Set variables are kept.
RETRY_SETTINGS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
# MLflow prints the address of each run's page, which may hold the login of the server.
QUIET_SETTINGS = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
# MLflow's codes for an unusable address or a refused login. A retry does not help.
USER_ERROR_CODES = ("INVALID_PARAMETER_VALUE", "UNAUTHENTICATED", "PERMISSION_DENIED", "ENDPOINT_NOT_FOUND")


def client() -> MlflowClient:
    """Create a client of the tracking server or database that MLFLOW_TRACKING_URI names.

    Raises:
        InputError: The folder of the database cannot be created.
    """
    uri = paths.tracking_uri()
    for name, value in (RETRY_SETTINGS | QUIET_SETTINGS).items():
        os.environ.setdefault(name, value)
    if uri.startswith(SQLITE):
        try:
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(_error_message(error, "name a folder that can be written to")) from None
    return MlflowClient(uri, registry_uri=uri)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn MLflow's errors into one sentence that names the address without its password.

    Raises:
        InputError: The address or the login is wrong.
        ServiceUnavailableError: The server or database cannot be reached.
    """
    try:
        yield
    except MlflowException as error:
        if (
            error.error_code in USER_ERROR_CODES
            or "error code 401" in str(error)
            or "error code 403" in str(error)
        ):
            raise InputError(_error_message(error, "correct the address or the login in it")) from None
        raise ServiceUnavailableError(_error_message(error, "start it, or correct the address")) from None
    except ModuleNotFoundError as error:
        raise InputError(
            _error_message(error, "install the database's driver, or correct the address")
        ) from None
    except (RequestException, SQLAlchemyError) as error:
        raise ServiceUnavailableError(_error_message(error, "start it, or correct the address")) from None


def _error_message(error: Exception, remedy: str) -> str:
    message = " ".join(str(error).split())[:MAX_MESSAGE_LENGTH]
    return paths.redact_credentials(f"MLFLOW_TRACKING_URI is {paths.tracking_uri()}: {message}; {remedy}")


def get_or_create_experiment(mlflow_client: MlflowClient) -> str:
    """Return the id of the experiment, and create the experiment if it is missing.

    With a local database, artifacts are stored in the home. Runs that may not promote, such as those of
    `dvc exp run`, have a separate experiment.
    """
    name = f"{EXPERIMENT}-experiments" if production.why_read_only() else EXPERIMENT
    existing = mlflow_client.get_experiment_by_name(name)
    if existing:
        return existing.experiment_id
    local = paths.tracking_uri().startswith(SQLITE)
    return mlflow_client.create_experiment(
        name, (paths.home() / "mlflow" / "artifacts").as_uri() if local else None
    )


def log_run(
    name: str,
    params: Mapping[str, Any],
    curve: Sequence[Mapping[str, float]],
    final_metrics: Mapping[str, float],
) -> str:
    """Log one training run.

    Args:
        name: Name of the run: the night.
        params: The parameters.
        curve: One row per epoch, with the key `epoch`.
        final_metrics: Logged with the prefix `final_`.

    Returns:
        The id of the run.

    Raises:
        InputError: The address or the login of MLflow is wrong.
        ServiceUnavailableError: MLflow cannot be reached.
    """
    with translate_errors():
        return _log_run(name, params, curve, final_metrics)


def _flat_params(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The parameters by dotted path, such as `model.name`. MLflow knows no nested parameters."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat_params(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _log_run(
    name: str,
    params: Mapping[str, Any],
    curve: Sequence[Mapping[str, float]],
    final_metrics: Mapping[str, float],
) -> str:
    mlflow_client = client()
    run = mlflow_client.create_run(
        get_or_create_experiment(mlflow_client), run_name=name, tags={"night": name}
    )
    timestamp = run.info.start_time
    points = [
        Metric(_metric_key(key), float(row[key]), timestamp, int(row["epoch"]))
        for row in curve
        for key in row
    ]
    points += [
        Metric(_metric_key(f"final_{key}"), float(value), timestamp, 0)
        for key, value in final_metrics.items()
    ]
    mlflow_client.log_batch(run.info.run_id, params=[Param(*item) for item in _flat_params(params)])
    for start in range(0, len(points), METRICS_PER_REQUEST):
        mlflow_client.log_batch(run.info.run_id, metrics=points[start : start + METRICS_PER_REQUEST])
    mlflow_client.set_terminated(run.info.run_id)
    return run.info.run_id


def _metric_key(name: str) -> str:
    """Replace @, which MLflow does not allow in names."""
    return name.replace("@", "_at_")
