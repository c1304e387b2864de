"""Whether a step may touch what production reads: the registry of models and the record of nights.

An experiment on a laptop runs the same commands as the night. What tells them apart is who started them.
"""

import os

from contracts.errors import InputError

RUN_BY_DVC = "DVC_STAGE"  # DVC sets it for the command of every stage, in `dvc repro` and `dvc exp run`
ASKED = "UNDERCURRENT_PROMOTE"


def left_alone() -> str | None:
    """Why registry and record stay as they are, for people; None when the step may change them.

    Raises:
        InputError: UNDERCURRENT_PROMOTE is neither yes nor no.
    """
    if RUN_BY_DVC not in os.environ:
        return None
    word = os.environ.get(ASKED, "")
    if word not in ("yes", "no", ""):
        raise InputError(
            f"{ASKED} is {word!r}; write yes to let what DVC runs promote and record, or no to let nothing"
        )
    return None if word == "yes" else f"left alone: run by DVC; set {ASKED}=yes to ask for it"
