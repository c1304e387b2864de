"""The model registry: versions of the one registered model in MLflow, and the aliases that point at them.

A version is known by its bundle's digest. Its tag `replaced` tells which champion it took over from, so that
a night that is run again meets the champion that it met the first time. mlflow takes seconds to import: only
inside the functions that need it.
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

from contracts import locks, place
from contracts.digests import BUNDLE_FILES, of_bundle
from contracts.errors import AwayError, InputError

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@dataclass(frozen=True)
class Version:
    """A registered version; `tags` as they were when it was read."""

    number: str
    tags: Mapping[str, str]

    @property
    def night(self) -> str:
        """The night that made it; empty where a person registered it."""
        return self.tags.get("night", "")


def model_name() -> str:
    """The registered model's name (UNDERCURRENT_MODEL, default `undercurrent`)."""
    return os.environ.get("UNDERCURRENT_MODEL", "undercurrent")


def alone() -> AbstractContextManager[Any]:
    """One mover of pointers at a time: aliases in MLflow have no compare-and-set."""
    return locks.alone(place.home() / "mlflow" / "promotion.lock", "promotion")


# How stores say that a file is gone: a folder, and servers and buckets, which say 404.
GONE = re.compile(r"RESOURCE_DOES_NOT_EXIST|\b404\b")
WAYS_OUT = (
    "bring its files back, or make another version the champion (`python -m tasks.rollback --to VERSION`),"
    " or take the alias `champion` from it in MLflow, and the night is judged as a first one"
)


class Registry:
    """The versions of the registered model; none while it was never made."""

    def __init__(self) -> None:
        from tasks import tracking

        self.mlflow = tracking.client()
        self.name = model_name()

    def make(self) -> None:
        """Make the registered model when it is missing."""
        if not self._found():
            self.mlflow.create_registered_model(self.name)

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        found: list[Version] = []
        page = self.mlflow.search_model_versions(f"name = '{self.name}'")
        while True:
            found += [Version(str(version.version), dict(version.tags)) for version in page]
            if not page.token:
                return sorted(found, key=lambda version: int(version.number))
            page = self.mlflow.search_model_versions(f"name = '{self.name}'", page_token=page.token)

    def numbered(self, number: str | None) -> Version | None:
        """The version of this number."""
        return next((version for version in self.versions() if version.number == number), None)

    def with_bundle(self, digest: str) -> Version | None:
        """The oldest version that holds this bundle."""
        return next((version for version in self.versions() if version.tags.get("bundle") == digest), None)

    def holder(self, alias: str) -> Version | None:
        """The version that an alias points at."""
        numbers = [model.aliases.get(alias) for model in self._found()]
        return self.numbered(str(numbers[0])) if any(numbers) else None

    def point(self, alias: str, version: Version) -> None:
        """Move an alias."""
        self.mlflow.set_registered_model_alias(self.name, alias, version.number)

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set the tags that differ."""
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self.mlflow.set_model_version_tag(self.name, version.number, key, value)

    def champion_of(self, night: date) -> Version | None:
        """The champion that a night has to beat: the newest that neither this nor a later night made."""
        champion = self.holder(CHAMPION)
        while champion and champion.night >= str(night):
            champion = self.numbered(champion.tags.get("replaced"))
        return champion

    def incumbent_of(self, night: date) -> Version | None:
        """The present champion where this very night made it: whom the night, run again, would replace."""
        champion = self.holder(CHAMPION)
        return champion if champion and champion.night == str(night) else None

    def _found(self) -> list:
        return self.mlflow.search_registered_models(f"name = '{self.name}'")


def pin(out: Path, night: date) -> dict[str, str | None]:
    """Fetch the models that a night is compared with, each into the folder of its name below `out`.

    champion: whom the night has to beat, the same one every time that it is run. incumbent: the present
    champion where this night made it. A folder is made anew, and stays absent where there is no such model.

    Returns:
        Name -> version, or None.

    Raises:
        InputError: files of such a model are gone.
        AwayError: MLflow does not answer.
    """
    from tasks import tracking

    with tracking.answering():
        models = Registry()
        wanted = {"champion": models.champion_of(night), "incumbent": models.incumbent_of(night)}
        for name, version in wanted.items():
            shutil.rmtree(out / name, ignore_errors=True)
            if version:
                _fetch(models, version, out / name)
    return {name: version.number if version else None for name, version in wanted.items()}


def _fetch(models: Registry, version: Version, folder: Path) -> None:
    """The version's `model.safetensors`, `model.json` and `version.txt`."""
    import mlflow
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR

    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    mlflow.set_tracking_uri(place.tracking_uri())
    mlflow.set_registry_uri(place.tracking_uri())  # `models:/` is looked up here, whatever a call is told
    folder.mkdir(parents=True)
    for name in BUNDLE_FILES:
        _download(models, version, name, folder)
    if version.tags.get("bundle", digest := of_bundle(folder)) != digest:
        raise InputError(f"{_whose(models, version)} is not the model that was registered; {WAYS_OUT}")
    (folder / "version.txt").write_text(f"{version.number}\n", encoding="utf-8")


def _download(models: Registry, version: Version, name: str, folder: Path) -> None:
    """One file of a version into the folder.

    Raises:
        InputError: it is gone; says every way out, for the night would be stopped by it for ever.
        AwayError: the store does not answer.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    uri = f"models:/{models.name}/{version.number}/artifacts/{name}"
    try:
        fetched = download_artifacts(artifact_uri=uri, dst_path=str(folder / "fetched"))
    except (MlflowException, OSError) as error:
        said = place.without_credentials(" ".join(str(error).split()))
        whose, code = _whose(models, version), getattr(error, "error_code", "")
        if GONE.search(f"{code} {said}"):
            raise InputError(f"{whose}: {name} is not in the artifact store; {WAYS_OUT}") from None
        lost = f"{whose}: {name} cannot be fetched ({said}); start its store, or"
        raise AwayError(f"{lost} {WAYS_OUT}") from None
    shutil.move(fetched, folder / name)
    shutil.rmtree(folder / "fetched")


def _whose(models: Registry, version: Version) -> str:
    return f"version {version.number} of model {models.name!r}, the champion that this night is compared with"
