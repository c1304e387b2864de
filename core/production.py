"""Whether a step may change what production reads: the model registry and the record repository.

An experiment runs the same commands as a production night. The environment shows which of the two started
them.
"""

import os

from core.errors import InputError

# DVC sets it for the command of every stage, in `dvc repro` and `dvc exp run`.
DVC_STAGE_VARIABLE = "DVC_STAGE"
PROMOTE_VARIABLE = "UNDERCURRENT_PROMOTE"


def is_dvc_stage() -> bool:
    """Return whether DVC started this process, in `dvc repro` or `dvc exp run`."""
    return DVC_STAGE_VARIABLE in os.environ


def why_read_only() -> str | None:
    """Return why the step must not change registry and record, or None if it may.

    Raises:
        InputError: UNDERCURRENT_PROMOTE is set and is neither yes nor no.
    """
    if not is_dvc_stage():
        return None
    setting = os.environ.get(PROMOTE_VARIABLE, "")
    if setting not in ("yes", "no", ""):
        raise InputError(
            f"{PROMOTE_VARIABLE} is {setting!r}; write yes to let a run by DVC promote and record, or no to"
            " forbid it"
        )
    return None if setting == "yes" else f"left alone: run by DVC; set {PROMOTE_VARIABLE}=yes to ask for it"
