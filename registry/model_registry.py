"""The model registry: the versions of the registered model in MLflow, and their aliases.

A version is identified by the digest of its bundle. Its tag `replaced_version` names the champion that it
replaced. With this tag, a night that is run again is compared with the same champion as the first time.

Importing mlflow takes seconds, so only the functions that need it import it.
"""

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from core import locks, paths
from core.errors import InputError, ServiceUnavailableError
from core.hashing import BUNDLE_FILES, hash_bundle

# The aliases. `previous` is the champion before the present one, for a rollback.
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@dataclass(frozen=True)
class ModelVersion:
    """A registered version.

    Attributes:
        number: The version number in MLflow.
        tags: Its tags at the time of reading.
    """

    number: str
    tags: Mapping[str, str]

    @property
    def night(self) -> str:
        """The night that registered it. Empty if it was registered by hand."""
        return self.tags.get("night", "")


def model_name() -> str:
    """Return the name of the registered model (UNDERCURRENT_MODEL, default `undercurrent`)."""
    return os.environ.get("UNDERCURRENT_MODEL", "undercurrent")


def promotion_lock() -> AbstractContextManager[Any]:
    """Lock the aliases. MLflow has no compare-and-set, so only one process may move them at a time."""
    return locks.exclusive_lock(paths.home() / "mlflow" / "promotion.lock", "promotion")


# What the champion is served with in addition to its bundle.
CATALOGUE_FILES = ("catalogue.parquet", "features.safetensors")
# Errors of a missing file: MLflow's code for a local folder, and HTTP 404.
NOT_FOUND = re.compile(r"RESOURCE_DOES_NOT_EXIST|\b404\b")
MISSING_MODEL_REMEDY = (
    "restore its files, or make another version the champion (`undercurrent rollback --to VERSION`),"
    " or remove the alias `champion` from it in MLflow: the night is then judged without a champion"
)


