from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from media.clip import StoreUnavailable, Unreadable
from media.fetch import local_copy

OBJECTS = {"/bucket/a/v.mp4": b"the whole file" * 200_000}


class Store(BaseHTTPRequestHandler):
    """As much of S3 as a download needs."""

    def do_GET(self) -> None:
        body = OBJECTS.get(self.path)
        self.send_response(200 if body else 404)
        body = body or b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Store)
    Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    server.server_close()


def test_a_relative_uri_starts_at_the_landing_folder_and_an_absolute_one_does_not(tmp_path: Path) -> None:
    with local_copy("media/v.mp4", tmp_path) as path:
        assert path == tmp_path / "media/v.mp4"
    with local_copy("/elsewhere/v.mp4", tmp_path) as path:
        assert path == Path("/elsewhere/v.mp4")


def test_an_object_of_s3_is_there_while_it_is_needed(store: HTTPServer, tmp_path: Path) -> None:
    with local_copy("s3://bucket/a/v.mp4", tmp_path) as path:
        assert path.read_bytes() == OBJECTS["/bucket/a/v.mp4"]
        assert path.suffix == ".mp4"
    assert not path.exists()


def test_an_object_that_is_not_there_is_missing_media(store: HTTPServer, tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as caught, local_copy("s3://bucket/a/gone.mp4", tmp_path):
        pass
    assert caught.value.reason == "missing_media"


def test_a_store_that_is_away_is_not_the_files_fault(store: HTTPServer, tmp_path: Path) -> None:
    store.shutdown()
    store.server_close()
    with pytest.raises(StoreUnavailable), local_copy("s3://bucket/a/v.mp4", tmp_path):
        pass


def test_an_address_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as caught, local_copy("https://example.org/v.mp4", tmp_path):
        pass
    assert caught.value.reason == "unsupported_uri"
