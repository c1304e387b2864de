"""The Python environment of a recorded night, built from the uv.lock in its record.

A model is equal to the digit only with the packages that trained it. A changed lock file therefore gets an
environment of its own. Nights with the same lock file share it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from core import paths
from core.errors import InputError
from core.hashing import hash_file
from core.paths import PROJECT_ROOT


def recorded_python(clone: Path) -> Path:
    """Return the Python of a recorded night. If its lock file is not the present one, build its environment.

    Args:
        clone: The record repository at the tag of the night.

    Raises:
        InputError: uv is not installed.
        RuntimeError: uv could not build the environment.
    """
    lock, present = clone / "uv.lock", PROJECT_ROOT / "uv.lock"
    if not lock.exists() or (present.exists() and hash_file(lock) == hash_file(present)):
        return Path(sys.executable)
    environment = paths.home() / "environments" / hash_file(lock)[:12]
    print(f"reproduce: building the recorded environment in {environment}", file=sys.stderr)
    # The project itself runs from the clone. So it is not installed, and clones can share the environment.
    command = [find_uv(), "sync", "--frozen", "--all-extras", "--no-install-project"]
    settings = {"UV_PROJECT_ENVIRONMENT": str(environment), "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(command, cwd=clone, env=os.environ | settings, stdout=sys.stderr)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` in {clone} failed with exit code {done.returncode}")
    return environment / "bin" / "python"


def find_uv() -> str:
    """Return the path of uv: on the PATH, or where `make setup` installs it.

    Raises:
        InputError: It is in neither place.
    """
    installed = PROJECT_ROOT / ".tools" / "uv" / "bin" / "uv"
    uv = shutil.which("uv") or (str(installed) if installed.exists() else None)
    if uv is None:
        raise InputError(
            f"uv is needed, and is neither on the PATH nor at {installed};"
            " install it with `pip install 'uv>=0.9,<1'`"
        )
    return uv
