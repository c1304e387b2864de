"""MLflow tracking: the client, its errors, and the runs of a night.

A night is a parent run. Each training, and each model that it was compared with, is a child run below it.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from core import locks, paths, production
from core.errors import FULL_DISK_TEXTS, InputError, ServiceUnavailableError
from core.hashing import hash_folder, hash_lines
from core.paths import Night
from core.run_manifests import read_json

EXPERIMENT = "undercurrent"
SQLITE = "sqlite:///"
MAX_MESSAGE_LENGTH = 300  # characters of MLflow's message that are shown
OS_ERROR = re.compile(r"\[Errno -?\d+\] [\w ]+(?:: '[^']*')?")
MAX_DIGEST_LENGTH = 36  # characters of the digest of a dataset
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
            _create_database(Path(uri.removeprefix(SQLITE)))
        except OSError as error:
            raise InputError(_error_message(error, "name a folder that can be written to")) from None
    return MlflowClient(uri, registry_uri=uri)


def _create_database(file: Path) -> None:
    """Create MLflow's SQLite database if it is missing: whole or not at all.

    MLflow creates it by many migrations. It cannot continue them after a kill, and no retry would help.
    """
    with locks.exclusive_lock(file.parent / "create.lock", "creation of MLflow's database"):
        if file.exists():
            return
        with TemporaryDirectory(dir=file.parent, prefix=".") as folder:
            engine = create_sqlalchemy_engine(f"{SQLITE}{folder}/{file.name}")
            _initialize_tables(engine)
            engine.dispose()
            Path(folder, file.name).replace(file)


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
        raise ServiceUnavailableError(_error_message(error, _server_remedy(error))) from None
    except ModuleNotFoundError as error:
        raise InputError(
            _error_message(error, "install the database's driver, or correct the address")
        ) from None
    except (RequestException, SQLAlchemyError) as error:
        raise ServiceUnavailableError(_error_message(error, _server_remedy(error))) from None


def _server_remedy(error: Exception) -> str:
    is_full = any(text in str(error) for text in FULL_DISK_TEXTS)
    return "free space on its disk" if is_full else "start it, or correct the address"


def _error_message(error: Exception, remedy: str) -> str:
    text = " ".join(str(error).split())
    cause = OS_ERROR.search(text)  # the rest of such a message is the stack of HTTP libraries
    message = cause.group() if cause else text[:MAX_MESSAGE_LENGTH]
    return paths.redact_credentials(f"MLFLOW_TRACKING_URI is {paths.tracking_uri()}: {message}; {remedy}")


def get_or_create_experiment(mlflow_client: MlflowClient) -> str:
    """Return the id of the experiment, and create the experiment if it is missing.

    A server chooses where artifacts are stored. With a database, they are stored in the home. MLflow's own
    default is the working directory. Runs that may not promote, such as those of `dvc exp run`, have a
    separate experiment.
    """
    name = f"{EXPERIMENT}-experiments" if production.why_read_only() else EXPERIMENT
    existing = mlflow_client.get_experiment_by_name(name)
    if existing:
        return existing.experiment_id
    has_server = paths.tracking_uri().startswith(("http://", "https://"))
    artifacts = None if has_server else (paths.home() / "mlflow" / "artifacts").as_uri()
    return mlflow_client.create_experiment(name, artifacts)


def create_child_run(mlflow_client: MlflowClient, night: str, part: str) -> Run:
    """Create a run below the run of a night. The first child creates the night's run, too.

    Args:
        mlflow_client: Client of the tracking server.
        night: YYYY-MM-DD.
        part: `train`, or the name of a model that the night was compared with.
    """
    tags = {"night": night, "part": part, MLFLOW_PARENT_RUN_ID: _night_run(mlflow_client, night)}
    experiment = get_or_create_experiment(mlflow_client)
    return mlflow_client.create_run(experiment, run_name=f"{night} {part}", tags=tags)


def _night_run(mlflow_client: MlflowClient, night: str) -> str:
    """Return the id of the parent run of a night."""
    experiment = get_or_create_experiment(mlflow_client)
    existing = mlflow_client.search_runs(
        [experiment], f"tags.night = '{night}' and tags.part = 'night'", max_results=1
    )
    if existing:
        return existing[0].info.run_id
    tags = {"night": night, "part": "night"}
    run_id = mlflow_client.create_run(experiment, run_name=f"night {night}", tags=tags).info.run_id
    mlflow_client.set_terminated(run_id)
    return run_id


def snapshot_dataset(night: Night) -> DatasetInput:
    """Describe the night's snapshot as a dataset of MLflow. The digest identifies its files.

    Raises:
        InputError: The snapshot is missing or damaged.
    """
    path = night.require_output("snapshot", "manifest.json")
    manifest = read_json(path, "run `python -m tasks.snapshot` again", ("num_users", "num_videos"))
    digest = hash_lines([f"{name} {digest}" for name, digest in hash_folder(path.parent).items()])
    dataset = Dataset(
        name=f"snapshot {night.day}",
        digest=digest[:MAX_DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": str(path.parent)}),
        profile=json.dumps({name: manifest[name] for name in ("num_users", "num_videos")}),
    )
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])


def log_metrics(mlflow_client: MlflowClient, run: Run, metrics: Mapping[str, Any]) -> None:
    """Log the metrics of the test day with the prefix `test_`. Values other than numbers are left out."""
    points = [
        Metric(_metric_key(f"test_{name}"), value, run.info.start_time, 0)
        for name, value in metrics.items()
        if isinstance(value, float)
    ]
    mlflow_client.log_batch(run.info.run_id, metrics=points)


def log_run(
    night: str,
    params: Mapping[str, Any],
    curve: Sequence[Mapping[str, float]],
    final_metrics: Mapping[str, float],
    dataset: DatasetInput | None = None,
    system_metrics: Sequence[Metric] = (),
) -> str:
    """Log one training run, below the run of its night.

    Args:
        night: YYYY-MM-DD.
        params: The parameters.
        curve: One row per epoch, with the key `epoch`.
        final_metrics: Logged with the prefix `final_`.
        dataset: What the model was trained on.
        system_metrics: Samples of the machine during the training.

    Returns:
        The id of the run.

    Raises:
        InputError: The address or the login of MLflow is wrong.
        ServiceUnavailableError: MLflow cannot be reached.
    """
    with translate_errors():
        mlflow_client = client()
        run = create_child_run(mlflow_client, night, "train")
        run_id = run.info.run_id
        if dataset:
            mlflow_client.log_inputs(run_id, [dataset])
        mlflow_client.log_batch(run_id, params=[Param(*item) for item in _flat_params(params)])
        points = [*_curve_points(curve, final_metrics, run.info.start_time), *system_metrics]
        for start in range(0, len(points), METRICS_PER_REQUEST):
            mlflow_client.log_batch(run_id, metrics=points[start : start + METRICS_PER_REQUEST])
        mlflow_client.set_terminated(run_id)
    return run_id


def _flat_params(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The parameters by dotted path, such as `model.name`. MLflow knows no nested parameters."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat_params(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _curve_points(
    curve: Sequence[Mapping[str, float]], final_metrics: Mapping[str, float], timestamp: int
) -> Iterator[Metric]:
    for row in curve:
        for key, value in row.items():
            yield Metric(_metric_key(key), float(value), timestamp, int(row["epoch"]))
    for key, value in final_metrics.items():
        yield Metric(_metric_key(f"final_{key}"), float(value), timestamp, 0)


def _metric_key(name: str) -> str:
    """Replace @, which MLflow does not allow in names."""
    return name.replace("@", "_at_")
