"""An S3 server for the tests of this folder, started at its first use."""

from collections.abc import Iterator

import pytest

from media import fetch
from tests.support.s3_server import client, seaweedfs


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with seaweedfs(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def s3(s3_address: dict[str, str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A client of a running store with a bucket named `bucket`. The environment holds its address."""
    for name, value in s3_address.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fetch._s3_client.cache_clear()
    yield client(s3_address)
    fetch._s3_client.cache_clear()
