import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests

from ops.airflow_api import AirflowClient

PASSWORD = "right"


@pytest.fixture
def address() -> Iterator[str]:
    """A server whose tokens are valid for one call."""
    valid: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["password"] != PASSWORD:
                return self.answer(401, {})
            valid.append(f"Bearer {len(valid)}")
            return self.answer(201, {"access_token": valid[-1].removeprefix("Bearer ")})

        def do_GET(self) -> None:
            is_valid = bool(valid) and self.headers["Authorization"] == valid[-1]
            if is_valid:
                valid[-1] = "expired"
            self.answer(200 if is_valid else 401, {"state": "running"})

        def answer(self, status: int, body: dict[str, str]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_client_logs_in_again_when_its_token_has_expired(address: str) -> None:
    api = AirflowClient(address, "admin", PASSWORD)
    api.log_in()
    assert [api.run_state("nightly", "run") for _ in range(3)] == ["running"] * 3


def test_a_wrong_password_is_tried_once(address: str) -> None:
    api = AirflowClient(address, "admin", "wrong")
    with pytest.raises(requests.HTTPError, match="401"):
        api.run_state("nightly", "run")
