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


def test_a_world_may_end_before_its_first_night(tmp_path):
    path = _written(tmp_path, lambda raw: raw["world"].update(nights=0, outage_night=0, trend_night=0))
    assert load(path).world.nights == 0


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("train", "epochs", 0, "train.epochs is 0; it must be 1 or more"),
        ("train", "learning_rate", 0.0, "train.learning_rate is 0.0; it must be finite and above 0"),
        ("train", "learning_rate", float("nan"), "train.learning_rate is nan; it must be finite and above 0"),
        ("train", "dropout", 1.5, "train.dropout is 1.5; it must be from 0 to 1"),
        (
            "train",
            "half_life_days",
            -1,
            "train.half_life_days is -1.0; it must be a finite number, 0 or more",
        ),
        ("evaluate", "cutoffs", [5, 0], "evaluate.cutoffs[1] is 0; it must be 1 or more"),
        ("evaluate", "bootstrap_samples", 0, "evaluate.bootstrap_samples is 0; it must be 1 or more"),
        ("gate", "min_gain", float("inf"), "gate.min_gain is inf; it must be a finite number"),
        ("gate", "max_slice_loss", float("nan"), "gate.max_slice_loss is nan; it must be a finite number"),
        ("embed", "segment_seconds", 0.0, "embed.segment_seconds is 0.0; it must be finite and above 0"),
        ("world", "drift_share", 2.0, "world.drift_share is 2.0; it must be from 0 to 1"),
    ],
)
def test_a_number_out_of_bounds_is_named_with_them(tmp_path, section, key, value, words):
    path = _written(tmp_path, lambda raw: raw[section].update({key: value}))
    with pytest.raises(InputError, match=re.escape(words)):
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
