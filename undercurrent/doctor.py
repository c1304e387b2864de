"""Checks of the machine and its settings before a night runs. Each problem has its remedy."""

import difflib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core import paths
from core.config import load_params
from core.errors import InputError, ServiceUnavailableError
from core.paths import PROJECT_ROOT
from core.pseudonyms import require_key
from core.storage import StoragePath, is_local, require_access, storage_path
from core.text_table import format_table
from ops import ports

PASSED, WARNING, FAILED = "ok", "warning", "failed"
GIB = 1 << 30
# A night of the demo takes 0.1 GiB of disk. The peak memory of the demo is 2.9 GiB.
MIN_DISK_GIB, MIN_MEMORY_GIB = 5, 4
MIN_JAVA = 17
JAVA_REMEDY = "run `make setup`, or install openjdk-17-jre-headless and set JAVA_HOME"
# A package of each extra of pyproject.toml that a night needs -> the extra.
PACKAGES = {
    "pyspark": "spark",
    "great_expectations": "spark",
    "torch": "train",
    "mlflow": "train",
    "dvc": "train",
}
# All variables of the project. A test compares them with the code.
VARIABLES = frozenset(
    f"UNDERCURRENT_{name}"
    for name in (
        "AIRFLOW_PORT", "ALERT_EMAIL", "ALERT_SLACK", "ALERT_WEBHOOK", "APPROVAL_HOURS",
        "CATALOG_URI", "DEADLINE_MINUTES", "EMBED_SHARD", "HOME", "LANDING", "LOCK_DATABASE",
        "LOG_FORMAT", "MEDIA_ROOTS", "METRICS_FOLDER", "MLFLOW_PASSWORD", "MLFLOW_PORT", "MODEL",
        "OWNER_LINK", "PAGES_PORT", "PARAMS", "POSTGRES_PORT", "PROMOTE", "PSEUDONYM_KEY", "RECORD",
        "RECORD_REMOTE", "S3_PORT", "SHARED_DATA", "SPARK_CONNECTION", "SPARK_DRIVER_HOST", "SPARK_MASTER",
        "SPARK_MEMORY", "SPARK_PORT", "SPARK_PYTHON", "WAREHOUSE",
    )
)  # fmt: skip
# A doctor waits for MLflow for seconds, not minutes. Set variables are kept.
QUICK_MLFLOW = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
POSTGRES_SECONDS = 10


