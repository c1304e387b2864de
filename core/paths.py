"""Where files are stored. Paths and addresses come from the environment, never from params.yaml."""

import os
import re
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from core.errors import InputError
from core.run_manifests import write_text
from core.storage import StoragePath, is_local, storage_path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
HOME_MARKER = ".made-at"  # a file in the home that holds the home's original path
APPROVAL_FILE = "approval/approval.json"  # in a night's workspace; Airflow writes it, `promote` reads it
DAY_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LOGIN = re.compile(r"""://(?:[^/\s"<>]*|[^/\s"<>@:]*:[^\s"<>]*)@""")
_SECRET = re.compile(r"""(?i)([?&;][\w.-]*(?:password|passwd|pwd|secret|token|key)[\w.-]*=)[^&;\s"'<>]+""")


def home() -> Path:
    """Return the folder of all files that the pipeline keeps (UNDERCURRENT_HOME, default `var`).

    Raises:
        InputError: the home was created under another path, or its path cannot be used.
    """
    folder = unchecked_home()
    recorded_home = _recorded_home(folder)
    if Path(recorded_home).resolve() != folder:
        raise InputError(
            f"UNDERCURRENT_HOME is {folder}, which was made as {recorded_home}: its lake, MLflow and record"
            f" contain that path; move it back, or make {recorded_home} a link to it, or choose an empty"
            " folder and ingest again"
        )
    return folder


def _recorded_home(folder: Path) -> str:
    """Return the path that the home was created under, or its present path if it has no marker yet."""
    marker = folder / HOME_MARKER
    try:
        return marker.read_text(encoding="utf-8").strip() or str(folder)
    except FileNotFoundError:
        return str(folder)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{marker} cannot be read ({error}); UNDERCURRENT_HOME must be a folder, and this file must hold"
            " its original path: write that path into the file, or choose another folder"
        ) from None


def unchecked_home() -> Path:
    """Return the home without a check of its marker, for commands that are about to empty it.

    Raises:
        InputError: its path cannot be used.
    """
    return _check_path("UNDERCURRENT_HOME", Path(os.environ.get("UNDERCURRENT_HOME") or "var").resolve())


def write_home_marker() -> None:
    """Store the home's path in its marker, if there is none yet. `home` compares the two."""
    marker = home() / HOME_MARKER
    if not marker.exists():
        write_text(marker, f"{marker.parent}\n")


def _check_path(variable: str, folder: Path) -> Path:
    """Refuse characters that Spark reads as a pattern or that SQLite's address decodes (%)."""
    forbidden = [c for c in str(folder) if c in "[{*?%\\" or not c.isprintable()]
    if forbidden:
        raise InputError(f"{variable} is {str(folder)!r}; choose a path without {forbidden[0]!r}")
    return folder


def landing() -> StoragePath:
    """Return the landing folder, with files in `<landing type>/dt=YYYY-MM-DD/` (UNDERCURRENT_LANDING).

    Raises:
        InputError: its address cannot be used.
    """
    return storage_path(os.environ.get("UNDERCURRENT_LANDING") or home() / "landing")


def local_landing() -> Path:
    """Return the landing folder, for a command that writes local files only.

    Raises:
        InputError: it is on S3.
    """
    folder = landing()
    if is_local(folder):
        return folder
    raise InputError(
        f"UNDERCURRENT_LANDING is {folder}, but this command writes local files only; name a local folder"
        " with --out, and copy its files to S3"
    )


def warehouse() -> StoragePath:
    """Return the root folder of the Iceberg tables (UNDERCURRENT_WAREHOUSE).

    Raises:
        InputError: its address cannot be used.
    """
    folder = storage_path(os.environ.get("UNDERCURRENT_WAREHOUSE") or home() / "lake")
    return _check_path("UNDERCURRENT_WAREHOUSE", folder) if is_local(folder) else folder


def catalog_uri() -> str:
    """Return the SQLAlchemy address of the Iceberg catalog (UNDERCURRENT_CATALOG_URI, default SQLite)."""
    return os.environ.get("UNDERCURRENT_CATALOG_URI", f"sqlite:///{home() / 'lake' / 'catalog.db'}")


def lock_database() -> str | None:
    """Return the SQLAlchemy address of the database that holds the locks (UNDERCURRENT_LOCK_DATABASE).

    The default is the catalog if it is on PostgreSQL. None: locks are files, for processes of one machine.

    Raises:
        InputError: it is not a PostgreSQL database.
    """
    address = os.environ.get("UNDERCURRENT_LOCK_DATABASE")
    if address and not address.startswith("postgresql"):
        raise InputError(
            f"UNDERCURRENT_LOCK_DATABASE is {redact_credentials(address)!r}; only PostgreSQL can hold locks:"
            " write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, or leave it unset"
        )
    return address or (catalog_uri() if catalog_uri().startswith("postgresql") else None)


def tracking_uri() -> str:
    """Return the address of MLflow's tracking and registry (MLFLOW_TRACKING_URI, default SQLite)."""
    return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{home() / 'mlflow' / 'mlflow.db'}")


def record() -> Path:
    """Return the folder of the record repository, git and DVC (UNDERCURRENT_RECORD)."""
    return Path(os.environ.get("UNDERCURRENT_RECORD", home() / "record")).resolve()


def record_remote() -> str:
    """Return the DVC store of the record: a folder or an address (UNDERCURRENT_RECORD_REMOTE)."""
    address = os.environ.get("UNDERCURRENT_RECORD_REMOTE", f"{record()}-store")
    return address if "://" in address else str(record() / address)


@dataclass(frozen=True)
class Night:
    """One run of all steps.

    Attributes:
        day: the day whose logs the night takes in. It is also the test day.
        workspace: the folder of the night's files.
        params_path: the parameter file.
    """

    day: date
    workspace: Path
    params_path: Path = PROJECT_ROOT / "params.yaml"

    def folder(self, step: str) -> Path:
        """Return the output folder of a step. It is created if it is missing."""
        path = self.workspace / step
        path.mkdir(parents=True, exist_ok=True)
        return path

    def fresh_folder(self, step: str, clear: bool = True) -> Path:
        """Return the output folder of a step, emptied of files that an earlier or killed run left.

        Args:
            step: the step's name.
            clear: whether to empty it. Of several processes that share a step, only one does.
        """
        path = self.folder(step)
        for entry in path.iterdir() if clear else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        return path

    def require_output(self, step: str, name: str) -> Path:
        """Return the path of a file that an earlier step wrote.

        Raises:
            InputError: the file is missing. The message names the step to run.
        """
        path = self.workspace / step / name
        if not path.exists():
            raise InputError(f"{path} is missing: run `python -m tasks.{step} --night {self.day}` first")
        return path

    @property
    def run_manifests(self) -> Path:
        """The folder of the night's run manifests."""
        return self.workspace / "run_manifests"


def parse_day(text: str, field: str = "night") -> date:
    """Parse a date written as YYYY-MM-DD.

    Args:
        text: the date.
        field: what the error message calls it.

    Raises:
        InputError: the text is not such a date.
    """
    try:
        if not DAY_PATTERN.fullmatch(text):  # Python also reads 20260112 and 2026-W03-1
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{field}: {text!r} is not a date; write it as YYYY-MM-DD") from None


def redact_credentials(text: str) -> str:
    """Return the text with all credentials in its addresses replaced by `***`.

    It hides logins (`scheme://user:secret@host`) and secrets in queries (`?password=…`, `&token=…`). A
    password may contain `/` or `@`, so in doubt more is hidden.
    """
    return _SECRET.sub(r"\1***", _LOGIN.sub("://***@", text))
