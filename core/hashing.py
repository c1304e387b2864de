"""Content digests that identify files and inputs."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from core.errors import InputError
from core.storage import StoragePath, open_stream

BUNDLE_FILES = ("model.safetensors", "model.json")


def hash_file(path: StoragePath) -> str:
    """Return the sha256 of a file's content."""
    with open_stream(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_bundle(folder: Path) -> str:
    """Return one sha256 over the files of a saved model.

    Raises:
        InputError: one of the files is missing.
    """
    for name in BUNDLE_FILES:
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name} is missing; a model needs {' and '.join(BUNDLE_FILES)}, so save it again"
            )
    return hash_lines([f"{name} {hash_file(folder / name)}" for name in BUNDLE_FILES])


def hash_folder(folder: Path) -> dict[str, str]:
    """Return relative file name -> sha256 for all files below a folder, sorted by name.

    Files and folders whose names start with a dot are temporary and left out.
    """
    paths_by_name = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    visible = {
        name: path for name, path in paths_by_name.items() if not any(p.startswith(".") for p in name.parts)
    }
    return {name.as_posix(): hash_file(path) for name, path in visible.items()}


def hash_lines(lines: Iterable[str]) -> str:
    """Return the sha256 of lines of text. Their order matters."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
