"""The ways in which a step ends early without a bug, and the exit codes that tell them apart."""

DONE = 0
FAILED = 1
REFUSED_INPUT = 2
CHECKS_BLOCKED = 3


class InputError(ValueError):
    """The user's mistake. The message names the file, the field, the value and the remedy; exit code 2."""


class AwayError(RuntimeError):
    """A server or store does not answer. The message names its address; exit code 1, for a retry may help."""


class ChecksBlocked(Exception):  # noqa: N818 - an outcome, not an error of ours
    """An error-level data check failed, so the night stops here; exit code 3."""
