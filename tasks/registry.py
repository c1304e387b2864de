"""The model registry: versions of the one registered model in MLflow, and the aliases that point at them.

A version is known by its bundle's digest. Its tag `replaced` tells which champion it took over from, so that a
night that is run again meets the champion that it met the first time. mlflow takes seconds to import: only
inside the functions that need it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from contracts import digests, place

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
BUNDLE_FILES = ("model.safetensors", "model.json")
ARTIFACTS = "artifacts"  # the folder of a registered model that holds its bundle


def model_name() -> str:
    """The registered model's name (UNDERCURRENT_MODEL, default `undercurrent`)."""
    return os.environ.get("UNDERCURRENT_MODEL", "undercurrent")


def bundle_digest(folder: Path) -> str:
    """One sha256 over the bundle's files."""
    return digests.of_lines([f"{name} {digests.of_file(folder / name)}" for name in BUNDLE_FILES])


@contextmanager
def alone() -> Iterator[None]:
    """One mover of pointers at a time: aliases in MLflow have no compare-and-set."""
    path = place.home() / "mlflow" / "promotion.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Registry:
    """The versions of the registered model; it is made when missing."""

    def __init__(self) -> None:
        from tasks import tracking

        self.mlflow = tracking.client()
        self.name = model_name()
        if not self._found():
            self.mlflow.create_registered_model(self.name)

    def holder(self, alias: str) -> ModelVersion | None:
        """The version that an alias points at."""
        return self.version(self._found()[0].aliases.get(alias))

    def version(self, number: str | None) -> ModelVersion | None:
        """A version with its tags; None for no number."""
        return self.mlflow.get_model_version(self.name, number) if number else None

    def with_bundle(self, digest: str) -> ModelVersion | None:
        """The version that holds this bundle."""
        found = self.mlflow.search_model_versions(f"name = '{self.name}' and tags.bundle = '{digest}'")
        return min(found, key=lambda version: int(version.version), default=None)

    def point(self, alias: str, version: ModelVersion) -> None:
        """Move an alias."""
        self.mlflow.set_registered_model_alias(self.name, alias, version.version)

    def tag(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for key, value in tags.items():
            self.mlflow.set_model_version_tag(self.name, version.version, key, value)

    def champion_of(self, night: date | None) -> ModelVersion | None:
        """The champion that a night has to beat: the newest one that no run of this or a later night made."""
        champion = self.holder(CHAMPION)
        while night and champion and champion.tags.get("night", "") >= str(night):
            champion = self.version(champion.tags.get("replaced"))
        return champion

    def _found(self) -> list:
        return self.mlflow.search_registered_models(f"name = '{self.name}'")


def champion_bundle(folder: Path, night: date | None = None) -> str | None:
    """Fetch the champion's `model.safetensors`, `model.json` and `version.txt` into a folder.

    Args:
        folder: made anew; stays absent when there is no champion.
        night: leave out champions that this night or a later one made.

    Returns:
        The champion's version, or None.
    """
    shutil.rmtree(folder, ignore_errors=True)
    champion = Registry().champion_of(night)
    if champion is None:
        return None
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True)
    for name in BUNDLE_FILES:
        uri = f"models:/{champion.name}/{champion.version}/{ARTIFACTS}/{name}"
        download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=place.tracking_uri())
    shutil.rmtree(folder / ARTIFACTS, ignore_errors=True)
    (folder / "version.txt").write_text(f"{champion.version}\n", encoding="utf-8")
    return str(champion.version)
