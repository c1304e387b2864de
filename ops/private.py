"""Files that only we can read: logins and keys."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from contracts.receipts import write_json


def write_private(path: Path, value: Mapping[str, str]) -> None:
    """Write JSON that no other local user can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = os.umask(0o077)
    try:
        write_json(path, value)
    finally:
        os.umask(before)


def password(path: Path, user: str) -> str:
    """The user's password, made up on the first call and kept in the file."""
    if not path.exists():
        write_private(path, {user: secrets.token_urlsafe(12)})
    return str(json.loads(path.read_text(encoding="utf-8"))[user])
