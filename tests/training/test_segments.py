"""The source `segment_interest` in the training of a night."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import load_file, save_file

from core.config import load_params
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.run_manifests import RunManifest
from core.schema import replace_nested
from models.bundle import load_bundle
from models.data.segment_grid import SEGMENT_MS_KEY
from models.interest_model import InterestModel
from models.training.choices import add_sequence_scores
from snapshots.reader import SnapshotReader
from tasks import align, train
from tests.support.snapshots import NIGHT, WIDTHS, plant, replace_columns
from training.segments import add_segment_scores
from training.validation import count_validation_choices

BASE = load_params(PROJECT_ROOT / "params.yaml")
SMALL = {
    "epochs": 2,
    "patience": 2,
    "batch_size": 16,
    "model.layers": 1,
    "model.max_length": 20,
    "model.sources": ("trending", "item_cf"),
}
SOURCES = ("trending", "segment_interest", "item_cf")
OFF = replace_nested(BASE.train, SMALL)
ON = replace_nested(OFF, {"model.sources": SOURCES})
VIDEOS = 40


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A night without segments, after align."""
    night = plant(tmp_path_factory.mktemp("night"), users=40, videos=VIDEOS, per_day=3)
    align.run(replace(BASE.align, width=32, epochs=1), night)
    return night


@pytest.fixture(scope="module")
def segment_night(night: Night, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The same night with the vectors of two segments of each video."""
    workspace = tmp_path_factory.mktemp("segments") / "night"
    shutil.copytree(night.workspace, workspace)
    path = workspace / "snapshot" / "features.safetensors"
    rows = np.array([[video, segment] for video in range(VIDEOS) for segment in range(2)], np.int32)
    vectors = np.random.default_rng(0).normal(size=(len(rows), WIDTHS["visual"])).astype(np.float32)
    segments = {SEGMENT_MS_KEY: np.array([5000]), "visual.segments": vectors, "visual.segment_rows": rows}
    save_file(load_file(path) | segments, path)
    return Night(NIGHT, workspace)


@pytest.fixture(scope="module")
def trained(segment_night: Night) -> tuple[RunManifest, InterestModel]:
    manifest = train.run(ON, segment_night)
    model = load_bundle(segment_night.folder("train"))
    assert isinstance(model, InterestModel)
    return manifest, model


def test_segments_in_the_snapshot_change_nothing_without_the_source(
    night: Night, segment_night: Night, tmp_path: Path
) -> None:
    shutil.copytree(segment_night.workspace, tmp_path / "night")
    manifests = [train.run(OFF, each) for each in (night, Night(NIGHT, tmp_path / "night"))]
    assert manifests[0].digests == manifests[1].digests
    assert manifests[0].facts == manifests[1].facts
    assert not [name for name in manifests[0].facts if "segment" in name]


def test_the_night_is_repeated_with_equal_digests(
    trained: tuple[RunManifest, InterestModel], segment_night: Night, tmp_path: Path
) -> None:
    shutil.copytree(segment_night.workspace, tmp_path / "night")
    assert train.run(ON, Night(NIGHT, tmp_path / "night")).digests == trained[0].digests


def test_the_source_is_trained_for_the_selected_epochs(trained: tuple[RunManifest, InterestModel]) -> None:
    manifest, model = trained
    assert manifest.facts["best_segment_epoch"] >= 1
    assert 0 < manifest.facts["best_segment_ndcg@10"] <= 1
    source = model.sources["segment_interest"]
    assert source.interest.bias.any()  # 0 before training
    assert 0 < float(source.mean_share) < 1
    assert float(model.final_ranker.std_S[1 + SOURCES.index("segment_interest")]) < 1  # inf: all scores equal


def test_the_source_changes_no_other_weight_of_the_model(
    trained: tuple[RunManifest, InterestModel], night: Night
) -> None:
    train.run(OFF, night)
    without, model = load_bundle(night.folder("train")).state_dict(), trained[1].state_dict()
    shared = [name for name in without if not name.startswith("final_ranker")]
    assert all(torch.equal(without[name], model[name]) for name in shared)


def test_scores_are_in_the_order_of_the_sources(
    trained: tuple[RunManifest, InterestModel], segment_night: Night
) -> None:
    _, model = trained
    snapshot = SnapshotReader(segment_night)
    folds = [snapshot.fold(name, model.config) for name in snapshot.validation_folds]
    counted = count_validation_choices(snapshot, model.config, 1)
    choices = add_segment_scores(model, folds, add_sequence_scores(model, folds, counted))
    for day, before, fold in zip(choices, counted, folds, strict=True):
        assert torch.equal(day.source_SBC[1], before.source_SBC[0])  # trending
        assert torch.equal(day.source_SBC[3], before.source_SBC[1])  # item_cf
        batch = fold.users.sequences.padded_batch(day.users_B, model.config.max_length)
        expected_BV = model.sources["segment_interest"](batch, fold.item_table)
        torch.testing.assert_close(day.source_SBC[2], expected_BV[:, day.rows_C])


def test_a_snapshot_without_segments_is_refused(night: Night) -> None:
    with pytest.raises(InputError, match=r"train\.model\.sources names segment_interest.*snapshot\.segments"):
        train.run(ON, night)


def test_interactions_without_durations_are_refused(segment_night: Night, tmp_path: Path) -> None:
    shutil.copytree(segment_night.workspace, tmp_path / "night")
    copy = Night(NIGHT, tmp_path / "night")
    replace_columns(copy, "catalogue", duration_ms=pa.nulls(VIDEOS, pa.int64()))
    with pytest.raises(InputError, match="no interaction has a watch time and a video with a duration"):
        train.run(ON, copy)


def test_the_source_needs_another_one(segment_night: Night) -> None:
    alone = replace_nested(ON, {"model.sources": ("segment_interest",)})
    with pytest.raises(InputError, match="names segment_interest only; name another source"):
        train.run(alone, segment_night)
