"""Alerts whose server refuses them or is not set up."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ops import alerts
from tests.ops.test_alerts import ALERT


@pytest.fixture
def refusing_server() -> Iterator[str]:
    """A web server that answers every POST with 501 Not Implemented."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_alert_that_cannot_be_sent_is_logged_with_its_cause(
    refusing_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UNDERCURRENT_ALERT_SLACK", f"{refusing_server}/s3cret")
    monkeypatch.setenv("UNDERCURRENT_ALERT_EMAIL", "ann@example.org")
    monkeypatch.delenv("AIRFLOW_CONN_SMTP_DEFAULT", raising=False)
    alerts.send(ALERT)
    slack, email = (record.getMessage() for record in caplog.records if record.name == "ops.alerts")
    assert slack.startswith("the alert to UNDERCURRENT_ALERT_SLACK was not sent: the server answers 501 ")
    assert "s3cret" not in slack
    assert "UNDERCURRENT_ALERT_EMAIL" in email
    assert "check the Airflow connection smtp_default" in email
