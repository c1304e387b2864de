"""Deletion of users from all that the pipeline keeps, with a certificate that proves it.

The certificate holds counts and digests before and after, and a keyed hash of each user. It is written as the
deletion goes on. A killed deletion that is started again continues its certificate.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from core import hashing, paths
from core.config import Params
from core.errors import InputError
from core.pseudonyms import KEY_VARIABLE, PseudonymKey, read_keys
from core.run_manifests import read_json, read_manifest, write_json, write_text
from core.storage import relative_name, replace_file
from lake.audits import visible_lake, write_audit
from lake.client import Lake
from lake.forgetting import (
    USER_TABLES,
    WRITER_LOCKS,
    Erasure,
    forget_in_table,
    landing_files_of_users,
    update_ledger,
    without_users,
)
from lake.landing import LandingLimits
from lake.user_records import USER_ID, UserRecords
from registry.record_objects import delete_recorded_files
from registry.record_repository import read_in_all_nights

PARQUET_MAGIC = b"PAR1"
CHECK_FOLDERS = {"check", "checks", "data_docs"}  # results of the data checks, with examples of values
SNAPSHOT_MANIFEST = "run_manifests/snapshot.json"
NOT_TEXT = re.compile("[\ud800-\udfff]")  # what Python reads from bytes of a command line that are no text
NOT_SEARCHED = ("airflow", "mlflow", "forgotten")  # folders of the home that hold no rows of users


def read_user_ids(path: Path) -> list[str]:
    """Read ids from a file with one id in each line.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--user-ids {path} cannot be read ({error}); name a UTF-8 text file") from None


def forget(user_ids: Collection[str], params: Params) -> Path:
    """Delete users from landing files, tables, the nights' files and the record. Return the certificate.

    Raises:
        InputError: An id is empty or no text, a landing file cannot be read, or the key of some pseudonyms is
            missing.
    """
    if not user_ids or not all(user_id.strip() for user_id in user_ids):
        raise InputError("no user is named; give ids with --user-id or --user-ids")
    for user_id in user_ids:
        if NOT_TEXT.search(user_id):
            raise InputError(f"--user-id {user_id!a} is not UTF-8 text; give the id with --user-ids")
    pseudonyms = {key.pseudonym(user_id) for key in _require_all_keys() for user_id in user_ids}
    users, users_of_files = UserRecords(user_ids), UserRecords({*user_ids, *pseudonyms})
    lake = Lake()
    with ExitStack() as locks:
        for lock in WRITER_LOCKS:
            locks.enter_context(lake.lock(lock))
        certificate = Certificate.open(paths.home() / "forgotten", user_ids)
        _forget_in_landing(params, users, certificate)
        for name in tqdm(USER_TABLES, "forget: tables", unit="table"):
            forget_in_table(lake, name, users, partial(certificate.add, "tables"))
        _follow_landing_files(lake, certificate)
    _forget_in_home(users_of_files, certificate)
    deleted, nights = delete_recorded_files(paths.record(), params.record, _has_rows(users_of_files))
    certificate.finish(deleted, nights)
    return certificate.path


def _require_all_keys() -> list[PseudonymKey]:
    """Return the keys of all pseudonyms in the files of the nights and of the record.

    Raises:
        InputError: A night has pseudonyms of a key that is not given, so its files cannot be searched.
    """
    keys = read_keys()
    known = {None, *(key.fingerprint for key in keys)}
    for name, facts in _snapshot_facts():
        if (fingerprint := facts.get("pseudonym_key")) not in known:
            raise InputError(
                f"{name} has pseudonyms of the key {fingerprint}, which is not in {KEY_VARIABLE}; add that"
                " key to it, after a comma"
            )
    return keys


def _snapshot_facts() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each snapshot in the home and in the record, with the facts of its run manifest."""
    for path in _searched_files(paths.home()):
        if path.match(SNAPSHOT_MANIFEST):
            yield str(path.parent.parent), read_manifest(path.parent, "snapshot")["facts"]
    for tag, text in read_in_all_nights(paths.record(), f"night/{SNAPSHOT_MANIFEST}").items():
        yield tag, json.loads(text)["facts"]


class Certificate:
    """The proof of a deletion, as a JSON file.

    Attributes:
        path: The file.
        content: What it holds.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content

    @classmethod
    def open(cls, folder: Path, user_ids: Collection[str]) -> "Certificate":
        """Continue the unfinished certificate of these users, or start a new one."""
        key = _read_key(folder / "key")
        users = sorted(
            hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest() for user_id in set(user_ids)
        )
        for path in sorted(folder.glob("*.json")):
            content = read_json(path, "delete it")
            if content.get("users") == users and not content.get("complete"):
                return cls(path, content)
        now = datetime.now(UTC)
        name = f"{now:%Y-%m-%dT%H-%M-%S}-{hashing.hash_lines(users)[:8]}.json"
        hidden = sorted(str(day) for day in visible_lake(date.max).hidden_days)
        content = {"users": users, "started_at": f"{now:%Y-%m-%dT%H:%M:%SZ}", "complete": False}
        certificate = cls(
            folder / name, content | {"hidden_days": hidden, "landing": [], "tables": [], "files": []}
        )
        certificate._write()
        return certificate

    def add(self, section: str, erasures: Collection[Erasure]) -> None:
        """Add what was deleted, or is about to be deleted."""
        entries = self.content[section]
        entries += [entry for entry in map(asdict, erasures) if entry not in entries]
        self._write()

    def finish(self, recorded_files: list[str], nights: list[str]) -> None:
        """Add the deleted files of the record and the nights that had them, and mark the end."""
        self.content |= {"recorded_files": recorded_files, "nights": nights, "complete": True}
        self._write()

    def count(self, section: str) -> int:
        """Return how many records were deleted."""
        return sum(entry["records"] for entry in self.content[section])

    def _write(self) -> None:
        write_json(self.path, self.content)


