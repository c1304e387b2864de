"""The record repository: git and DVC in one folder, and the store that DVC pushes to.

A run may be killed at any moment. So the repository is repaired before each use. Only one process writes at a
time. Its commands inherit the lock, so the lock is held until they end, even if the process is killed.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from dvc.config import Config
from dvc.exceptions import DvcException

from core import locks
from core.config import RecordConfig
from core.paths import record_remote, redact_credentials

STORE = "store"
MAX_OUTPUT_LINES = 12  # shown of a failed command's output
# git's maintenance must not continue in the background after the command has ended.
NO_DETACHING = ("-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false")


class RecordRepository:
    """Runs git and DVC in the folder of the record, as the author that params.yaml names.

    Attributes:
        folder: The folder of the record.
    """

    def __init__(self, folder: Path, params: RecordConfig, lock: int) -> None:
        self.folder = folder
        self._lock = lock
        self._environment = {
            f"GIT_{role}_{field}": value
            for role in ("AUTHOR", "COMMITTER")
            for field, value in (("NAME", params.author_name), ("EMAIL", params.author_email))
        }
        self._environment |= {"GIT_CEILING_DIRECTORIES": str(folder.parent), "DVC_NO_ANALYTICS": "true"}

    def git(self, *arguments: str) -> str:
        """Run git and return its output.

        Raises:
            RuntimeError: The command failed.
        """
        return run_command(["git", *NO_DETACHING, *arguments], self.folder, self._environment, (self._lock,))

    def dvc(self, *arguments: str) -> str:
        """Run DVC and return its output.

        Raises:
            RuntimeError: The command failed.
        """
        command = [sys.executable, "-m", "dvc", *arguments]
        return run_command(command, self.folder, self._environment, (self._lock,))


def run_command(
    command: Sequence[str],
    folder: Path,
    environment: dict[str, str] | None = None,
    inherited_fds: Sequence[int] = (),
) -> str:
    """Run a command in a folder and return its output.

    Args:
        command: The command.
        folder: Its working folder.
        environment: Variables to set in addition to those of this process.
        inherited_fds: Open file descriptors that it inherits.

    Raises:
        RuntimeError: It failed. The message has the exit code and the end of the output, without credentials.
    """
    completed = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        pass_fds=inherited_fds,
    )
    if completed.returncode:
        output_lines = [
            line
            for text in (completed.stdout, completed.stderr)
            for line in text.splitlines()[-MAX_OUTPUT_LINES:]
        ]
        output = "\n".join(filter(str.strip, output_lines)) or "no output"
        message = f"`{' '.join(command)}` in {folder} failed with exit code {completed.returncode}: {output}"
        raise RuntimeError(redact_credentials(message))
    return completed.stdout.strip()


@contextmanager
def locked_repository(folder: Path, params: RecordConfig) -> Iterator[RecordRepository]:
    """Lock and repair the repository, and yield it."""
    with locks.exclusive_lock(folder.parent / f".{folder.name}.lock", "the record") as lock:
        repository = RecordRepository(folder, params, lock.fileno())
        _prepare(repository)
        yield repository


def _prepare(repository: RecordRepository) -> None:
    """Create the repository and set the address of its store. A half-written repository is repaired."""
    folder = repository.folder
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale_locks(folder)
    repository.git("init", "--initial-branch=main")
    if repository.git("rev-list", "--max-count=1", "--all", "--", ".dvc/config"):
        if not _dvc_config_readable(folder):
            repository.git("checkout", "HEAD", "--", ".dvc")
    else:  # no night is recorded yet, so no data can be lost
        repository.dvc("init", "--force")
    address = record_remote()
    with Config(str(folder / ".dvc")).edit("repo") as config:
        config["core"] |= {"analytics": False, "remote": STORE}
        config["remote"].setdefault(STORE, {})["url"] = _without_login(address)
    set_local_store(folder, address)


def _dvc_config_readable(folder: Path) -> bool:
    """Whether DVC's settings exist and can be read. Settings that were made by hand are kept."""
    try:
        return bool(Config(str(folder / ".dvc"))) and (folder / ".dvc" / "config").exists()
    except DvcException:
        return False


def _remove_stale_locks(folder: Path) -> None:
    """Delete the lock files of killed runs. We hold the lock of the record, so no other run writes.

    DVC's lock files stay, because the kernel releases them. But DVC's `rwlock` lists process ids. A listed
    process may have ended, its id may have been reused, and the file may be truncated.
    """
    for path in (folder / ".git").rglob("*.lock"):
        path.unlink(missing_ok=True)
    (folder / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)


def set_local_store(folder: Path, address: str) -> None:
    """Write the address of the store, with its login, into DVC's local settings. Git ignores that file."""
    path = folder / ".dvc" / "config.local"
    path.touch(mode=0o600)
    path.chmod(0o600)
    with Config(str(folder / ".dvc")).edit("local") as config:
        config["remote"].setdefault(STORE, {})["url"] = address


def copy_store_settings(folder: Path, clone: Path) -> None:
    """Copy the local settings of the record to its clone, so that the clone can pull from the store."""
    local = folder / ".dvc" / "config.local"
    if local.exists():
        shutil.copy2(local, clone / ".dvc" / "config.local")
    set_local_store(clone, _current_store(folder))


def _current_store(folder: Path) -> str:
    """Return the store that was last pushed to, unless it is unreachable or the environment names another."""
    url = str(Config(str(folder / ".dvc"))["remote"].get(STORE, {}).get("url", ""))
    reachable = "://" in url or Path(url).is_dir()
    return url if url and reachable and "UNDERCURRENT_RECORD_REMOTE" not in os.environ else record_remote()


def _without_login(address: str) -> str:
    return redact_credentials(address).replace("://***@", "://")


def revision_tags(folder: Path, day: date) -> list[str]:
    """Return the tags of a night, oldest first: `night/DATE`, `night/DATE.2`, `night/DATE.3`, …"""
    if not (folder / ".git").exists():
        return []
    tags = run_command(["git", "tag", "--list", f"night/{day}*"], folder).split()
    numbers = {
        int(match[1] or 1) for tag in tags if (match := re.fullmatch(rf"night/{day}(?:\.(\d+))?", tag))
    }
    return [revision_tag(day, number) for number in sorted(numbers)]


def revision_tag(day: date, revision: int) -> str:
    """Return the tag of a night's revision. Revisions count from 1."""
    return f"night/{day}" + (f".{revision}" if revision > 1 else "")


def read_in_all_nights(folder: Path, name: str) -> dict[str, str]:
    """Return tag -> content of a committed file, for all recorded nights.

    Args:
        folder: The folder of the record.
        name: Path of the file in the record.
    """
    if not (folder / ".git").exists():
        return {}
    tags = run_command(["git", "tag", "--list", "night/*"], folder).split()
    return {tag: run_command(["git", "show", f"{tag}:{name}"], folder) for tag in tags}
