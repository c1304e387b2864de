"""Files that only the present user can read: logins and keys."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.run_manifests import write_json


@contextmanager
def private_umask() -> Iterator[None]:
    """Files that are created meanwhile can be read by the present user only."""
    old_umask = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(old_umask)


def write_private(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that no other local user can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with private_umask():
        write_json(path, value)


def get_password(path: Path, user: str) -> str:
    """Return the user's password. The first call generates it and stores it in the file."""
    if not path.exists():
        write_private(path, {user: secrets.token_urlsafe(12)})
    return str(json.loads(path.read_text(encoding="utf-8"))[user])
