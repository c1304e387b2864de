"""The model registry: versions of the one registered model in MLflow, and the aliases that point at them.

A version is known by its bundle's digest. Its tag `replaced` tells which champion it took over from, so that
a night that is run again meets the champion that it met the first time. mlflow takes seconds to import: only
inside the functions that need it.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from contracts import digests, place

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
BUNDLE_FILES = ("model.safetensors", "model.json")


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

    def champion_of(self, night: date | None) -> Version | None:
        """The champion that a night has to beat: the newest that neither this nor a later night made."""
        champion = self.holder(CHAMPION)
        while night and champion and champion.night >= str(night):
            champion = self.numbered(champion.tags.get("replaced"))
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
    models = Registry()
    champion = models.champion_of(night)
    if champion is None:
        return None
    import mlflow
    from mlflow.artifacts import download_artifacts
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR

    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    mlflow.set_tracking_uri(place.tracking_uri())
    mlflow.set_registry_uri(place.tracking_uri())  # `models:/` is looked up here, whatever a call is told
    folder.mkdir(parents=True)
    for name in BUNDLE_FILES:
        uri = f"models:/{models.name}/{champion.number}/artifacts/{name}"
        fetched = download_artifacts(artifact_uri=uri, dst_path=str(folder / "fetched"))
        shutil.move(fetched, folder / name)
    shutil.rmtree(folder / "fetched")
    (folder / "version.txt").write_text(f"{champion.number}\n", encoding="utf-8")
    return champion.number