class ModelRegistry:
    """The versions of the registered model. Empty until `create_if_missing`."""

    def __init__(self) -> None:
        from registry import tracking

        self.client = tracking.client()
        self.name = model_name()

    def create_if_missing(self) -> None:
        """Create the registered model if it is missing."""
        if not self._registered_models():
            self.client.create_registered_model(self.name)

    def versions(self) -> list[ModelVersion]:
        """Return all versions, oldest first."""
        versions: list[ModelVersion] = []
        page = self.client.search_model_versions(f"name = '{self.name}'")
        while True:
            versions += [ModelVersion(str(version.version), dict(version.tags)) for version in page]
            if not page.token:
                return sorted(versions, key=lambda version: int(version.number))
            page = self.client.search_model_versions(f"name = '{self.name}'", page_token=page.token)

    def get_version(self, number: str | None) -> ModelVersion | None:
        """Return the version with this number, or None."""
        return next((version for version in self.versions() if version.number == number), None)

    def find_by_bundle(self, digest: str) -> ModelVersion | None:
        """Return the oldest version with this bundle, or None."""
        return next(
            (version for version in self.versions() if version.tags.get("bundle_digest") == digest), None
        )

    def get_by_alias(self, alias: str) -> ModelVersion | None:
        """Return the version that an alias points at, or None."""
        numbers = [model.aliases.get(alias) for model in self._registered_models()]
        return self.get_version(str(numbers[0])) if any(numbers) else None

    def set_alias(self, alias: str, version: ModelVersion) -> None:
        """Point an alias at a version."""
        self.client.set_registered_model_alias(self.name, alias, version.number)

    def set_tags(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Set the tags that differ."""
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self.client.set_model_version_tag(self.name, version.number, key, value)

    def champion_for(self, night: date) -> ModelVersion | None:
        """Return the champion that a night must beat: the newest one that an earlier night made.

        Starting at the present champion, it follows the tags `replaced_version`.
        """
        champion = self.get_by_alias(CHAMPION)
        while champion and champion.night >= str(night):
            champion = self.get_version(champion.tags.get("replaced_version"))
        return champion

    def incumbent_for(self, night: date) -> ModelVersion | None:
        """Return the incumbent: the present champion, if an earlier run of this night made it."""
        champion = self.get_by_alias(CHAMPION)
        return champion if champion and champion.night == str(night) else None

    def _registered_models(self) -> list:
        return self.client.search_registered_models(f"name = '{self.name}'")


def fetch_compared_models(out: Path, night: date) -> dict[str, str | None]:
    """Download the champion and the incumbent of a night into `out/champion` and `out/incumbent`.

    The champion is the same for every run of the night. An existing folder is replaced. Without such a
    model the folder is removed.

    Returns:
        `champion` and `incumbent`, each with its version number or None.

    Raises:
        InputError: Files of such a model are missing, or their digest differs.
        ServiceUnavailableError: MLflow does not answer.
    """
    from registry import tracking

    with tracking.translate_errors():
        registry = ModelRegistry()
        compared = {
            "champion": registry.champion_for(night),
            "incumbent": registry.incumbent_for(night),
        }
        for name, version in compared.items():
            shutil.rmtree(out / name, ignore_errors=True)
            if version:
                _download_version(registry, version, out / name)
    return {name: version.number if version else None for name, version in compared.items()}


def fetch_champion(folder: Path) -> ModelVersion:
    """Download all files that the champion is served with (`tasks.promote.write_artifacts`) into a folder.

    Raises:
        InputError: There is no champion, or its files are missing, or their digest differs.
        ServiceUnavailableError: MLflow does not answer.
    """
    from registry import tracking

    with tracking.translate_errors():
        registry = ModelRegistry()
        champion = registry.get_by_alias(CHAMPION)
        if champion is None:
            raise InputError(
                f"model {registry.name!r} has no champion; promote a night, or name one with --night"
            )
        _download_version(registry, champion, folder)
        for name in CATALOGUE_FILES:
            _download_file(registry, champion, name, folder)
    return champion


def _download_version(registry_client: ModelRegistry, version: ModelVersion, folder: Path) -> None:
    """Write the bundle and `version.txt` of a version into a folder, and verify the digest."""
    import mlflow
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR

    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    mlflow.set_tracking_uri(paths.tracking_uri())
    mlflow.set_registry_uri(paths.tracking_uri())  # `models:/` addresses are resolved here
    folder.mkdir(parents=True)
    for name in BUNDLE_FILES:
        _download_file(registry_client, version, name, folder)
    if version.tags.get("bundle_digest", digest := hash_bundle(folder)) != digest:
        version_label = _describe_version(registry_client, version)
        raise InputError(
            f"{version_label}: its files differ from the registered model; {MISSING_MODEL_REMEDY}"
        )
    (folder / "version.txt").write_text(f"{version.number}\n", encoding="utf-8")


def _download_file(registry_client: ModelRegistry, version: ModelVersion, name: str, folder: Path) -> None:
    """Download one file of a version into the folder.

    Raises:
        InputError: It is missing. The message names every remedy, because each later night would fail too.
        ServiceUnavailableError: The store does not answer.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    uri = f"models:/{registry_client.name}/{version.number}/artifacts/{name}"
    try:
        fetched = download_artifacts(artifact_uri=uri, dst_path=str(folder / "fetched"))
    except (MlflowException, OSError) as error:
        message = paths.redact_credentials(" ".join(str(error).split()))
        version_label, code = _describe_version(registry_client, version), getattr(error, "error_code", "")
        if NOT_FOUND.search(f"{code} {message}"):
            raise InputError(
                f"{version_label}: {name} is not in the artifact store; {MISSING_MODEL_REMEDY}"
            ) from None
        problem = f"{version_label}: {name} cannot be downloaded ({message}); start the artifact store, or"
        raise ServiceUnavailableError(f"{problem} {MISSING_MODEL_REMEDY}") from None
    shutil.move(fetched, folder / name)
    shutil.rmtree(folder / "fetched")


def _describe_version(registry_client: ModelRegistry, version: ModelVersion) -> str:
    label = f"version {version.number} of model {registry_client.name!r}"
    return f"{label}, which this night is compared with"
