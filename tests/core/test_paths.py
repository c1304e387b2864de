import shutil
from datetime import date
from pathlib import Path

import pytest

from core import paths
from core.errors import InputError
from core.paths import PROJECT_ROOT, redact_credentials

DAY = date(2026, 3, 5)


def test_a_copied_or_moved_home_is_refused_with_a_remedy(home, tmp_path, monkeypatch):
    paths.write_home_marker()
    assert paths.home() == home
    shutil.copytree(home, tmp_path / "copy")
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / "copy"))
    for function in (paths.home, paths.warehouse, paths.record, paths.tracking_uri, paths.write_home_marker):
        with pytest.raises(InputError, match=rf"was made as {home}: .*move it back, or make {home} a link"):
            function()


def test_a_moved_home_with_a_link_at_its_old_path_is_accepted(home, tmp_path, monkeypatch):
    paths.write_home_marker()
    home.rename(tmp_path / "new")
    home.symlink_to(tmp_path / "new")
    for path in (home, tmp_path / "new"):
        monkeypatch.setenv("UNDERCURRENT_HOME", str(path))
        assert paths.home() == tmp_path / "new"


@pytest.mark.parametrize("name", ["[1] {a}", "a*", "what?", "a\\b", "a\nb", "p%20q"])
@pytest.mark.parametrize("variable", ["UNDERCURRENT_HOME", "UNDERCURRENT_WAREHOUSE"])
def test_a_path_with_pattern_characters_is_refused(tmp_path, monkeypatch, variable, name):
    monkeypatch.setenv(variable, str(tmp_path / name))
    with pytest.raises(InputError, match=rf"{variable} is .*; choose a path without") as caught:
        paths.warehouse()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["20260112", "2026-W03-1", "2026-1-12", "2026-02-30", "tomorrow", ""])
def test_a_day_has_one_format(text):
    with pytest.raises(InputError, match="write it as YYYY-MM-DD"):
        paths.parse_day(text)


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31"])
def test_a_day_leaves_room_for_the_days_around_it(text):
    with pytest.raises(InputError, match="correct the year"):
        paths.parse_day(text)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql://ann:s3cret@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("https://t0ken@git.example/x.git", "https://***@git.example/x.git"),
        ("https://:s3cret@host/x", "https://***@host/x"),
        ("postgresql://ann:s3/cr@et@db/mlflow", "postgresql://***@db/mlflow"),
        (
            "postgresql+psycopg2://db/x?user=ann&password=s3cret&a=1",
            "postgresql+psycopg2://db/x?user=ann&password=***&a=1",
        ),
        ("https://host/x?X-Amz-Security-Token=s3cret", "https://host/x?X-Amz-Security-Token=***"),
        (
            "cannot reach 'mysql://a:b@one/x', nor http://c:d@two/y: refused\nsee s3://e:f@three",
            "cannot reach 'mysql://***@one/x', nor http://***@two/y: refused\nsee s3://***@three",
        ),
    ],
)
def test_credentials_are_redacted_anywhere_in_a_text(text, redacted):
    assert redact_credentials(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////data/ann:x@lab/mlflow.db",
        "s3://bucket/videos/a@b.mp4",
        "http://127.0.0.1:8080/dags/nightly",
        "/data/ann@lab: no such file; write to ann@example.com",
        "https://host/x?night=2026-03-12&page=2",
        "",
    ],
)
def test_a_text_without_credentials_is_unchanged(text):
    assert redact_credentials(text) == text


@pytest.mark.parametrize("make", ["bytes", "folder", "file"])
def test_a_damaged_home_is_refused_in_one_sentence(home, make):
    if make == "file":
        home.write_text("not a folder")
    else:
        home.mkdir()
        marker = home / paths.HOME_MARKER
        marker.mkdir() if make == "folder" else marker.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UNDERCURRENT_HOME must be a folder, and this file must hold"):
        paths.home()


def test_an_empty_variable_means_the_default(monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_HOME", "")
    assert paths.unchecked_home().name == "var"


def test_without_settings_everything_is_in_the_project_whatever_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("UNDERCURRENT_HOME")
    monkeypatch.chdir(tmp_path)
    assert paths.unchecked_home() == PROJECT_ROOT / "var"
    assert paths.landing() == PROJECT_ROOT / "var" / "landing"
    assert paths.default_workspace(DAY) == PROJECT_ROOT / "var" / "nights" / "2026-03-05"


def test_a_stage_of_dvc_has_its_workspace_in_the_project(monkeypatch, home):
    assert paths.default_workspace(DAY) == home / "nights" / "2026-03-05"
    monkeypatch.setenv("DVC_STAGE", "ingest")
    assert paths.default_workspace(DAY) == PROJECT_ROOT / "night"


def test_colons_separate_the_folders_of_media(monkeypatch, tmp_path):
    assert paths.media_roots() == ()
    monkeypatch.setenv("UNDERCURRENT_MEDIA_ROOTS", f"{tmp_path}/a:/b/../c:")
    assert paths.media_roots() == (tmp_path / "a", Path("/c"))


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        ("UNDERCURRENT_HOME", paths.unchecked_home),
        ("UNDERCURRENT_LANDING", paths.landing),
        ("UNDERCURRENT_MEDIA_ROOTS", paths.media_roots),
        ("UNDERCURRENT_WAREHOUSE", paths.warehouse),
        ("UNDERCURRENT_RECORD", paths.record),
    ],
)
def test_a_relative_folder_is_refused(monkeypatch, variable, folder):
    monkeypatch.setenv(variable, "var-mine")
    with pytest.raises(InputError, match=rf"{variable} is 'var-mine'.*write an absolute path, such as /"):
        folder()


@pytest.mark.parametrize(
    ("variable", "address"),
    [("UNDERCURRENT_CATALOG_URI", paths.catalog_uri), ("MLFLOW_TRACKING_URI", paths.tracking_uri)],
)
def test_a_sqlite_file_with_a_relative_path_is_refused(monkeypatch, home, variable, address):
    monkeypatch.setenv(variable, "")
    assert address().startswith(f"sqlite:///{home}/")
    monkeypatch.setenv(variable, "sqlite:///x.db")
    with pytest.raises(InputError, match=rf"{variable} is 'sqlite:///x.db'.*such as sqlite:////.*/x.db"):
        address()


def test_the_value_of_a_secret_variable_is_redacted(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7")
    monkeypatch.setenv("SHORT_TOKEN", "true")
    text = "AKIAIOSFODNN7 with wJalrXUtnFEMI: true"
    assert redact_credentials(text) == "AKIAIOSFODNN7 with ***: true"


def test_a_command_that_writes_local_files_refuses_a_landing_folder_on_s3(monkeypatch, home):
    assert paths.local_landing() == home / "landing"
    monkeypatch.setenv("UNDERCURRENT_LANDING", "s3://bucket/landing")
    with pytest.raises(InputError, match=r"s3://bucket/landing, but this command writes local files.*--out"):
        paths.local_landing()
