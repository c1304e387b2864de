"""The record repository: git and DVC in one folder, one writer at a time, and the store that DVC pushes to.

A run may be killed at any moment. So the repository is made good before each use, from any half-made state,
and the lock is held until the last command that was started under it has ended, also without us.
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

from contracts import locks
from contracts.params import Record
from contracts.place import record_remote, without_credentials

STORE = "store"
LAST_LINES = 12  # of what a failed command said
NO_DETACHING = ("-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false")  # git's clean-up


class Repository:
    """git and DVC in the record's folder, signed by the record's author; fail loudly."""

    def __init__(self, folder: Path, params: Record, lock: int) -> None:
        self.folder = folder
        self._lock = lock
        self._environment = {
            f"GIT_{role}_{field}": value
            for role in ("AUTHOR", "COMMITTER")
            for field, value in (("NAME", params.author_name), ("EMAIL", params.author_email))
        }
        self._environment |= {"GIT_CEILING_DIRECTORIES": str(folder.parent), "DVC_NO_ANALYTICS": "true"}

    def git(self, *arguments: str) -> str:
        return call(["git", *NO_DETACHING, *arguments], self.folder, self._environment, (self._lock,))

    def dvc(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return call(command, self.folder, self._environment, (self._lock,))


def call(
    command: Sequence[str],
    folder: Path,
    environment: dict[str, str] | None = None,
    keep: Sequence[int] = (),
) -> str:
    """Run a command in a folder; returns what it printed. `keep`: open files that it inherits.

    Raises:
        RuntimeError: it failed; carries the exit code and the end of what it said, without credentials.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        pass_fds=keep,
    )
    if done.returncode:
        said = [line for text in (done.stdout, done.stderr) for line in text.splitlines()[-LAST_LINES:]]
        words = "\n".join(filter(str.strip, said)) or "it said nothing"
        told = f"`{' '.join(command)}` in {folder} ended with exit code {done.returncode}: {words}"
        raise RuntimeError(without_credentials(told))
    return done.stdout.strip()


@contextmanager
def alone(folder: Path, params: Record) -> Iterator[Repository]:
    """The repository, made good, for one writer at a time."""
    with locks.alone(folder.parent / f".{folder.name}.lock", "the record") as lock:
        repository = Repository(folder, params, lock.fileno())
        _prepare(repository)
        yield repository


def _prepare(repository: Repository) -> None:
    """Make the repository and its store's address, whatever a killed run left of them."""
    folder = repository.folder
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale_locks(folder)
    repository.git("init", "--initial-branch=main")
    if repository.git("rev-list", "--max-count=1", "--all", "--", ".dvc/config"):
        if not _readable(folder):
            repository.git("checkout", "HEAD", "--", ".dvc")
    else:  # nothing has been recorded, so nothing is lost
        repository.dvc("init", "--force")
    address = record_remote()
    with Config(str(folder / ".dvc")).edit("repo") as config:
        config["core"] |= {"analytics": False, "remote": STORE}
        config["remote"].setdefault(STORE, {})["url"] = _without_login(address)
    set_local_store(folder, address)


def _readable(folder: Path) -> bool:
    """Whether DVC's settings are there and whole; what a person has set in them stays."""
    try:
        return bool(Config(str(folder / ".dvc"))) and (folder / ".dvc" / "config").exists()
    except DvcException:
        return False


def _remove_stale_locks(folder: Path) -> None:
    """Lock files of killed runs. We hold the lock, so nobody else of ours writes.

    DVC's own lock files are left: the kernel lets go of them. But its list of who uses what goes by process
    numbers, which may belong to others by now, and may be cut off.
    """
    for path in (folder / ".git").rglob("*.lock"):
        path.unlink(missing_ok=True)
    (folder / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)


def set_local_store(folder: Path, address: str) -> None:
    """Write the store's address into the file that DVC keeps out of git, and that only we can read."""
    path = folder / ".dvc" / "config.local"
    path.touch(mode=0o600)
    path.chmod(0o600)
    with Config(str(folder / ".dvc")).edit("local") as config:
        config["remote"].setdefault(STORE, {})["url"] = address


def hand_over_store(folder: Path, clone: Path) -> None:
    """Let a clone of the record pull, with what the record keeps out of git."""
    local = folder / ".dvc" / "config.local"
    if local.exists():
        shutil.copy2(local, clone / ".dvc" / "config.local")
    set_local_store(clone, _known_store(folder))


def _known_store(folder: Path) -> str:
    """The store that is set; else the one last pushed to, unless that folder has moved with the home."""
    known = str(Config(str(folder / ".dvc"))["remote"].get(STORE, {}).get("url", ""))
    there = "://" in known or Path(known).is_dir()
    return known if known and there and "UNDERCURRENT_RECORD_REMOTE" not in os.environ else record_remote()


def _without_login(address: str) -> str:
    return without_credentials(address).replace("://***@", "://")


def revisions(folder: Path, day: date) -> list[str]:
    """The tags of a night, the oldest first: `night/DATE`, `night/DATE.2`, `night/DATE.3`, …"""
    if not (folder / ".git").exists():
        return []
    listed = call(["git", "tag", "--list", f"night/{day}*"], folder).split()
    numbers = {
        int(found[1] or 1) for tag in listed if (found := re.fullmatch(rf"night/{day}(?:\.(\d+))?", tag))
    }
    return [tag_of(day, number) for number in sorted(numbers)]


def tag_of(day: date, revision: int) -> str:
    """The tag of a night's first, second, … revision."""
    return f"night/{day}" + (f".{revision}" if revision > 1 else "")
