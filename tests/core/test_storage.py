import os
from pathlib import Path

import pytest

from core.errors import InputError, ServiceUnavailableError
from core.storage import iceberg_properties, is_local, require_access, storage_path


def test_an_address_on_s3_has_the_methods_of_a_path(s3):
    folder = storage_path("s3://bucket/lake/")
    (folder / "a" / "b.txt").write_bytes(b"x")
    assert not is_local(folder)
    assert str(folder) == "s3://bucket/lake"
    assert [path.name for path in (folder / "a").iterdir()] == ["b.txt"]


def test_a_local_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage_path("lake") == Path(tmp_path / "lake")
    assert is_local(storage_path("lake"))


@pytest.mark.parametrize(("address", "reason"), [("gs://b/x", "not supported"), ("s3:///", "no bucket")])
def test_other_addresses_are_refused(address, reason):
    with pytest.raises(InputError, match=reason):
        storage_path(address)


def test_iceberg_gets_the_address_of_s3_before_the_general_one(monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu")
    assert iceberg_properties() == {"s3.endpoint": "http://s3", "s3.region": "eu"}


def test_a_folder_that_is_not_there_yet_is_no_error(s3):
    require_access(storage_path("s3://bucket/none/yet"))


def test_a_missing_bucket_is_refused(s3):
    with pytest.raises(InputError, match="there is no bucket nobucket"):
        require_access(storage_path("s3://nobucket/lake"))


def test_wrong_credentials_are_refused(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(InputError, match="S3 refuses access") as refusal:
        require_access(storage_path("s3://bucket/lake"))
    assert "\n" not in str(refusal.value)


def test_a_server_that_does_not_answer_may_be_tried_again(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ServiceUnavailableError, match="S3 does not answer"):
        require_access(storage_path("s3://bucket/lake"))
