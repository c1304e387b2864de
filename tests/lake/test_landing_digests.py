import os

import pytest

from core import hashing
from core.errors import InputError
from core.storage import storage_path
from lake.client import Lake
from lake.landing import list_files
from lake.landing_digests import digest_files
from tests.support.landing_files import DAY, land, timedelta


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that were hashed."""
    names, hash_file = [], hashing.hash_file
    monkeypatch.setattr("core.hashing.hash_file", lambda path: names.append(path.name) or hash_file(path))
    return names


def _digests(root, *paths, day=DAY):
    files = digest_files(Lake(), root, {("events", day): list(paths)})["events", day]
    return [file.digest for file in files]


def test_a_file_is_hashed_once(landing, hashed):
    first, second = (land(landing, "events", DAY, ["{}\n"], name) for name in ("a.jsonl", "b.jsonl"))
    before = _digests(landing, first, second)
    assert sorted(hashed) == ["a.jsonl", "b.jsonl"]
    assert _digests(landing, first, second) == before == [hashing.hash_file(first)] * 2
    assert len(hashed) == 3  # the last one by this test


@pytest.mark.parametrize("change", ["time", "size", "name", "content"])
def test_a_changed_file_is_hashed_again(landing, hashed, change):
    path = land(landing, "events", DAY, ["{}\n"])
    _digests(landing, path)
    modified = path.stat().st_mtime_ns
    if change == "name":
        path = path.rename(path.with_name("renamed.jsonl"))
    elif change != "time":
        path.write_text("{}{}\n" if change == "size" else "[]\n")
    os.utime(path, ns=(0, modified if change in ("size", "name") else modified + 1))
    hashed.clear()
    assert _digests(landing, path) == [hashing.hash_file(path)]
    assert hashed == [path.name] * 2


def test_digests_of_other_days_stay(landing, hashed):
    old = DAY - timedelta(1)
    first, second = land(landing, "events", old, ["{}\n"]), land(landing, "events", DAY, ["{}\n"])
    _digests(landing, first, day=old)
    _digests(landing, second)
    hashed.clear()
    _digests(landing, first, day=old)
    assert hashed == []


def test_an_unchanged_folder_writes_nothing(landing):
    path = land(landing, "events", DAY, ["{}\n"])
    _digests(landing, path)
    before = Lake().version("landing_digests")
    _digests(landing, path)
    assert Lake().version("landing_digests") == before


def test_a_file_that_vanished_is_named(landing):
    with pytest.raises(InputError, match=r"gone\.jsonl cannot be read"):
        _digests(landing, landing / "events" / f"dt={DAY}" / "gone.jsonl")


def test_a_file_on_s3_is_hashed_once_and_again_if_it_is_replaced(s3, tmp_path, hashed):
    root = storage_path(f"s3://bucket/{tmp_path.name}/landing")
    path = land(root, "events", DAY, ["{}\n"])
    before = _digests(root, path)
    assert _digests(root, path) == before
    path.write_text("[]\n")  # of the same size, and within the same second
    assert _digests(root, *list_files(root, "events", DAY)) != before
    assert hashed == [path.name] * 2
