"""Exit codes of a step, and the errors that end a step early without a bug."""

DONE = 0
FAILED = 1
REFUSED_INPUT = 2
CHECKS_BLOCKED = 3


# How the system and SQLite report that nothing more can be written. Libraries put these texts into errors of
# their own.
FULL_DISK_TEXTS = (
    "No space left on device",
    "File too large",
    "Disk quota exceeded",
    "database or disk is full",
)


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


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error, or an error that led to it, reports that the disk is full."""
    cause: BaseException | None = error
    while cause:
        if any(text in str(cause) for text in FULL_DISK_TEXTS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
