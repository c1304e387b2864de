"""Exit codes of a step, and the errors that end a step early without a bug."""

import sys
from collections.abc import Iterator, Sequence

DONE = 0
FAILED = 1
REFUSED_INPUT = 2
CHECKS_BLOCKED = 3


# Classes of PostgreSQL's errors: the connection, the login, the resources, the operator, the database's name.
CONNECTION_STATES = ("08", "28", "53", "57P", "3D")
# How the system and SQLite report that nothing more can be written, or that the user has no right to do so.
# Libraries put these texts into errors of their own.
FULL_DISK_TEXTS = (
    "No space left on device",
    "File too large",
    "Disk quota exceeded",
    "database or disk is full",
)
NO_ACCESS_TEXTS = ("Permission denied", "Read-only file system", "readonly database")


class InputError(ValueError):
    """The user's mistake: exit code 2.

    The message is one sentence. It names the file, the field, the value and the remedy.
    """


class ServiceUnavailableError(RuntimeError):
    """A server or store does not answer: exit code 1, because a retry may help.

    The message names its address.
    """


class ChecksBlocked(Exception):  # noqa: N818 - an outcome, not a bug
    """A data check of severity error failed, so the night stops: exit code 3."""


def explain_system_error(error: BaseException) -> str | None:
    """Return a sentence about an error by which the system or a database reports that it cannot go on.

    That is a full disk, missing rights, or a PostgreSQL that refuses or breaks a connection. An error that
    led to this one counts, too. None: it can be a bug.
    """
    text = _first_line(error)
    if _reports(error, FULL_DISK_TEXTS):
        return f"the disk is full ({text}); free space on it"
    if _reports(error, NO_ACCESS_TEXTS):
        return f"the system refuses access ({text}); let this user read and write there"
    if database_error := _database_error(error):
        return (
            f"PostgreSQL broke or refused a connection ({_first_line(database_error)}); start it, or correct"
            " its address, such as UNDERCURRENT_CATALOG_URI"
        )
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def _reports(error: BaseException, texts: Sequence[str]) -> bool:
    return any(text in str(cause) for cause in _causes(error) for text in texts)


def _database_error(error: BaseException) -> BaseException | None:
    """Return the lost connection to PostgreSQL that led to this error. A deadlock, for example, is none.

    Only a loaded driver can raise one.
    """
    driver = sys.modules.get("psycopg")
    errors = (c for c in _causes(error) if driver and isinstance(c, driver.OperationalError))
    return next((c for c in errors if c.sqlstate is None or c.sqlstate.startswith(CONNECTION_STATES)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that led to it."""
    cause: BaseException | None = error
    while cause:
        yield cause
        cause = cause.__cause__ or cause.__context__
