import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from core.config import Params, load_params, merged_text
from core.config.model_half import PrivateTrainingConfig
from core.config.models import InterestModelConfig, PopularityConfig, TransformerConfig
from core.errors import InputError
from core.paths import PROJECT_ROOT
from core.schema import replace_nested
from models.sources import SOURCES


def _write_params(tmp_path: Path, change) -> Path:
    raw = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text())
    change(raw)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_the_params_of_the_project_load():
    assert isinstance(load_params(PROJECT_ROOT / "params.yaml"), Params)


def test_an_unknown_key_is_named_with_the_likely_one(tmp_path):
    path = _write_params(tmp_path, lambda raw: raw["clean"].update(max_replay=3))
    with pytest.raises(InputError, match=r"unknown key 'clean.max_replay'; did you mean 'max_replays'"):
        load_params(path)


def test_a_missing_key_is_named(tmp_path):
    path = _write_params(tmp_path, lambda raw: raw["train"]["model"].pop("heads"))
    with pytest.raises(InputError, match=re.escape("key 'train.model.heads' is missing")):
        load_params(path)


def test_a_missing_section_is_named(tmp_path):
    path = _write_params(tmp_path, lambda raw: raw.pop("gate"))
    with pytest.raises(InputError, match="key 'gate' is missing"):
        load_params(path)


@pytest.mark.parametrize("value", ["two", 2.5, None, True, [2]])
def test_a_value_of_another_type_is_named(tmp_path, value):
    path = _write_params(tmp_path, lambda raw: raw["train"]["model"].update(heads=value))
    with pytest.raises(InputError, match=r"train\.model\.heads must be of type int"):
        load_params(path)


def test_private_training_is_off_or_a_mapping_within_bounds(tmp_path):
    assert load_params(PROJECT_ROOT / "params.yaml").train.privacy is None
    privacy = {"noise_multiplier": 1.0, "delta": 1e-5}
    path = _write_params(tmp_path, lambda raw: raw["train"].update(privacy=privacy))
    assert load_params(path).train.privacy == PrivateTrainingConfig(1.0, 1e-5)
    without_noise = {**privacy, "noise_multiplier": 0}
    path = _write_params(tmp_path, lambda raw: raw["train"].update(privacy=without_noise))
    with pytest.raises(InputError, match=r"train\.privacy\.noise_multiplier is 0.*from 0\.01 to 1000"):
        load_params(path)


def test_a_simulation_may_have_no_nights(tmp_path):
    path = _write_params(
        tmp_path, lambda raw: raw["simulator"].update(nights=0, outage_night=0, trend_night=0)
    )
    assert load_params(path).simulator.nights == 0


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("sequences", "validation_days", 0, "sequences.validation_days is 0; it must be 1 or more"),
        ("train", "epochs", 0, "train.epochs is 0; it must be 1 or more"),
        ("train", "learning_rate", 0.0, "train.learning_rate is 0.0; it must be finite and above 0"),
        ("train", "learning_rate", float("nan"), "train.learning_rate is nan; it must be finite and above 0"),
        ("train.model", "dropout", 1.5, "train.model.dropout is 1.5; it must be from 0 to 1"),
        (
            "train.model.objective",
            "recency_half_life_days",
            -1,
            "train.model.objective.recency_half_life_days is -1.0; it must be a finite number, 0 or more",
        ),
        ("align", "temperature", 1e-30, "align.temperature is 1e-30; it must be from 0.01 to 1"),
        ("evaluate", "cutoffs", [5, 0], "evaluate.cutoffs[1] is 0; it must be 1 or more"),
        ("evaluate", "bootstrap_samples", 1, "evaluate.bootstrap_samples is 1; it must be 100 or more"),
        ("gate", "min_gain", float("inf"), "gate.min_gain is inf; it must be a finite number"),
        ("gate", "max_slice_loss", float("nan"), "gate.max_slice_loss is nan; it must be a finite number"),
        ("embed", "segment_seconds", 0.0, "embed.segment_seconds is 0.0; it must be finite and above 0"),
        ("simulator", "drift_share", 2.0, "simulator.drift_share is 2.0; it must be from 0 to 1"),
    ],
)
def test_a_number_out_of_bounds_is_named_with_its_bounds(tmp_path, section, key, value, message):
    def change(raw):
        for name in section.split("."):
            raw = raw[name]
        raw[key] = value

    path = _write_params(tmp_path, change)
    with pytest.raises(InputError, match=re.escape(message)):
        load_params(path)


