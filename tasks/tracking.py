"""Where runs are written down: the MLflow experiment that training and promotion share."""

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

from contracts import place, production
from contracts.errors import AwayError, InputError

EXPERIMENT = "undercurrent"
SQLITE = "sqlite:///"
SAID = 300  # characters of what MLflow says that are told
BATCH = 1000  # metric points that one request may carry


# A server that is away is told within two minutes, not after MLflow's own twenty; the caller's settings stay.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
# At the end of each run MLflow prints its page's address, which holds the login of the server's.
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
# What MLflow says of an address that it cannot use, or a login that the server refuses: no retry helps.
MISTAKES = ("INVALID_PARAMETER_VALUE", "UNAUTHENTICATED", "PERMISSION_DENIED", "ENDPOINT_NOT_FOUND")


def client() -> MlflowClient:
    """A client of the tracking server or file that MLFLOW_TRACKING_URI names.

    Raises:
        InputError: the database's folder cannot be made.
    """
    uri = place.tracking_uri()
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)
    if uri.startswith(SQLITE):
        try:
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(_sentence(error, "name a folder that can be written")) from None
    return MlflowClient(uri, registry_uri=uri)


@contextmanager
def answering() -> Iterator[None]:
    """What MLflow does not answer, or refuses, in one sentence that names its address and no password.

    Raises:
        InputError: the address or the login is wrong.
        AwayError: the server or database is away.
    """
    try:
        yield
    except MlflowException as error:
        if error.error_code in MISTAKES or "error code 401" in str(error) or "error code 403" in str(error):
            raise InputError(_sentence(error, "correct the address or the login in it")) from None
        raise AwayError(_sentence(error, "start it, or correct the address")) from None
    except ModuleNotFoundError as error:
        raise InputError(_sentence(error, "install the database's driver, or correct the address")) from None
    except (RequestException, SQLAlchemyError) as error:
        raise AwayError(_sentence(error, "start it, or correct the address")) from None


def _sentence(error: Exception, remedy: str) -> str:
    said = " ".join(str(error).split())[:SAID]
    return place.without_credentials(f"MLFLOW_TRACKING_URI is {place.tracking_uri()}: {said}; {remedy}")


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
    with answering():
        return _log_run(name, params, curve, final)


def _log_run(
    name: str, params: Mapping[str, Any], curve: Sequence[Mapping[str, float]], final: Mapping[str, float]
) -> str:
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
