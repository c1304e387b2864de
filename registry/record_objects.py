"""Deletion of files from the DVC cache and the DVC store of the record repository.

The files of a recorded night are named after their content. A file cannot lose some of its rows and keep its
name, so it is deleted. Code, parameters, metrics and models of the night stay.
"""

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO

import yaml
from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB

from core.config import RecordConfig
from registry.record_repository import RecordRepository, locked_repository

FOLDER_SUFFIX = ".dir"  # of an object that lists the files of a folder


def delete_recorded_files(
    folder: Path, params: RecordConfig, is_deleted: Callable[[IO[bytes]], bool]
) -> tuple[list[str], list[str]]:
    """Delete recorded files from the cache and from the store.

    Args:
        folder: The folder of the record repository.
        params: Section `record` of params.yaml.
        is_deleted: Whether to delete a file with this content.

    Returns:
        The digests of the deleted files, and the tags of the nights that had them.
    """
    if not (folder / ".git").exists():
        return [], []
    with locked_repository(folder, params) as record, Repo(str(folder)) as repo:
        databases = [repo.cache.repo, repo.cloud.get_remote_odb()]
        nights = _files_by_night(record, databases)
        deleted = sorted({oid for database in databases for oid in _delete_from(database, is_deleted)})
    return deleted, [tag for tag, oids in nights.items() if not oids.isdisjoint(deleted)]


def _delete_from(database: HashFileDB, is_deleted: Callable[[IO[bytes]], bool]) -> Iterator[str]:
    """Delete files from a cache or store, and yield their digests."""
    for oid in sorted(database.all()):
        path = database.oid_to_path(oid)
        if oid.endswith(FOLDER_SUFFIX):
            continue
        with database.fs.open(path, "rb") as file:
            found_records = is_deleted(file)
        if found_records:
            database.delete(oid)
            yield oid


def _files_by_night(record: RecordRepository, databases: Collection[HashFileDB]) -> dict[str, set[str]]:
    """Return tag -> digests of the night's files."""
    tags = record.git("tag", "--list", "night/*").split()
    return {
        tag: set(_recorded_files(yaml.safe_load(record.git("show", f"{tag}:dvc.lock")), databases))
        for tag in tags
    }


def _recorded_files(lock: dict, databases: Collection[HashFileDB]) -> Iterator[str]:
    """Yield the digests of the outputs in a dvc.lock, and of the files in those that are folders."""
    for stage in lock["stages"].values():
        for out in stage.get("outs", ()):
            yield out["md5"]
            if out["md5"].endswith(FOLDER_SUFFIX):
                yield from (entry["md5"] for entry in _folder_entries(out["md5"], databases))


def _folder_entries(oid: str, databases: Collection[HashFileDB]) -> list[dict[str, str]]:
    for database in databases:
        path = database.oid_to_path(oid)
        if database.fs.exists(path):
            with database.fs.open(path, "rb") as file:
                return json.load(file)
    return []