def test_an_integer_is_converted_to_a_float(tmp_path):
    path = _write_params(tmp_path, lambda raw: raw["train"]["model"].update(dropout=0))
    assert isinstance(load_params(path).train.model.dropout, float)


def test_an_unknown_choice_lists_the_choices(tmp_path):
    path = _write_params(tmp_path, lambda raw: raw["train"]["model"].update(encoder="mamba"))
    with pytest.raises(InputError, match="'mamba'; it must be one of transformer"):
        load_params(path)


def test_every_source_can_be_chosen_and_no_other(tmp_path):
    path = _write_params(tmp_path, lambda raw: raw["train"]["model"].update(sources=list(SOURCES)))
    assert load_params(path).train.model.sources == tuple(SOURCES)
    path = _write_params(tmp_path, lambda raw: raw["train"]["model"].update(sources=["trending", "stars"]))
    with pytest.raises(InputError, match=re.escape("train.model.sources[1] is 'stars'; it must be one of")):
        load_params(path)


def test_a_list_item_of_another_type_is_named_by_its_index(tmp_path):
    path = _write_params(tmp_path, lambda raw: raw["snapshot"].update(profile_categories=["age_band", 3]))
    with pytest.raises(InputError, match=re.escape("snapshot.profile_categories[1]")):
        load_params(path)


def _write_model(tmp_path: Path, model: object) -> Path:
    return _write_params(tmp_path, lambda raw: raw["train"].update(model=model))


SASREC = {
    "name": "sasrec",
    "layers": 2,
    "heads": 2,
    "dropout": 0.2,
    "max_length": 100,
    "num_negatives": 0,
    "share_negatives": True,
}


def test_the_name_selects_the_dataclass_of_the_model(tmp_path):
    assert isinstance(load_params(PROJECT_ROOT / "params.yaml").train.model, InterestModelConfig)
    sasrec = load_params(_write_model(tmp_path, SASREC)).train.model
    assert sasrec == TransformerConfig(**SASREC)
    popularity = load_params(_write_model(tmp_path, {"name": "popularity"})).train.model
    assert popularity == PopularityConfig("popularity")


@pytest.mark.parametrize(
    ("name", "key", "value", "readers"),
    [
        ("sasrec", "fusion", "user", "interest"),
        ("sasrec", "sources", [], "interest"),
        ("sasrec", "rerank", {}, "interest"),
        ("sasrec", "objective", {}, "interest"),
        ("sasrec", "warmup_epochs", 0, "interest"),
        ("sasrec", "skip_watch_ratio", 0.2, "interest, din"),
        ("bert4rec", "encoder", "transformer", "interest"),
        ("din", "heads", 2, "interest, sasrec, esasrec, bert4rec, m3csr"),
        ("lightgcn", "dropout", 0.2, "interest, sasrec, esasrec, bert4rec, comirec, din, m3csr, bm3"),
        ("din", "num_negatives", 0, "sasrec, esasrec, bert4rec, comirec"),
        ("sasrec", "trends", 2, "comirec"),
        (
            "popularity",
            "max_length",
            20,
            "interest, itemcf, mf_bpr, lightgcn, mmgcn, sasrec, esasrec, bert4rec, comirec, din, m3csr, bm3",
        ),
    ],
)
def test_a_key_that_the_model_does_not_read_is_refused(tmp_path, name, key, value, readers):
    path = _write_model(tmp_path, {"name": name, key: value})
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert str(caught.value) == (
        f"{path}: key 'train.model.{key}' is read by {readers}, but train.model.name is {name}; remove it"
    )


def test_an_unknown_model_lists_the_known_ones(tmp_path):
    for name in ("sasrek", None, ["sasrec"]):
        path = _write_model(tmp_path, {**SASREC, "name": name})
        with pytest.raises(
            InputError, match=r"train\.model\.name is .*; it must be one of interest, .*, m3csr, bm3$"
        ):
            load_params(path)


def test_a_model_without_a_name_or_keys_is_refused(tmp_path):
    without_name = {key: value for key, value in SASREC.items() if key != "name"}
    with pytest.raises(InputError, match=r"key 'train\.model\.name' is missing; add it, one of interest, "):
        load_params(_write_model(tmp_path, without_name))
    with pytest.raises(InputError, match=r"train\.model must be a mapping with the key 'name', one of inter"):
        load_params(_write_model(tmp_path, "sasrec"))
    with pytest.raises(InputError, match=r"unknown key 'train\.model\.layer'; did you mean 'layers'"):
        load_params(_write_model(tmp_path, {**SASREC, "layer": 1}))


