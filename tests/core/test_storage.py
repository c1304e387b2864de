import os
from pathlib import Path

import pytest

from core.errors import InputError, ServiceUnavailableError
from core.storage import (
    create_folder,
    delete_folder,
    file_status,
    iceberg_properties,
    is_local,
    list_files_below,
    list_folder,
    open_stream,
    relative_name,
    replace_file,
    require_access,
    storage_path,
    total_bytes,
)


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path):
    """A folder that does not exist yet, on the local disk or on S3."""
    if request.param == "local":
        return tmp_path / "folder"
    request.getfixturevalue("s3")
    return storage_path(f"s3://bucket/{tmp_path.name}/folder")


def _write(path, content=b"x"):
    create_folder(path.parent)
    path.write_bytes(content)
    return path


def test_a_folder_is_listed_afresh_each_time(folder):
    assert list_folder(folder) == []
    second = _write(folder / "b" / "c.txt")
    assert list_folder(folder) == [folder / "b"]
    assert list_folder(folder)[0].is_dir()
    first = _write(folder / "a.txt")
    assert list_folder(folder) == [first, folder / "b"]
    assert list_folder(folder / "b") == [second]
    assert not first.is_dir()


def test_an_object_that_stands_for_a_folder_is_no_entry(s3):
    for key in ("marked/", "marked/a.txt"):
        s3.put_object(Bucket="bucket", Key=key, Body=b"")
    folder = storage_path("s3://bucket/marked")
    assert list_folder(folder) == [folder / "a.txt"]
    assert list(list_files_below(folder)) == [folder / "a.txt"]


def test_files_below_a_folder_have_their_size_and_version(folder):
    files = [_write(folder / name, name.encode()) for name in ("a.txt", "b/c.txt", "b/d/e.txt")]
    listed = list_files_below(folder)
    assert list(listed) == files
    assert [status.size for status in listed.values()] == [5, 7, 9]
    assert listed[files[0]] == file_status(files[0])
    assert total_bytes([str(path) for path in files]) == 21
    assert [relative_name(path, folder) for path in files] == ["a.txt", "b/c.txt", "b/d/e.txt"]


def test_a_replaced_file_of_the_same_size_has_another_version(folder):
    path = _write(folder / "a.txt", b"old")
    before = file_status(path)
    _write(path, b"new")
    assert file_status(path).version != before.version
    assert file_status(path).size == before.size


def test_a_deleted_folder_is_gone_and_may_be_deleted_again(folder):
    _write(folder / "b" / "c.txt")
    for _ in range(2):
        delete_folder(folder)
        assert list_files_below(folder) == {}


def test_a_copy_takes_the_place_of_a_file(folder):
    path, copy = _write(folder / "a.txt", b"old"), _write(folder / ".a.txt.copy", b"new")
    replace_file(copy, path)
    with open_stream(path) as file:
        assert file.read() == b"new"
    assert list_folder(folder) == [path]


def test_a_file_can_be_read_at_any_position(folder):
    path = _write(folder / "a.txt", bytes(range(256)) * 100)
    with open_stream(path) as file:
        assert file.seek(-3, os.SEEK_END) == 25597
        assert file.read() == bytes([253, 254, 255])
        file.seek(0)
        assert file.read() == path.read_bytes()


def test_a_file_that_does_not_exist_is_no_fault_of_the_store(folder):
    with pytest.raises(FileNotFoundError):
        open_stream(folder / "none.txt")


def test_an_object_that_was_replaced_is_not_read_further(s3):
    path = _write(storage_path("s3://bucket/replaced.bin"), b"a" * (20 << 20))
    with open_stream(path) as file:
        file.read(10)
        s3.put_object(Bucket="bucket", Key="replaced.bin", Body=b"b" * (20 << 20))
        with pytest.raises(ServiceUnavailableError, match=r"replaced\.bin"):
            file.read()


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
