"""Exit codes of a step, and the errors that end a step early without a bug."""

from collections.abc import Sequence

DONE = 0
FAILED = 1
REFUSED_INPUT = 2
CHECKS_BLOCKED = 3


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
    """Return a sentence about an error by which the system reports a full disk or missing rights.

    An error that led to it counts, too. None: it can be a bug.
    """
    text = (str(error).splitlines() or [""])[0]
    if _reports(error, FULL_DISK_TEXTS):
        return f"the disk is full ({text}); free space on it"
    if _reports(error, NO_ACCESS_TEXTS):
        return f"the system refuses access ({text}); let this user read and write there"
    return None


def _reports(error: BaseException, texts: Sequence[str]) -> bool:
    cause: BaseException | None = error
    while cause:
        if any(text in str(cause) for text in texts):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
