"""The modalities of a video come together, on videos that were held out; every knob counts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from contracts.params import Align
from contracts.place import Night
from models.losses import info_nce
from tasks import align
from tests.snapshots import plant

PARAMS = Align(width=16, epochs=15, batch_size=64, learning_rate=0.003, temperature=0.1, seed=1)


def digest(params: Align, night: Night) -> str:
    return align.run(params, night).digests["heads.safetensors"]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return plant(tmp_path_factory.mktemp("night"), videos=150)


def test_alignment_finds_the_other_modality_of_videos_it_never_saw(night: Night) -> None:
    align.run(PARAMS, night)
    metrics = json.loads((night.folder("align") / "metrics.json").read_text())
    pair = metrics["pairs"]["visual-text"]
    assert metrics["loss"][-1] < 0.7 * metrics["loss"][0]
    align.run(replace(PARAMS, epochs=0), night)
    untrained = json.loads((night.folder("align") / "metrics.json").read_text())["pairs"]["visual-text"]
    assert pair["videos"] == untrained["videos"] > 5
    assert pair["alignment"] < untrained["alignment"] - 0.3
    assert pair["recall@10"] >= untrained["recall@10"]


def test_the_heads_say_how_wide_they_are(night: Night) -> None:
    align.run(PARAMS, night)
    with safe_open(night.folder("align") / "heads.safetensors", "pt") as file:
        assert json.loads(file.metadata()["align"]) == {"width": 16, "temperature": 0.1}


def test_videos_without_training_views_cannot_reach_the_heads(tmp_path: Path) -> None:
    night = plant(tmp_path, new_videos=10)
    first = digest(PARAMS, night)
    path = night.output("snapshot", "features.safetensors")
    features = load_file(path)
    features["visual"][-10:] = 1e6
    save_file(features, path)
    assert digest(PARAMS, night) == first
    features["visual"][0] = 1e6
    save_file(features, path)
    assert digest(PARAMS, night) != first


def test_the_same_inputs_give_the_same_bytes_and_each_knob_changes_them(night: Night) -> None:
    first = digest(PARAMS, night)
    assert [digest(PARAMS, night) for _ in range(5)] == [first] * 5
    changes = {
        "width": 8,
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.01,
        "temperature": 0.5,
        "seed": 2,
    }
    found = {name: digest(replace(PARAMS, **{name: value}), night) for name, value in changes.items()}
    assert set(changes) == set(Align.__dataclass_fields__)
    assert [name for name, value in found.items() if value == first] == []


@pytest.mark.parametrize("modalities", [(), ("text",)])
def test_fewer_than_two_modalities_leave_nothing_to_align(
    tmp_path: Path, modalities: tuple[str, ...]
) -> None:
    night = plant(tmp_path, modalities=modalities)
    receipt = align.run(PARAMS, night)
    assert receipt.facts["pairs"] == {}
    assert bool(load_file(night.folder("align") / "heads.safetensors")) is bool(modalities)


def test_what_is_measured_are_cosines_of_the_pair() -> None:
    x_VMD = torch.randn(20, 2, 4)
    has_VM = torch.ones(20, 2, dtype=torch.bool)
    same = align.measure(x_VMD[:, :1].expand(-1, 2, -1), has_VM, ["visual", "text"])["visual-text"]
    assert same["recall@1"] == 1.0
    assert same["alignment"] == pytest.approx(0.0, abs=1e-6)
    other = align.measure(x_VMD, has_VM, ["visual", "text"])["visual-text"]
    assert other["recall@1"] < 0.5
    assert other["alignment"] > 1.0
    assert info_nce(x_VMD[:, 0], x_VMD[:, 1], 0.1) > 1.0
