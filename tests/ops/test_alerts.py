"""Alerts to a real HTTP server and a real SMTP server."""

import json
import socketserver
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ops import alerts
from ops.alerts import Alert, FailureAlert, RequestAlert
from ops.dag_defaults import dag_defaults
from tests.support.webhook import webhook

ALERT = Alert(
    dag="nightly",
    run="manual__1",
    night="2026-03-09",
    step="ingest",
    reason="ingest: refused: events.jsonl holds no files; deliver them",
    remedy="Follow the remedy in the reason, then clear the task.",
    log_lines=("ingest: night 2026-03-09", "a <b> & {{ c }}"),
    url="http://127.0.0.1/log",
)


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any]]]:
    """What a real HTTP server got from both webhooks: (path, JSON)."""
    with webhook() as (address, bodies):
        monkeypatch.setenv("UNDERCURRENT_ALERT_WEBHOOK", f"{address}/hook")
        monkeypatch.setenv("UNDERCURRENT_ALERT_SLACK", f"{address}/slack")
        yield bodies


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The mails that a real SMTP server got."""
    received: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 test\r\n")
            while line := self.rfile.readline().decode().upper():
                if line.startswith("DATA"):
                    self.wfile.write(b"354 go\r\n")
                    received.append("".join(iter(lambda: self.rfile.readline().decode(), ".\r\n")))
                self.wfile.write(b"221 bye\r\n" if line.startswith("QUIT") else b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address
        connection: dict[str, Any] = {"conn_type": "smtp", "host": host, "port": port}
        connection["extra"] = {"disable_ssl": True, "disable_tls": True, "from_email": "night@example.org"}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        monkeypatch.setenv("UNDERCURRENT_ALERT_EMAIL", "ann@example.org, bob@example.org")
        yield received
        server.shutdown()


def test_a_webhook_gets_the_fields_and_slack_a_text(posted: list[tuple[str, Any]]) -> None:
    alerts.send(ALERT)
    assert dict(posted)["/hook"]["night"] == "2026-03-09"
    assert dict(posted)["/hook"]["reason"] == ALERT.reason
    assert dict(posted)["/hook"]["log_lines"] == list(ALERT.log_lines)
    text = dict(posted)["/slack"]["text"]
    assert text.startswith(f"nightly 2026-03-09 ingest: {ALERT.reason}\n{ALERT.remedy}\n")
    assert "a &lt;b&gt; &amp; {{ c }}" in text


def test_a_mail_goes_to_every_address(mails: list[str]) -> None:
    alerts.send(ALERT)
    assert len(mails) == 1
    assert "ann@example.org, bob@example.org" in mails[0]
    assert "ingest: refused: events.jsonl holds no files" in mails[0].replace("=\r\n", "")


def test_a_channel_that_fails_stops_no_other_and_its_address_stays_secret(
    posted: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UNDERCURRENT_ALERT_WEBHOOK", "http://127.0.0.1:1/s3cret")
    alerts.send(ALERT)
    assert "/slack" in dict(posted)
    assert "the alert to UNDERCURRENT_ALERT_WEBHOOK was not sent: ConnectionError" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_failed_task_alerts_with_its_reason_remedy_and_last_lines(posted: list[tuple[str, Any]]) -> None:
    task = SimpleNamespace(last_lines=[f"line {number}" for number in range(20)])
    instance = SimpleNamespace(dag_id="nightly", task_id="check", log_url="http://log")
    run = SimpleNamespace(run_id="r", partition_key="2026-03-09")
    error = RuntimeError("check: blocked: users are missing at postgres://ann:s3cret@db/x")
    FailureAlert().notify({"ti": instance, "dag_run": run, "task": task, "exception": error, "params": {}})
    body = dict(posted)["/hook"]
    assert body["reason"] == "check: blocked: users are missing at postgres://***@db/x"
    assert "clear the run from ingest" in body["remedy"]
    assert body["log_lines"] == [f"line {number}" for number in range(10, 20)]


def test_a_task_that_waits_for_a_person_alerts(posted: list[tuple[str, Any]]) -> None:
    instance = SimpleNamespace(dag_id="nightly", task_id="approval", log_url="http://log")
    run = SimpleNamespace(run_id="r", partition_key="2026-03-09")
    RequestAlert().notify({"ti": instance, "dag_run": run, "params": {}})
    assert dict(posted)["/hook"]["step"] == "approval"
    assert "Required actions" in dict(posted)["/slack"]["text"]


def test_a_missed_deadline_alerts(posted: list[tuple[str, Any]]) -> None:
    run = {"dag_id": "nightly", "dag_run_id": "r", "partition_key": "2026-03-09", "conf": {}}
    alerts.send_deadline_alert({"dag_run": run})
    assert dict(posted)["/hook"]["night"] == "2026-03-09"
    assert "after its deadline" in dict(posted)["/slack"]["text"]


def test_a_deadline_is_set_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dag_defaults()["deadline"] is None
    monkeypatch.setenv("UNDERCURRENT_DEADLINE_MINUTES", "90")
    assert dag_defaults()["deadline"].interval.total_seconds() == 5400
    monkeypatch.setenv("UNDERCURRENT_DEADLINE_MINUTES", "soon")
    with pytest.raises(ValueError, match="UNDERCURRENT_DEADLINE_MINUTES is 'soon'"):
        dag_defaults()