def _read_key(path: Path) -> bytes:
    """Return the key of the hashes of users. The first call makes it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_bytes()


def _forget_in_landing(params: Params, users: UserRecords, certificate: Certificate) -> None:
    """Replace landing files. Each is in the certificate before it is replaced."""
    root = paths.landing()
    limits = LandingLimits.from_params(params.ingest)
    for landing_type, path in tqdm(list(landing_files_of_users(root)), "forget: landing", unit="file"):
        if not (rewritten := without_users(path, landing_type, limits, users)):
            continue
        copy, records = rewritten
        name = relative_name(path, root)
        certificate.add("landing", [Erasure(name, records, hashing.hash_file(path), hashing.hash_file(copy))])
        replace_file(copy, path)


def _follow_landing_files(lake: Lake, certificate: Certificate) -> None:
    """Store the new digests of landing files in the ledger and in the audits.

    Otherwise the files would count as changed, and their nights would be hidden until they are checked again.
    """
    digests = {entry["digest_before"]: entry["digest_after"] for entry in certificate.content["landing"]}
    update_ledger(lake, digests)
    outcomes = {row["day"]: row["outcome"] for row in lake.scan("audits").to_pylist()}
    hidden_before = {date.fromisoformat(day) for day in certificate.content["hidden_days"]}
    for day in sorted(visible_lake(date.max).hidden_days - hidden_before):
        write_audit(day, outcomes[day])


def _forget_in_home(users: UserRecords, certificate: Certificate) -> None:
    """Delete users from the files of the nights, of the record's working tree and of the data checks."""
    shutil.rmtree(paths.home() / "reproduce", ignore_errors=True)  # clones of recorded nights
    for path in tqdm(list(_searched_files(paths.home())), "forget: files", unit="file"):
        before, records = hashing.hash_file(path), _rewrite_file(path, users)
        if records:
            after = hashing.hash_file(path) if path.exists() else None
            name = path.relative_to(paths.home()).as_posix()
            certificate.add("files", [Erasure(name, records, before, after)])


def _searched_files(home: Path) -> Iterator[Path]:
    """Yield the files of the home that may hold rows of users.

    Tables, landing files and the record's store are left out. They have their own deletion.
    """
    excluded = {paths.landing(), paths.warehouse(), *(home / name for name in NOT_SEARCHED)}
    excluded |= {paths.record() / ".git", paths.record() / ".dvc", Path(paths.record_remote())}
    for folder, folders, names in os.walk(home):
        folders[:] = [name for name in folders if Path(folder, name) not in excluded]
        candidates = (Path(folder, name) for name in sorted(names))
        yield from (path for path in candidates if path.suffix in (".parquet", ".html", ".json"))


def _rewrite_file(path: Path, users: UserRecords) -> int:
    """Delete users from one file, and return how many records or names were deleted."""
    if path.suffix == ".parquet":
        return _filter_parquet(path, users)
    if path.suffix == ".html":
        return _delete_page(path, users)
    return _mask_json(path, users) if not CHECK_FOLDERS.isdisjoint(path.parts) else 0


def _filter_parquet(path: Path, users: UserRecords) -> int:
    records = users.count_in_parquet(path)
    if records:
        file, copy = pq.ParquetFile(path), path.with_name(f".{path.name}.forget")
        with pq.ParquetWriter(copy, file.schema_arrow) as writer:
            for batch in file.iter_batches():
                writer.write_batch(batch.filter(pc.invert(users.are_in(batch[USER_ID]))))
        replace_file(copy, path)
    return records


def _mask_json(path: Path, users: UserRecords) -> int:
    """Put `forgotten` in the place of the ids, such as those of examples of a failed data check."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    masked, records = users.mask_json(text)
    if records:
        write_text(path, masked)
    return records


def _delete_page(path: Path, users: UserRecords) -> int:
    """Delete a page that names a user. A step can write it again without the user."""
    is_named = users.is_on_page(path.read_text(encoding="utf-8", errors="replace"))
    if is_named:
        path.unlink()
    return int(is_named)


def _has_rows(users: UserRecords) -> Callable[[IO[bytes]], bool]:
    def has_rows(file: IO[bytes]) -> bool:
        is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
        file.seek(0)
        return is_parquet and users.count_in_parquet(file) > 0

    return has_rows


def find_certificate(tag: str) -> Path | None:
    """Return the certificate of a deletion that deleted files of a recorded night, or None."""
    certificates = sorted((paths.home() / "forgotten").glob("*.json"))
    return next(
        (path for path in certificates if tag in read_json(path, "delete it").get("nights", ())), None
    )


def format_summary(path: Path) -> str:
    """Return what a certificate says, in a few lines."""
    certificate = Certificate(path, read_json(path, "run the command again"))
    content = certificate.content
    lines = [
        f"landing files     {certificate.count('landing')} records in {len(content['landing'])} files",
        f"tables            {certificate.count('tables')} rows in {len(content['tables'])} files",
        f"files of nights   {certificate.count('files')} rows in {len(content['files'])} files",
        f"record            {len(content['recorded_files'])} files deleted",
    ]
    if content["nights"]:
        lines.append(f"no longer reproducible: {', '.join(content['nights'])}")
    return "\n".join([*lines, f"certificate: {path}"])
