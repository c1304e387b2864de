from datetime import date
from pathlib import Path

import pytest

from core.errors import InputError
from datasets import landing_form
from datasets.landing_form import Release

DAYS = [date(2026, 3, n) for n in range(1, 6)]


def test_writing_is_reproducible_and_omits_unknown_fields(tmp_path):
    written = Release({"videos": {DAYS[0]: [{"video_id": "v", "caption": None, "hashtags": ["é"]}]}})
    (path,) = landing_form.write_landing_files(written, "some", tmp_path)
    assert path.relative_to(tmp_path).as_posix() == "videos/dt=2026-03-01/some.jsonl"
    assert path.read_text(encoding="utf-8") == '{"video_id":"v","hashtags":["é"]}\n'
    before = path.read_bytes()
    landing_form.write_landing_files(written, "some", tmp_path)
    assert path.read_bytes() == before
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_a_killed_import_can_be_repeated(tmp_path, monkeypatch):
    written = Release({"events": {day: [{"user_id": "u"}] for day in DAYS}})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            landing_form.write_landing_files(written, "some", tmp_path)
    paths = landing_form.write_landing_files(written, "some", tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == paths


def test_a_landing_folder_with_other_files_is_refused(tmp_path):
    other = tmp_path / "users" / "dt=2026-03-01" / "other.jsonl"
    other.parent.mkdir(parents=True)
    other.write_text("{}\n")
    with pytest.raises(InputError, match=r"other\.jsonl.*--out"):
        landing_form.write_landing_files(Release({"events": {DAYS[0]: [{"user_id": "u"}]}}), "some", tmp_path)
    assert not (tmp_path / "events").exists()
