"""Digests of landing files, kept so that no unchanged file is read again."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from core import hashing
from core.errors import InputError
from core.storage import StoragePath, explained_errors, file_status, relative_name
from core.tables import LANDING_DIGESTS
from lake.client import Lake

FileKey = tuple[str, int, str]  # name, size and version


@dataclass(frozen=True)
class LandingFile:
    """A landing file.

    Attributes:
        type_name: the name of its landing type.
        day: the day of its folder.
        path: its path.
        name: its path relative to the landing folder.
        size: its size in bytes.
        version: a text that changes if it is replaced, as of `core.storage.FileStatus`.
        digest: a digest of its content.
    """

    type_name: str
    day: date
    path: StoragePath
    name: str
    size: int
    version: str
    digest: str


def digest_files(
    lake: Lake, root: StoragePath, paths: Mapping[tuple[str, date], Sequence[StoragePath]]
) -> dict[tuple[str, date], list[LandingFile]]:
    """Return the landing files with their digests.

    A file is read only if its size or its version differs from that in the table `landing_digests`.
    The table is updated.

    Args:
        lake: the lake.
        root: the landing folder.
        paths: name of the landing type and day -> the paths of its files.

    Raises:
        InputError: a file cannot be read.
    """
    known = {
        (row["path"], row["size"], row["version"]): row["digest"]
        for row in lake.scan("landing_digests").to_pylist()
    }
    listed = [(type_name, day, path) for (type_name, day), listing in paths.items() for path in listing]
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        files = list(pool.map(lambda item: _digest_file(root, known, *item), listed))
    files_by_folder: dict[tuple[str, date], list[LandingFile]] = {folder: [] for folder in paths}
    for file in files:
        files_by_folder[file.type_name, file.day].append(file)
    _update(lake, files_by_folder, known.keys())
    return files_by_folder


def _digest_file(
    root: StoragePath, known: Mapping[FileKey, str], type_name: str, day: date, path: StoragePath
) -> LandingFile:
    name = relative_name(path, root)
    try:
        with explained_errors(path):
            size, _, version = file_status(path)  # before it is read, so that the next run sees a change
            digest = known.get((name, size, version)) or hashing.hash_file(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}); deliver it again or delete it"
        ) from None
    return LandingFile(type_name, day, path, name, size, version, digest)


def _update(
    lake: Lake,
    files_by_folder: Mapping[tuple[str, date], Sequence[LandingFile]],
    known: Collection[FileKey],
) -> None:
    """Replace the rows of the folders that have new or changed files."""
    changed = {
        folder: files
        for folder, files in files_by_folder.items()
        if any((file.name, file.size, file.version) not in known for file in files)
    }
    if not changed:
        return
    rows = [
        {
            "kind": file.type_name,
            "day": file.day,
            "path": file.name,
            "size": file.size,
            "version": file.version,
            "digest": file.digest,
        }
        for files in changed.values()
        for file in files
    ]
    partitions = [{"kind": type_name, "day": day} for type_name, day in changed]
    lake.write("landing_digests", pa.Table.from_pylist(rows, LANDING_DIGESTS.schema), partitions)