@pytest.mark.parametrize("key", ["evidence", "posterior_mean", "random_walk_weight"])
def test_a_key_of_a_removed_component_is_unknown(tmp_path, key):
    path = _write_params(tmp_path, lambda raw: raw["train"]["model"].update({key: 0}))
    with pytest.raises(InputError, match=rf"unknown key 'train\.model\.{key}'"):
        load_params(path)


def test_a_key_at_the_wrong_level_is_refused_with_its_place(tmp_path):
    path = _write_params(tmp_path, lambda raw: raw["train"].update(fusion="user"))
    with pytest.raises(InputError, match=r"unknown key 'train\.fusion'; write it as 'train\.model\.fusion'"):
        load_params(path)
    path = _write_params(tmp_path, lambda raw: raw["train"]["model"].update(horizon=1))
    with pytest.raises(InputError, match=r"'train\.model\.horizon'; write it as 'train\.model\.objective\."):
        load_params(path)


def test_an_overlay_with_another_model_replaces_the_mapping(tmp_path):
    _write_params(tmp_path, lambda raw: None)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"base": "params.yaml", "train": {"model": SASREC, "epochs": 4}}))
    train = load_params(overlay).train
    assert train.model == TransformerConfig(**SASREC)
    assert train.epochs == 4
    overlay.write_text("base: params.yaml\ntrain:\n  model:\n    name: interest\n    fusion: late\n")
    base = load_params(tmp_path / "params.yaml").train.model
    assert load_params(overlay).train.model == replace(base, fusion="late")


def test_nested_values_are_replaced_by_dotted_path():
    train = load_params(PROJECT_ROOT / "params.yaml").train
    changed = replace_nested(train, {"epochs": 1, "model.layers": 1, "model.objective.horizon": 7})
    objective = replace(train.model.objective, horizon=7)
    assert changed == replace(train, epochs=1, model=replace(train.model, layers=1, objective=objective))
    assert replace_nested(train, {}) == train


def test_a_missing_or_invalid_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_params(tmp_path / "nothing.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(InputError, match="is not valid YAML") as caught:
        load_params(tmp_path / "broken.yaml")
    assert "\n" not in str(caught.value)


def test_an_overlay_changes_only_its_own_keys(tmp_path):
    base = _write_params(tmp_path, lambda raw: None)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text('base: params.yaml\nnight: "2026-01-02"\ntrain:\n  epochs: 1\n')
    plain, changed = load_params(base), load_params(overlay)
    assert changed == replace(plain, night="2026-01-02", train=replace(plain.train, epochs=1))
    (tmp_path / "merged.yaml").write_text(merged_text(overlay))
    assert load_params(tmp_path / "merged.yaml") == changed
    assert merged_text(base) == base.read_text()


def test_an_error_names_the_overlay_or_its_base(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("base: params.yaml\ntrain:\n  epoch: 1\n")
    _write_params(tmp_path, lambda raw: None)
    with pytest.raises(InputError, match=r"overlay\.yaml: unknown key 'train\.epoch'; did you mean 'epochs'"):
        load_params(overlay)
    _write_params(tmp_path, lambda raw: raw["train"]["model"].pop("heads"))
    with pytest.raises(InputError, match=r"params\.yaml: key 'train\.model\.heads' is missing"):
        load_params(overlay)
    (tmp_path / "params.yaml").unlink()
    with pytest.raises(InputError, match=r"params\.yaml does not exist"):
        load_params(overlay)


LEARNED_BASELINES = (
    "mf_bpr",
    "lightgcn",
    "sasrec",
    "esasrec",
    "bert4rec",
    "comirec",
    "din",
    "m3csr",
    "mmgcn",
    "bm3",
)


@pytest.mark.parametrize("name", LEARNED_BASELINES)
def test_each_learned_baseline_has_a_file_of_its_own_settings(name):
    params = load_params(PROJECT_ROOT / "params" / "baselines" / f"{name}.yaml")
    base = load_params(PROJECT_ROOT / "params.yaml")
    assert params.train.model.name == name
    assert replace(params, train=base.train) == base  # only training differs
    assert (params.train.seed, params.train.device) == (base.train.seed, base.train.device)


@pytest.mark.parametrize("name", LEARNED_BASELINES)
def test_a_baseline_shares_no_setting_of_training_with_the_interest_model(name):
    text = (PROJECT_ROOT / "params" / "baselines" / f"{name}.yaml").read_text()
    loop = {"epochs", "patience", "batch_size", "batch_by", "learning_rate", "weight_decay", "clip_norm"}
    assert set(yaml.safe_load(text)["train"]) == {"model", *loop}
