"""The modalities of a video come together on held-out videos, within a bound of the champion's space."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from contracts.errors import InputError
from contracts.model_params import Align
from contracts.params import load
from contracts.place import PROJECT, Night
from models import fusion
from models.bundle import DESCRIPTION, FORMAT
from tasks import align, tracking, train
from tasks.pinned import HELD_OUT, Pinned
from tests.snapshots import plant

PARAMS = Align(
    width=16,
    epochs=15,
    batch_size=64,
    learning_rate=0.003,
    temperature=0.1,
    twin_cosine=0.99,
    anchor_weight=1.0,
    max_drift=0.1,
    seed=1,
)


def digest(params: Align, night: Night) -> str:
    return align.run(params, night).digests["heads.safetensors"]


def metrics(night: Night) -> dict:
    return json.loads((night.folder("align") / "metrics.json").read_text())


def copied(night: Night, folder: Path) -> Night:
    shutil.copytree(night.workspace, folder)
    return Night(night.day, folder)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return plant(tmp_path_factory.mktemp("night"), videos=150)


@pytest.fixture(scope="module")
def second(night: Night, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The night again, with a model that was trained on it as its champion."""
    again = copied(night, tmp_path_factory.mktemp("second") / "night")
    align.run(PARAMS, again)
    params = replace(load(PROJECT / "params.yaml").train, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "log_run", lambda *_: "not logged")
        train.run(params, again)
    shutil.copytree(again.workspace / "train", again.workspace / "snapshot" / "champion")
    return again


def test_alignment_finds_the_other_modality_of_videos_it_never_saw(night: Night) -> None:
    align.run(PARAMS, night)
    aligned = metrics(night)
    align.run(replace(PARAMS, epochs=0), night)
    pair, untrained = aligned["pairs"]["visual-text"], metrics(night)["pairs"]["visual-text"]
    assert aligned["curve"][-1]["loss"] < 0.7 * aligned["curve"][0]["loss"]
    assert pair["videos"] == untrained["videos"] > 10
    assert pair["alignment"] < untrained["alignment"] - 0.3
    for way in ("from_visual", "from_text"):
        assert pair[way]["recall@10"] > pair["chance"]["recall@10"] + 0.2
        assert pair[way]["recall@10"] > untrained[way]["recall@10"]


def test_the_heads_say_how_wide_they_are_and_carry_the_temperature_they_learned(night: Night) -> None:
    receipt = align.run(PARAMS, night)
    path = night.folder("align") / "heads.safetensors"
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["align"]) == {"width": 16, "twin_cosine": 0.99}
    learned = float(torch.exp(-load_file(path)["log_scale"]))
    assert learned == pytest.approx(receipt.facts["temperature"]) != pytest.approx(0.1, rel=1e-3)


def test_the_temperature_stays_within_its_bounds(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "TEMPERATURES", (0.0999, 0.1001))
    assert align.run(PARAMS, night).facts["temperature"] == pytest.approx(0.1, rel=2e-3)


@pytest.mark.parametrize("rows", ["without training views", "held out"])
def test_videos_that_alignment_may_not_learn_from_cannot_reach_the_heads(tmp_path: Path, rows: str) -> None:
    night = plant(tmp_path, new_videos=10)
    pinned = Pinned(night)
    first = digest(PARAMS, night)
    path = night.output("snapshot", "features.safetensors")
    features = load_file(path)
    held = pinned.lots < HELD_OUT if rows == "held out" else pinned.train_views == 0
    assert held.sum() > 3
    features["visual"][held] = 1e6
    save_file(features, path)
    assert digest(PARAMS, night) == first
    features["visual"][pinned.aligned[0]] = 1e6
    save_file(features, path)
    assert digest(PARAMS, night) != first


def test_the_same_inputs_give_the_same_bytes_and_each_knob_changes_them(night: Night, second: Night) -> None:
    first, warm = digest(PARAMS, night), digest(PARAMS, second)
    assert [digest(PARAMS, night) for _ in range(5)] == [first] * 5
    assert [digest(PARAMS, second) for _ in range(2)] == [warm] * 2
    changes = {
        "width": 8,
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.01,
        "temperature": 0.5,
        "twin_cosine": 0.6,
        "seed": 2,
    }
    held = {"anchor_weight": 5.0, "max_drift": 0.001}
    found = {name: digest(replace(PARAMS, **{name: value}), night) for name, value in changes.items()}
    found_held = {name: digest(replace(PARAMS, **{name: value}), second) for name, value in held.items()}
    assert {*changes, *held} == set(Align.__dataclass_fields__)
    assert [name for name, value in found.items() if value == first] == []
    assert [name for name, value in found_held.items() if value == warm] == []


