"""Content digests: how files and inputs are known."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from contracts.errors import InputError

BUNDLE_FILES = ("model.safetensors", "model.json")


def of_file(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_bundle(folder: Path) -> str:
    """One sha256 over a saved model's files.

    Raises:
        InputError: one of them is missing.
    """
    for name in BUNDLE_FILES:
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name} is missing; a model is {' and '.join(BUNDLE_FILES)}: write it anew"
            )
    return of_lines([f"{name} {of_file(folder / name)}" for name in BUNDLE_FILES])


def of_folder(folder: Path) -> dict[str, str]:
    """File name (relative, with /) -> sha256, sorted by name. Names that start with a dot are temporary."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    kept = {name: path for name, path in found.items() if not any(p.startswith(".") for p in name.parts)}
    return {name.as_posix(): of_file(path) for name, path in kept.items()}


def of_lines(lines: Iterable[str]) -> str:
    """sha256 of lines of text, in the order given."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
