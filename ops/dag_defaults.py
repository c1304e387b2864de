"""What all DAGs share: owner, retries with back-off, alerts and the deadline."""

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
        InputError: the deadline is not a positive whole number.
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


def _deadline() -> DeadlineAlert | None:
    text = os.environ.get("UNDERCURRENT_DEADLINE_MINUTES")
    if not text:
        return None
    if not text.isdigit() or not int(text):
        raise InputError(f"UNDERCURRENT_DEADLINE_MINUTES is {text!r}; set whole minutes above 0")
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=int(text)),
        callback=SyncCallback(send_deadline_alert),
    )