class DoctorWarning(Exception):  # noqa: N818 - it does not stop a night
    """Something that a night can run with, but that the user should know."""


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
        name: What was checked.
        outcome: Ok, warning or failed.
        message: What is there, and the remedy if it is wrong.
    """

    name: str
    outcome: str
    message: str


def examine(params_path: Path) -> list[Check]:
    """Run all checks. Nothing is created or changed.

    Args:
        params_path: The parameter file.
    """
    checks: dict[str, Callable[[], str]] = {
        "Python": _python,
        "packages": _packages,
        "Java": _java,
        "git": _git,
        "settings": _settings,
        "parameters": lambda: _parameters(params_path),
        "pseudonyms": lambda: _pseudonyms(params_path),
        "home": _home,
        "disk": _disk,
        "memory": _memory,
        "landing files": lambda: _storage(paths.landing()),
        "warehouse": lambda: _storage(paths.warehouse()),
        "catalog": lambda: _database(paths.catalog_uri(), "UNDERCURRENT_CATALOG_URI"),
        "locks": lambda: _database(paths.lock_database() or "files", "UNDERCURRENT_LOCK_DATABASE"),
        "record store": _record_store,
        "MLflow": _mlflow,
        "ports": _ports,
    }
    return [_run(name, check) for name, check in checks.items()]


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, PASSED, check())
    except DoctorWarning as warning:
        return Check(name, WARNING, paths.redact_credentials(str(warning)))
    except (InputError, ServiceUnavailableError) as error:
        return Check(name, FAILED, paths.redact_credentials(str(error)))


def format_checks(checks: list[Check]) -> str:
    """Return one line for each check."""
    return format_table([("check", "outcome", "result"), *((c.name, c.outcome, c.message) for c in checks)])


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 11):
        raise InputError(f"this is Python {version}; run `make setup`, which builds .venv with Python 3.11")
    return version


def _packages() -> str:
    missing = sorted({extra for name, extra in PACKAGES.items() if importlib.util.find_spec(name) is None})
    if missing:
        raise InputError(f"packages of the extras {', '.join(missing)} are missing; run `make setup`")
    return ", ".join(PACKAGES)


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else "java"
    try:
        completed = subprocess.run([command, "-version"], capture_output=True, text=True)
    except OSError as error:
        raise InputError(f"{command} cannot be run ({error.strerror}); {JAVA_REMEDY}") from None
    match = re.search(r'version "(?:1\.)?(\d+)', completed.stderr)
    if not match or int(match[1]) < MIN_JAVA:
        raise InputError(f"{command} is not Java {MIN_JAVA} or newer; {JAVA_REMEDY}")
    return f"Java {match[1]}"


def _git() -> str:
    """`record` stores the commit of the project, so the project must be a checkout."""
    if shutil.which("git") is None:
        raise InputError("git is missing; run `make setup`, or install git")
    command = ["git", "-C", str(PROJECT_ROOT), "rev-parse", "--short", "HEAD"]
    completed = subprocess.run(command, capture_output=True, text=True)
    if completed.returncode:
        raise InputError(
            f"{PROJECT_ROOT} is no git checkout with a commit, which `record` needs; clone it with git"
        )
    return f"commit {completed.stdout.strip()}"


def _settings() -> str:
    """A misspelled variable has no effect, so the default is used without a notice."""
    unknown = sorted(n for n in os.environ if n.startswith("UNDERCURRENT_") and n not in VARIABLES)
    if unknown:
        close = difflib.get_close_matches(unknown[0], VARIABLES, n=1)
        guess = f"did you mean {close[0]}?" if close else "docs/operations.md lists all"
        raise DoctorWarning(f"{unknown[0]} is set but has no meaning; unset it ({guess})")
    known = sorted(VARIABLES & os.environ.keys())
    return f"set: {', '.join(known)}" if known else "all variables have their defaults"


def _parameters(path: Path) -> str:
    record = load_params(path).record
    if not record.author_name.strip() or "@" not in record.author_email:
        raise InputError(
            f"{path}: record.author_name {record.author_name!r} and record.author_email"
            f" {record.author_email!r} are no git identity; write a name and an address"
        )
    return f"{path}; commits of the record by {record.author_name} <{record.author_email}>"


def _pseudonyms(path: Path) -> str:
    key = require_key(load_params(path).privacy)
    return f"made with the key {key.fingerprint}" if key else "off: files of nights have the ids of users"


def _home() -> str:
    folder = paths.home()
    existing = _existing_parent(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"UNDERCURRENT_HOME is {folder}, but {existing} is no folder that this user can write to;"
            " change its permissions, or choose another folder"
        )
    return str(folder)


def _existing_parent(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _disk() -> str:
    folder = _existing_parent(paths.home())
    free = shutil.disk_usage(folder).free / GIB
    if free < MIN_DISK_GIB:
        raise DoctorWarning(
            f"{free:.1f} GiB are free at {folder}; make room for {MIN_DISK_GIB} GiB, such as by"
            " `undercurrent maintain`"
        )
    return f"{free:.1f} GiB free"


def _memory() -> str:
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    available = kib / (GIB >> 10)
    if available < MIN_MEMORY_GIB:
        raise DoctorWarning(
            f"{available:.1f} GiB are available, and a night of the demo needs {MIN_MEMORY_GIB}; end other"
            " programs, or lower UNDERCURRENT_SPARK_MEMORY"
        )
    return f"{available:.1f} GiB available"


def _storage(folder: StoragePath) -> str:
    """Check that a folder can be read. The first night creates a missing one."""
    require_access(folder)
    if not is_local(folder):
        return str(folder)
    existing = _existing_parent(folder)
    if not os.access(existing, os.R_OK | os.X_OK):
        raise InputError(f"{existing} cannot be read by this user; change its permissions")
    return str(folder) if folder.exists() else f"{folder} (does not exist yet)"


def _record_store() -> str:
    address = paths.record_remote()
    if address.startswith("s3://"):
        require_access(storage_path(address))
    return paths.redact_credentials(address)


def _database(address: str, variable: str) -> str:
    """Connect to a database. A SQLite file is created when it is needed."""
    if not address.startswith("postgresql"):
        return address
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    settings = {"connect_timeout": POSTGRES_SECONDS}
    try:
        engine = sqlalchemy.create_engine(address, poolclass=NullPool, connect_args=settings)
        engine.connect().close()
    except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        reason = (str(error.__cause__ or error).splitlines() or [""])[0]
        raise ServiceUnavailableError(
            f"{address} cannot be reached ({reason}); start it, or correct {variable}"
        ) from None
    return paths.redact_credentials(address)


def _mlflow() -> str:
    uri = paths.tracking_uri()
    if (file := paths.sqlite_file(uri)) and not file.exists():
        return f"{uri} (does not exist yet)"
    from registry import tracking  # MLflow takes seconds to import
    from registry.model_registry import CHAMPION, ModelRegistry

    for name, value in QUICK_MLFLOW.items():
        os.environ.setdefault(name, value)
    with tracking.translate_errors():
        champion = ModelRegistry().get_by_alias(CHAMPION)
    version = f"champion is version {champion.number}" if champion else "no champion"
    return f"{paths.redact_credentials(uri)}, {version}"


def _ports() -> str:
    """A port in use is no error: `make up` may be running, and a night needs no port."""
    servers = vars(ports.from_environment())
    try:
        for name, port in servers.items():
            ports.require_free(name, port)
    except InputError as error:
        raise DoctorWarning(f"{error} (`make up` itself uses it while it runs)") from None
    return ", ".join(f"{name} {port}" for name, port in servers.items())
