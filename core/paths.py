"""Where files are stored. Paths and addresses come from the environment, never from params.yaml.

No path depends on the working directory. What the environment does not name is found from the project.
"""

import os
import re
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from core import production
from core.errors import InputError
from core.run_manifests import write_text
from core.storage import StoragePath, is_local, storage_path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SQLITE = "sqlite:///"  # the start of the address of a SQLite file; its path follows
HOME_MARKER = ".made-at"  # a file in the home that holds the home's original path
EXPLANATIONS = "explanations"  # a folder in the output of `evaluate`, which the report reads
APPROVAL_FILE = "approval/approval.json"  # in a night's workspace; Airflow writes it, `promote` reads it
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)  # steps also count some days before and after
DAY_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LOGIN = re.compile(r"""://(?:[^/\s"<>]*|[^/\s"<>@:]*:[^\s"<>]*)@""")
_SECRET = re.compile(r"""(?i)([?&;][\w.-]*(?:password|passwd|pwd|secret|token|key)[\w.-]*=)[^&;\s"'<>]+""")
# AIRFLOW__CORE__FERNET_KEY holds a secret, and AWS_ACCESS_KEY_ID does not.
_SECRET_VARIABLE = re.compile(r"(?:PASSWORD|PASSWD|SECRET|TOKEN|_KEY)$|SECRET_", re.ASCII)
MIN_SECRET_LENGTH = 8  # a shorter value, such as `true`, would hide words of the text


def home() -> Path:
    """Return the folder of all files that the pipeline keeps.

    UNDERCURRENT_HOME names it. The default is `var` in the project.

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
    folder = Path(_setting("UNDERCURRENT_HOME") or PROJECT_ROOT / "var")
    return _check_path("UNDERCURRENT_HOME", folder.resolve())


def _setting(variable: str) -> str | None:
    """Return the folder or address that a variable names, None if it names nothing.

    Raises:
        InputError: It is a relative path, which would mean another folder in each working directory.
    """
    text = os.environ.get(variable)
    if text and "://" not in text:
        _require_absolute(variable, text)
    return text or None


def _database_setting(variable: str, default: Path) -> str:
    """Return the address of a database that a variable names, or that of a SQLite file.

    Raises:
        InputError: It is a SQLite file with a relative path.
    """
    address = os.environ.get(variable) or f"{SQLITE}{default}"
    if file := sqlite_file(address):
        _require_absolute(variable, str(file), SQLITE)
    return address


def sqlite_file(address: str) -> Path | None:
    """Return the file of a SQLite database, None for an address of another kind.

    Args:
        address: An SQLAlchemy address.
    """
    return Path(address.removeprefix(SQLITE)) if address.startswith(SQLITE) else None


def _require_absolute(variable: str, text: str, scheme: str = "") -> None:
    if not Path(text).is_absolute():
        raise InputError(
            f"{variable} is '{scheme}{text}', which depends on the working directory; write an absolute path,"
            f" such as {scheme}{PROJECT_ROOT / text}"
        )


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
    return storage_path(_setting("UNDERCURRENT_LANDING") or home() / "landing")


def media_roots() -> tuple[Path, ...]:
    """Return the folders outside the landing folder that may hold media (UNDERCURRENT_MEDIA_ROOTS).

    The variable separates them by colons. Without it there are none.

    Raises:
        InputError: one of them is a relative path.
    """
    folders = [text for text in os.environ.get("UNDERCURRENT_MEDIA_ROOTS", "").split(os.pathsep) if text]
    for text in folders:
        _require_absolute("UNDERCURRENT_MEDIA_ROOTS", text)
    return tuple(Path(text).resolve() for text in folders)


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
    folder = storage_path(_setting("UNDERCURRENT_WAREHOUSE") or home() / "lake")
    return _check_path("UNDERCURRENT_WAREHOUSE", folder) if is_local(folder) else folder


def catalog_uri() -> str:
    """Return the SQLAlchemy address of the Iceberg catalog (UNDERCURRENT_CATALOG_URI, default SQLite).

    Raises:
        InputError: its path is relative.
    """
    return _database_setting("UNDERCURRENT_CATALOG_URI", home() / "lake" / "catalog.db")


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
    """Return the address of MLflow's tracking and registry (MLFLOW_TRACKING_URI, default SQLite).

    Raises:
        InputError: its path is relative.
    """
    return _database_setting("MLFLOW_TRACKING_URI", home() / "mlflow" / "mlflow.db")


def record() -> Path:
    """Return the folder of the record repository, git and DVC (UNDERCURRENT_RECORD).

    Raises:
        InputError: its path is relative.
    """
    return Path(_setting("UNDERCURRENT_RECORD") or home() / "record").resolve()


def record_remote() -> str:
    """Return the DVC store of the record: a folder or an address (UNDERCURRENT_RECORD_REMOTE)."""
    address = os.environ.get("UNDERCURRENT_RECORD_REMOTE", f"{record()}-store")
    return address if "://" in address else str(record() / address)


def nights() -> Path:
    """Return the folder that holds the workspaces of all nights."""
    return home() / "nights"


def default_workspace(day: date) -> Path:
    """Return the workspace of a night for which no other folder was chosen.

    It is `nights/<day>` of the home. A stage of DVC has its outputs in the project, in the folder `night`.

    Args:
        day: the night.
    """
    return PROJECT_ROOT / "night" if production.is_dvc_stage() else nights() / str(day)


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
        InputError: the text is not such a date, or not from FIRST_DAY to LAST_DAY.
    """
    try:
        if not DAY_PATTERN.fullmatch(text):  # Python also reads 20260112 and 2026-W03-1
            raise ValueError
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{field}: {text!r} is not a date; write it as YYYY-MM-DD") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise InputError(f"{field}: {text!r} is not a day from {FIRST_DAY} to {LAST_DAY}; correct the year")
    return day


def redact_credentials(text: str) -> str:
    """Return the text with all credentials in it replaced by `***`.

    It hides logins in addresses (`scheme://user:secret@host`) and secrets in queries (`?password=…`,
    `&token=…`). It hides the values of variables of the environment that hold a secret, such as
    AWS_SECRET_ACCESS_KEY. A password may contain `/` or `@`, so in doubt more is hidden.
    """
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and len(value) >= MIN_SECRET_LENGTH:
            text = text.replace(value, "***")
    return _SECRET.sub(r"\1***", _LOGIN.sub("://***@", text))
