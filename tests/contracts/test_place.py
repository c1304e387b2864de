import shutil

import pytest

from contracts import place
from contracts.errors import InputError
from contracts.place import without_credentials


def test_a_home_that_was_copied_or_moved_is_refused_with_the_way_out(home, tmp_path, monkeypatch):
    place.mark_home()
    assert place.home() == home
    shutil.copytree(home, tmp_path / "copy")
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / "copy"))
    for where in (place.home, place.warehouse, place.record, place.tracking_uri, place.mark_home):
        with pytest.raises(InputError, match=rf"was made as {home}: .*move it back, or make {home} a link"):
            where()


def test_a_home_moved_with_a_link_in_its_old_place_is_taken(home, tmp_path, monkeypatch):
    place.mark_home()
    home.rename(tmp_path / "new")
    home.symlink_to(tmp_path / "new")
    for path in (home, tmp_path / "new"):
        monkeypatch.setenv("UNDERCURRENT_HOME", str(path))
        assert place.home() == tmp_path / "new"


@pytest.mark.parametrize("name", ["[1] {a}", "a*", "what?", "a\\b", "a\nb", "p%20q"])
@pytest.mark.parametrize("variable", ["UNDERCURRENT_HOME", "UNDERCURRENT_WAREHOUSE"])
def test_a_path_that_spark_would_take_for_a_pattern_is_refused(tmp_path, monkeypatch, variable, name):
    monkeypatch.setenv(variable, str(tmp_path / name))
    with pytest.raises(InputError, match=rf"{variable} is .*; choose a path without") as caught:
        place.warehouse()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["20260112", "2026-W03-1", "2026-1-12", "2026-02-30", "tomorrow", ""])
def test_a_day_has_one_form(text):
    with pytest.raises(InputError, match="write it as YYYY-MM-DD"):
        place.parse_day(text)


@pytest.mark.parametrize(
    ("text", "told"),
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
def test_credentials_are_hidden_wherever_they_stand_in_a_text(text, told):
    assert without_credentials(text) == told


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
def test_what_holds_no_credentials_stays_as_it_is(text):
    assert without_credentials(text) == text


@pytest.mark.parametrize("make", ["bytes", "folder", "file"])
def test_a_damaged_home_is_refused_in_a_sentence(home, make):
    if make == "file":
        home.write_text("not a folder")
    else:
        home.mkdir()
        marker = home / place.MARKER
        marker.mkdir() if make == "folder" else marker.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UNDERCURRENT_HOME must be a folder, and this file must hold"):
        place.home()


def test_an_empty_setting_is_none(monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_HOME", "")
    assert place.home_path().name == "var"
