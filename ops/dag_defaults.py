"""What all DAGs share: owner, retries with back-off, alerts and the deadline."""

import math
import os
from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from core.errors import InputError
from ops.alerts import FailureAlert, send_deadline_alert

OWNER = "undercurrent"


def dag_defaults() -> dict[str, Any]:
    """Return the arguments that every DAG gets.

    UNDERCURRENT_OWNER_LINK, such as mailto:…, is the link of the owner. UNDERCURRENT_DEADLINE_MINUTES is the
    time after which a run that is still active causes an alert; unset: no alert.

    Raises:
        InputError: the deadline is not a number above 0.
    """
    link = os.environ.get("UNDERCURRENT_OWNER_LINK")
    return {
        "default_args": {
            "owner": OWNER,
            # A step whose exit code shows that a retry cannot help fails at once: see ops/operators.py.
            "retries": 2,
            "retry_delay": timedelta(seconds=30),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=10),
            "on_failure_callback": FailureAlert(),
        },
        "owner_links": {OWNER: link} if link else {},
        "deadline": _deadline(),
    }


def positive_number(variable: str, default: float | None = None) -> float | None:
    """Return the number in an environment variable, or the default if it is not set.

    Raises:
        InputError: the value is not a number above 0.
    """
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise InputError(f"{variable} is {text!r}; set a number above 0")
    return number


def _deadline() -> DeadlineAlert | None:
    minutes = positive_number("UNDERCURRENT_DEADLINE_MINUTES")
    if minutes is None:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=minutes),
        callback=SyncCallback(send_deadline_alert),
    )