@pytest.mark.parametrize("modalities", [(), ("text",)])
def test_fewer_than_two_modalities_leave_nothing_to_align(
    tmp_path: Path, modalities: tuple[str, ...]
) -> None:
    night = plant(tmp_path, modalities=modalities)
    receipt = align.run(PARAMS, night)
    assert receipt.facts["pairs"] == {}
    tensors = load_file(night.folder("align") / "heads.safetensors")
    assert any(name.startswith("heads.") for name in tensors) is bool(modalities)


def test_a_night_starts_from_the_champions_projections_and_says_so(second: Night) -> None:
    receipt = align.run(replace(PARAMS, epochs=0), second)
    heads = load_file(second.folder("align") / "heads.safetensors")
    champion = load_file(second.workspace / "snapshot" / "champion" / "model.safetensors")
    assert all(torch.equal(tensor, champion[f"fusion.project.{name}"]) for name, tensor in heads.items())
    assert receipt.facts["start"].startswith("warm: champion")
    assert receipt.facts["drift"].keys() == {"visual", "text", "audio"}
    assert all(one["p95"] == pytest.approx(0.0, abs=1e-6) for one in receipt.facts["drift"].values())


@pytest.mark.parametrize("bound", [0.0, 0.01, 0.03, 2.0])
def test_the_last_epoch_within_the_bound_is_kept_at_worst_the_champions(second: Night, bound: float) -> None:
    facts = align.run(replace(PARAMS, max_drift=bound, anchor_weight=0.0), second).facts
    curve = metrics(second)["curve"]
    within = [row["epoch"] for row in curve if row["drift"] <= bound]
    assert facts["epoch"] == max(within, default=0)
    farthest = max(one["p95"] for one in facts["drift"].values())
    assert farthest == pytest.approx(curve[facts["epoch"] - 1]["drift"] if facts["epoch"] else 0.0, abs=1e-6)
    assert farthest <= bound + 1e-6
    assert (facts["epoch"] == 0) == (bound == 0.0)


def test_the_anchor_holds_the_space(second: Night) -> None:
    free, held = (
        align.run(replace(PARAMS, anchor_weight=weight, max_drift=2.0), second).facts for weight in (0.0, 5.0)
    )
    for name, one in held["drift"].items():
        assert one["mean"] < free["drift"][name]["mean"]


@pytest.mark.parametrize("change", ["width", "encoder", "none"])
def test_another_space_is_a_cold_start_that_says_why(second: Night, tmp_path: Path, change: str) -> None:
    night, params = copied(second, tmp_path / "night"), PARAMS
    if change == "width":
        params = replace(PARAMS, width=8)
    elif change == "encoder":
        path = night.output("snapshot", "manifest.json")
        path.write_text(path.read_text().replace("planted-text", "another"))
    else:
        shutil.rmtree(night.workspace / "snapshot" / "champion")
    facts = align.run(params, night).facts
    assert facts["start"].startswith("cold: ")
    assert facts["drift"] == {}
    assert facts["epoch"] == params.epochs


def test_a_champion_that_cannot_be_read_is_refused(second: Night, tmp_path: Path) -> None:
    night = copied(second, tmp_path / "night")
    path = night.workspace / "snapshot" / "champion" / DESCRIPTION
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    with pytest.raises(InputError, match="not a model that this version can read"):
        align.run(PARAMS, night)


def test_the_probe_and_the_held_out_videos_are_the_same_whatever_else_the_catalogue_holds(
    tmp_path: Path,
) -> None:
    few, many = (Pinned(plant(tmp_path / str(n), videos=n, new_videos=10)) for n in (60, 120))
    assert torch.equal(few.lots, many.lots[:60])
    assert 0 < int((many.lots < HELD_OUT).sum()) < 30
    assert not set(many.aligned.tolist()) & set(many.held_out.tolist())
    assert len(many.aligned) + len(many.held_out) == 120


def test_processes_of_torchrun_share_the_batches_and_leave_one_result(night: Night, tmp_path: Path) -> None:
    together = copied(night, tmp_path / "night")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    told = ["--night", str(night.day), "--workspace", str(together.workspace)]
    done = subprocess.run([*command, "-m", "tasks.align", *told], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    align.run(load(PROJECT / "params.yaml").align, night)
    alone, shared = (load_file(n.folder("align") / "heads.safetensors") for n in (night, together))
    assert all(torch.allclose(alone[name], shared[name], atol=1e-3) for name in alone)
    assert (together.receipts / "align.json").exists()
