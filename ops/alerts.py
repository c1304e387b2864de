"""Alerts about failed tasks, missed deadlines and open questions, to the channels that the environment names.

| variable | channel |
|---|---|
| `UNDERCURRENT_ALERT_WEBHOOK` | gets the fields of `Alert` as JSON |
| `UNDERCURRENT_ALERT_SLACK` | gets a text, as Slack's incoming webhooks and compatible chats expect it |
| `UNDERCURRENT_ALERT_EMAIL` | addresses, separated by commas; Airflow's connection `smtp_default` sends |

Without them, nothing is sent. An alert that cannot be sent is logged and changes no task's state.
"""

import html
import logging
import os
import smtplib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import requests
from airflow.sdk.bases.notifier import BaseNotifier
from airflow.sdk.exceptions import AirflowException

from core import paths

TIMEOUT_SECONDS = 10.0
LOG_LINES = 10  # in an alert
# outcome in the last line of a step -> what to do
REMEDIES = {
    "refused": "Follow the remedy in the reason, then clear the task.",
    "blocked": "Read check/results.json, repair the landing files, and clear the run from ingest.",
    "failed": "A server does not answer. Start it, then clear the task.",
}
OTHER_REMEDY = "Read the log and clear the task. If it fails again, report it."
REQUEST_REMEDY = "Open the run in Airflow, then Required actions."
DEADLINE_REMEDY = "Open the run in Airflow. A queued or slow task waits for a pool, a lock or the machine."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alert:
    """What people get.

    Attributes:
        dag: name of the DAG.
        run: id of its run.
        night: the night as YYYY-MM-DD, empty if the DAG has none.
        step: the failed task, empty for a missed deadline.
        reason: the last line of the step, or what else ended it.
        remedy: what to do.
        log_lines: the last lines of the step's output.
        url: the log page of the task.
    """

    dag: str
    run: str
    night: str
    step: str
    reason: str
    remedy: str
    log_lines: tuple[str, ...] = ()
    url: str = ""

    @property
    def subject(self) -> str:
        """The alert in one line."""
        return f"{self.dag} {self.night} {self.step}: {self.reason}".replace("\n", " ")

    @property
    def text(self) -> str:
        """The alert as plain text."""
        parts = (self.subject, self.remedy, *self.log_lines, self.url)
        return "\n".join(part for part in parts if part)


class FailureAlert(BaseNotifier):
    """Sends an alert when a task has failed and is not tried again, for `on_failure_callback`."""

    def notify(self, context: Any) -> None:
        """Send the alert of the task that failed. See `BaseNotifier.notify`."""
        reason = paths.redact_credentials(str(context.get("exception") or "Airflow ended the task"))
        lines = list(getattr(context.get("task"), "last_lines", ()))[-LOG_LINES:]
        send(_alert_of_task(context, reason, remedy_of(context["ti"].task_id, reason), tuple(lines)))


class RequestAlert(BaseNotifier):
    """Sends an alert when a task waits for a person's answer, for `notifiers`."""

    def notify(self, context: Any) -> None:
        """Send the alert of the task that waits. See `BaseNotifier.notify`."""
        send(_alert_of_task(context, "the run waits for a person's answer", REQUEST_REMEDY))


def _alert_of_task(
    context: Mapping[str, Any], reason: str, remedy: str, log_lines: tuple[str, ...] = ()
) -> Alert:
    task_instance, run = context["ti"], context["dag_run"]
    return Alert(
        dag=task_instance.dag_id,
        run=run.run_id,
        night=str(run.partition_key or context["params"].get("night") or ""),
        step=task_instance.task_id,
        reason=reason,
        remedy=remedy,
        log_lines=log_lines,
        url=task_instance.log_url,
    )


def send_deadline_alert(context: Mapping[str, Any]) -> None:
    """Send an alert about a run that is still active after its deadline, for `DeadlineAlert`.

    Args:
        context: `dag_run` holds the fields of the run.
    """
    run = context["dag_run"]
    send(
        Alert(
            dag=run["dag_id"],
            run=run["dag_run_id"],
            night=str(run.get("partition_key") or (run.get("conf") or {}).get("night") or ""),
            step="",
            reason="the run is still active after its deadline",
            remedy=DEADLINE_REMEDY,
        )
    )


def remedy_of(step: str, reason: str) -> str:
    """Return what to do about a failed step."""
    return next(
        (text for outcome, text in REMEDIES.items() if f"{step}: {outcome}: " in reason), OTHER_REMEDY
    )


def send(alert: Alert) -> None:
    """Send the alert to every channel. A channel that fails is logged, without its address."""
    for variable, post in (
        ("UNDERCURRENT_ALERT_WEBHOOK", _post_fields),
        ("UNDERCURRENT_ALERT_SLACK", _post_text),
        ("UNDERCURRENT_ALERT_EMAIL", _send_email),
    ):
        if address := os.environ.get(variable):
            try:
                post(address, alert)
            except (requests.RequestException, smtplib.SMTPException, AirflowException, OSError) as error:
                log.error("the alert to %s was not sent: %s", variable, _cause(error))


def _cause(error: Exception) -> str:
    """Return why a channel failed, without its address, which may hold a secret."""
    if isinstance(error, requests.HTTPError):
        return f"the server answers {error.response.status_code} {error.response.reason}; correct the address"
    if isinstance(error, requests.RequestException):
        return f"{type(error).__name__}; start the server, or correct the address"
    return f"{type(error).__name__}; check the Airflow connection smtp_default and its server"


def _post_fields(address: str, alert: Alert) -> None:
    requests.post(address, json=asdict(alert), timeout=TIMEOUT_SECONDS).raise_for_status()


def _post_text(address: str, alert: Alert) -> None:
    escaped = html.escape(alert.text, quote=False)  # Slack's control characters are &, < and >
    requests.post(address, json={"text": escaped}, timeout=TIMEOUT_SECONDS).raise_for_status()


def _send_email(addresses: str, alert: Alert) -> None:
    """Send through the hook, because the notifier of Airflow would read log lines as Jinja templates."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook  # slow to import, and DAGs are parsed often

    with SmtpHook() as hook:
        hook.send_email_smtp(
            to=[address.strip() for address in addresses.split(",")],
            subject=alert.subject[:200],
            html_content=f"<pre>{html.escape(alert.text)}</pre>",
        )
