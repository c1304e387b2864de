"""A parameter file with pseudonyms switched on, and a key for them."""

from pathlib import Path

from core.paths import PROJECT_ROOT
from core.pseudonyms import PseudonymKey

SECRET = "0123456789abcdef" * 2
KEY = PseudonymKey(SECRET)


def private_params(folder: Path) -> Path:
    """Write params.yaml with `privacy.pseudonymise` into a folder, and return its path."""
    path = folder / "private.yaml"
    path.write_text(f"base: {PROJECT_ROOT / 'params.yaml'}\nprivacy:\n  pseudonymise: true\n")
    return path
