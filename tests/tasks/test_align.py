"""Alignment generalises to held-out videos, and embedding drift from the champion is bounded."""

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

from core.config import load_params
from core.config.model_half import AlignConfig
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from models.bundle import CONFIG_FILE, FORMAT_VERSION
from models.layers import projections
from registry import tracking
from snapshots.reader import HELD_OUT_SHARE, SnapshotReader
from tasks import align, train
from tests.support.snapshots import plant

PARAMS = AlignConfig(
    width=16,
    epochs=15,
    batch_size=64,
    learning_rate=0.003,
    temperature=0.1,
    near_duplicate_cosine=0.99,
    anchor_weight=1.0,
    max_embedding_drift=0.1,
    seed=1,
)


def digest(params: AlignConfig, night: Night) -> str:
    return align.run(params, night).digests["projections.safetensors"]


def metrics(night: Night) -> dict:
    return json.loads((night.folder("align") / "metrics.json").read_text())


def copy_night(night: Night, folder: Path) -> Night:
    shutil.copytree(night.workspace, folder)
    return Night(night.day, folder)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return plant(tmp_path_factory.mktemp("night"), videos=150)


@pytest.fixture(scope="module")
def second(night: Night, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Return a copy of the night whose champion is a model that was trained on it."""
    again = copy_night(night, tmp_path_factory.mktemp("second") / "night")
    align.run(PARAMS, again)
    params = replace(load_params(PROJECT_ROOT / "params.yaml").train, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "log_run", lambda *_: "not logged")
        train.run(params, again)
    shutil.copytree(again.workspace / "train", again.workspace / "snapshot" / "champion")
    return again


def test_alignment_generalises_to_held_out_videos(night: Night) -> None:
    align.run(PARAMS, night)
    aligned = metrics(night)
    align.run(replace(PARAMS, epochs=0), night)
    pair = aligned["modality_pairs"]["visual-text"]
    untrained = metrics(night)["modality_pairs"]["visual-text"]
    assert aligned["curve"][-1]["total"] < 0.7 * aligned["curve"][0]["total"]
    assert pair["num_videos"] == untrained["num_videos"] > 10
    assert pair["alignment"] < untrained["alignment"] - 0.3
    for direction in ("from_visual", "from_text"):
        assert pair[direction]["recall@10"] > pair["chance"]["recall@10"] + 0.2
        assert pair[direction]["recall@10"] > untrained[direction]["recall@10"]


def test_the_projections_have_width_and_learned_temperature(night: Night) -> None:
    run_manifest = align.run(PARAMS, night)
    path = night.folder("align") / "projections.safetensors"
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["align"]) == {"width": 16, "near_duplicate_cosine": 0.99}
    learned = float(torch.exp(-load_file(path)["logit_scale"]))
    assert learned == pytest.approx(run_manifest.facts["temperature"]) != pytest.approx(0.1, rel=1e-3)


def test_the_temperature_stays_within_its_bounds(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "TEMPERATURE_RANGE", (0.0999, 0.1001))
    assert align.run(PARAMS, night).facts["temperature"] == pytest.approx(0.1, rel=2e-3)


@pytest.mark.parametrize("rows", ["without training interactions", "held out"])
def test_excluded_videos_do_not_change_the_projections(tmp_path: Path, rows: str) -> None:
    night = plant(tmp_path, new_videos=10)
    snapshot = SnapshotReader(night)
    first = digest(PARAMS, night)
    path = night.require_output("snapshot", "features.safetensors")
    features = load_file(path)
    if rows == "held out":
        excluded_V = snapshot.hash_buckets < HELD_OUT_SHARE
    else:
        excluded_V = snapshot.num_interactions("valid_1") == 0
    assert excluded_V.sum() > 3
    features["visual"][excluded_V] = 1e6
    save_file(features, path)
    assert digest(PARAMS, night) == first
    features["visual"][snapshot.alignment_rows[0]] = 1e6
    save_file(features, path)
    assert digest(PARAMS, night) != first


@pytest.mark.parametrize(
    ("fingerprint", "remedy"), [("landed", "deliver them again"), ("planted-audio", "tasks.embed")]
)
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_vectors_that_are_not_finite_are_refused(
    number: float, fingerprint: str, remedy: str, tmp_path: Path
) -> None:
    """The values of a missing modality are no vectors, so they do not count."""
    night = plant(tmp_path, videos=30, missing_audio=4)
    path, manifest = (night.workspace / "snapshot" / n for n in ("features.safetensors", "manifest.json"))
    manifest.write_text(manifest.read_text().replace("planted-audio", fingerprint))
    features = load_file(path)
    features["audio"][2] = number
    save_file(features, path)
    assert SnapshotReader(night).modalities == ["visual", "text", "audio"]
    features["audio"][[7, 9], 1] = number
    save_file(features, path)
    video = SnapshotReader(night).videos["video_id"][7].as_py()
    expected = f"{path}: audio: the vectors of 2 of 26 videos .* not finite, .* video {video}; .*{remedy}"
    with pytest.raises(InputError, match=expected):
        align.run(PARAMS, night)


def test_same_inputs_same_bytes_and_each_parameter_changes_them(night: Night, second: Night) -> None:
    first, warm = digest(PARAMS, night), digest(PARAMS, second)
    assert [digest(PARAMS, night) for _ in range(5)] == [first] * 5
    assert [digest(PARAMS, second) for _ in range(2)] == [warm] * 2
    changes = {
        "width": 8,
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.01,
        "temperature": 0.5,
        "near_duplicate_cosine": 0.6,
        "seed": 2,
    }
    warm_changes = {"anchor_weight": 5.0, "max_embedding_drift": 0.001}  # need a champion
    digests = {name: digest(replace(PARAMS, **{name: value}), night) for name, value in changes.items()}
    warm_digests = {
        name: digest(replace(PARAMS, **{name: value}), second) for name, value in warm_changes.items()
    }
    assert {*changes, *warm_changes} == set(AlignConfig.__dataclass_fields__)
    assert [name for name, value in digests.items() if value == first] == []
    assert [name for name, value in warm_digests.items() if value == warm] == []


@pytest.mark.parametrize("modalities", [(), ("text",)])
def test_fewer_than_two_modalities_leave_nothing_to_align(
    tmp_path: Path, modalities: tuple[str, ...]
) -> None:
    night = plant(tmp_path, modalities=modalities)
    run_manifest = align.run(PARAMS, night)
    assert run_manifest.facts["modality_pairs"] == {}
    tensors = load_file(night.folder("align") / "projections.safetensors")
    assert any(name.startswith("heads.") for name in tensors) is bool(modalities)


def test_a_warm_start_from_the_projections_of_the_champion(second: Night) -> None:
    run_manifest = align.run(replace(PARAMS, epochs=0), second)
    heads = load_file(second.folder("align") / "projections.safetensors")
    champion = load_file(second.workspace / "snapshot" / "champion" / "model.safetensors")
    assert all(
        torch.equal(tensor, champion[f"item_fusion.projections.{name}"]) for name, tensor in heads.items()
    )
    assert run_manifest.facts["initialised_from"].startswith("warm: champion")
    assert run_manifest.facts["embedding_drift"].keys() == {"visual", "text", "audio"}
    assert all(
        drift["p95"] == pytest.approx(0.0, abs=1e-6)
        for drift in run_manifest.facts["embedding_drift"].values()
    )


@pytest.mark.parametrize("bound", [0.0, 0.01, 0.03, 2.0])
def test_the_last_epoch_within_the_drift_bound_is_kept(second: Night, bound: float) -> None:
    facts = align.run(replace(PARAMS, max_embedding_drift=bound, anchor_weight=0.0), second).facts
    curve = metrics(second)["curve"]
    within = [row["epoch"] for row in curve if row["max_p95_drift"] <= bound]
    assert facts["best_epoch"] == max(within, default=0)
    max_drift = max(drift["p95"] for drift in facts["embedding_drift"].values())
    assert max_drift == pytest.approx(
        curve[facts["best_epoch"] - 1]["max_p95_drift"] if facts["best_epoch"] else 0.0, abs=1e-6
    )
    assert max_drift <= bound + 1e-6
    assert (facts["best_epoch"] == 0) == (bound == 0.0)


def test_the_anchor_reduces_embedding_drift(second: Night) -> None:
    free, anchored = (
        align.run(replace(PARAMS, anchor_weight=weight, max_embedding_drift=2.0), second).facts
        for weight in (0.0, 5.0)
    )
    for name, drift in anchored["embedding_drift"].items():
        assert drift["mean"] < free["embedding_drift"][name]["mean"]


@pytest.mark.parametrize("change", ["width", "encoder", "none"])
def test_a_cold_start_has_its_reason(second: Night, tmp_path: Path, change: str) -> None:
    night, params = copy_night(second, tmp_path / "night"), PARAMS
    if change == "width":
        params = replace(PARAMS, width=8)
    elif change == "encoder":
        path = night.require_output("snapshot", "manifest.json")
        path.write_text(path.read_text().replace("planted-text", "another"))
    else:
        shutil.rmtree(night.workspace / "snapshot" / "champion")
    facts = align.run(params, night).facts
    assert facts["initialised_from"].startswith("cold: ")
    assert facts["embedding_drift"] == {}
    assert facts["best_epoch"] == params.epochs


def test_an_unreadable_champion_is_refused(second: Night, tmp_path: Path) -> None:
    night = copy_night(second, tmp_path / "night")
    path = night.workspace / "snapshot" / "champion" / CONFIG_FILE
    path.write_text(path.read_text().replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 1'))
    with pytest.raises(InputError, match="this version cannot read the model"):
        align.run(PARAMS, night)


def test_held_out_videos_do_not_depend_on_the_catalogue(tmp_path: Path) -> None:
    few, many = (SnapshotReader(plant(tmp_path / str(n), videos=n, new_videos=10)) for n in (60, 120))
    assert torch.equal(few.hash_buckets, many.hash_buckets[:60])
    assert 0 < int((many.hash_buckets < HELD_OUT_SHARE).sum()) < 30
    assert not set(many.alignment_rows.tolist()) & set(many.held_out_rows.tolist())
    assert len(many.alignment_rows) + len(many.held_out_rows) == 120


def test_torchrun_processes_share_batches_and_write_one_result(night: Night, tmp_path: Path) -> None:
    together = copy_night(night, tmp_path / "night")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = ["--night", str(night.day), "--workspace", str(together.workspace)]
    completed = subprocess.run(
        [*command, "-m", "tasks.align", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr[-3000:]
    align.run(load_params(PROJECT_ROOT / "params.yaml").align, night)
    alone, shared = (load_file(n.folder("align") / "projections.safetensors") for n in (night, together))
    assert all(torch.allclose(alone[name], shared[name], atol=1e-3) for name in alone)
    assert (together.run_manifests / "align.json").exists()
