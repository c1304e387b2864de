import re
from pathlib import Path

import pytest
import yaml

from contracts.errors import InputError
from contracts.params import Params, load
from contracts.place import PROJECT


def _written(tmp_path: Path, change) -> Path:
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text())
    change(raw)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_the_projects_own_params_load():
    assert isinstance(load(PROJECT / "params.yaml"), Params)


def test_a_mistyped_key_is_named_with_the_likely_one(tmp_path):
    path = _written(tmp_path, lambda raw: raw["clean"].update(max_lops=3))
    with pytest.raises(InputError, match=r"unknown key 'clean.max_lops'; did you mean 'max_loops'"):
        load(path)


def test_a_missing_key_is_named(tmp_path):
    path = _written(tmp_path, lambda raw: raw["train"].pop("heads"))
    with pytest.raises(InputError, match=re.escape("key 'train.heads' is missing")):
        load(path)


def test_a_missing_section_is_named(tmp_path):
    path = _written(tmp_path, lambda raw: raw.pop("gate"))
    with pytest.raises(InputError, match="key 'gate' is missing"):
        load(path)


@pytest.mark.parametrize("value", ["two", 2.5, None, True, [2]])
def test_a_value_of_another_type_is_named(tmp_path, value):
    path = _written(tmp_path, lambda raw: raw["train"].update(heads=value))
    with pytest.raises(InputError, match=r"train\.heads must be of type int"):
        load(path)


def test_an_integer_passes_for_a_float_and_becomes_one(tmp_path):
    path = _written(tmp_path, lambda raw: raw["train"].update(dropout=0))
    assert isinstance(load(path).train.dropout, float)


def test_an_unknown_choice_lists_the_choices(tmp_path):
    path = _written(tmp_path, lambda raw: raw["train"].update(encoder="mamba"))
    with pytest.raises(InputError, match="'mamba'; it must be one of transformer"):
        load(path)


def test_a_list_item_of_another_type_is_named_by_its_place(tmp_path):
    path = _written(tmp_path, lambda raw: raw["snapshot"].update(profile_categories=["age_band", 3]))
    with pytest.raises(InputError, match=re.escape("snapshot.profile_categories[1]")):
        load(path)


def test_a_missing_file_and_broken_yaml_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nothing.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(InputError, match="is not valid YAML") as caught:
        load(tmp_path / "broken.yaml")
    assert "\n" not in str(caught.value)
