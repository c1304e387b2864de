"""Exit codes of a step, and the errors that end a step early without a bug."""

DONE = 0
FAILED = 1
REFUSED_INPUT = 2
CHECKS_BLOCKED = 3


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
