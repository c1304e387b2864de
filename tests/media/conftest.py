"""An S3 server for the tests of a folder, started when first asked for."""

from collections.abc import Iterator

import pytest

from media import fetch
from tests.s3 import client, seaweedfs


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with seaweedfs(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def s3(s3_address: dict[str, str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A client of a running store that has a bucket named `bucket`; the environment leads there."""
    for name, value in s3_address.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fetch._client.cache_clear()
    yield client(s3_address)
    fetch._client.cache_clear()
