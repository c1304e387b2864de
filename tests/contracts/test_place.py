import shutil

import pytest

from contracts import place
from contracts.errors import InputError


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


@pytest.mark.parametrize("name", ["[1] {a}", "a*", "what?", "a\\b", "a\nb"])
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
