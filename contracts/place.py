"""Where things are. Addresses come from the environment, never from params.yaml."""

import os
import re
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from contracts.errors import InputError
from contracts.receipts import write_text

PROJECT = Path(__file__).resolve().parent.parent
MARKER = ".made-at"  # a file of the home
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LOGIN = re.compile(r"""://(?:[^/\s"<>]*|[^/\s"<>@:]*:[^\s"<>]*)@""")
_SECRET = re.compile(r"""(?i)([?&;][\w.-]*(?:password|passwd|pwd|secret|token|key)[\w.-]*=)[^&;\s"'<>]+""")


def home() -> Path:
    """The folder that holds everything the pipeline keeps (UNDERCURRENT_HOME, default `var`).

    Raises:
        InputError: it was made under another path, or its path cannot be used.
    """
    folder = home_path()
    made_at = _made_at(folder)
    if Path(made_at).resolve() != folder:
        raise InputError(
            f"UNDERCURRENT_HOME is {folder}, which was made as {made_at}: its lake, MLflow and record hold"
            f" that path; move it back, or make {made_at} a link to it, or start in an empty folder and"
            " ingest again"
        )
    return folder


def _made_at(folder: Path) -> str:
    """The path that a home was made under; its own where it has no mark yet."""
    marker = folder / MARKER
    try:
        return marker.read_text(encoding="utf-8").strip() or str(folder)
    except FileNotFoundError:
        return str(folder)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{marker} cannot be read ({error}); UNDERCURRENT_HOME must be a folder, and this file must hold"
            " the path that it was made under: write it anew, or choose another folder"
        ) from None


def home_path() -> Path:
    """Where the home is, whatever may be there: for whoever is about to empty it.

    Raises:
        InputError: its path cannot be used.
    """
    return _usable("UNDERCURRENT_HOME", Path(os.environ.get("UNDERCURRENT_HOME") or "var").resolve())


def mark_home() -> None:
    """Note in the home which path it was made under, for `home` to compare with."""
    marker = home() / MARKER
    if not marker.exists():
        write_text(marker, f"{marker.parent}\n")


def _usable(variable: str, folder: Path) -> Path:
    """Spark takes paths for patterns, and SQLite's address reads %: these would name other files, or none."""
    strange = [c for c in str(folder) if c in "[{*?%\\" or not c.isprintable()]
    if strange:
        raise InputError(f"{variable} is {str(folder)!r}; choose a path without {strange[0]!r}")
    return folder


def landing() -> Path:
    """Where files are dropped: `<kind>/dt=YYYY-MM-DD/*` (UNDERCURRENT_LANDING)."""
    return Path(os.environ.get("UNDERCURRENT_LANDING", home() / "landing")).resolve()


def warehouse() -> Path:
    """Root of the Iceberg tables' files (UNDERCURRENT_WAREHOUSE)."""
    folder = Path(os.environ.get("UNDERCURRENT_WAREHOUSE", home() / "lake")).resolve()
    return _usable("UNDERCURRENT_WAREHOUSE", folder)


def catalog_uri() -> str:
    """SQLAlchemy address of the Iceberg catalog (UNDERCURRENT_CATALOG_URI, default SQLite)."""
    return os.environ.get("UNDERCURRENT_CATALOG_URI", f"sqlite:///{home() / 'lake' / 'catalog.db'}")


def tracking_uri() -> str:
    """MLflow's tracking and registry address (MLFLOW_TRACKING_URI, default SQLite)."""
    return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{home() / 'mlflow' / 'mlflow.db'}")


def record() -> Path:
    """The record repository, git + DVC (UNDERCURRENT_RECORD)."""
    return Path(os.environ.get("UNDERCURRENT_RECORD", home() / "record")).resolve()


def record_remote() -> str:
    """The record's DVC store, a folder or an address (UNDERCURRENT_RECORD_REMOTE)."""
    address = os.environ.get("UNDERCURRENT_RECORD_REMOTE", f"{record()}-store")
    return address if "://" in address else str(record() / address)


@dataclass(frozen=True)
class Night:
    """One night: the day whose logs it takes in, the folder that holds its files, and its parameters' file.

    `day` is also the test day; the day before it is the validation day.
    """

    day: date
    workspace: Path
    params: Path = PROJECT / "params.yaml"

    def folder(self, step: str) -> Path:
        """The step's own output folder, made when missing."""
        path = self.workspace / step
        path.mkdir(parents=True, exist_ok=True)
        return path

    def fresh_folder(self, step: str, mine: bool = True) -> Path:
        """The step's own output folder, empty: what an older or killed run has left is no output of this one.

        mine: whether this process is the one that empties it, where several share a step.
        """
        path = self.folder(step)
        for old in path.iterdir() if mine else ():
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            else:
                old.unlink()
        return path

    def output(self, step: str, name: str) -> Path:
        """A file that an earlier step must have written.

        Raises:
            InputError: the file is missing; says which step writes it.
        """
        path = self.workspace / step / name
        if not path.exists():
            raise InputError(f"{path} is missing: run `python -m tasks.{step} --night {self.day}` first")
        return path

    @property
    def receipts(self) -> Path:
        return self.workspace / "receipts"


def parse_day(text: str, what: str = "night") -> date:
    """A date from YYYY-MM-DD.

    Raises:
        InputError: the text is not such a date.
    """
    try:
        if not DAY.fullmatch(text):  # Python also reads 20260112 and 2026-W03-1
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{what}: {text!r} is not a date; write it as YYYY-MM-DD") from None


def without_credentials(text: str) -> str:
    """The text with the logins of its addresses hidden: `scheme://user:secret@host` as `scheme://***@host`.

    Secrets in an address's query (`?password=…`, `&token=…`) are hidden too. In doubt more is hidden: a
    password may hold `/` or `@` as it is.
    """
    return _SECRET.sub(r"\1***", _LOGIN.sub("://***@", text))
