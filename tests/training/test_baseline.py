"""Every baseline can be the challenger of a night: it is trained, evaluated and served like our model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pandas as pd
import pytest

from core.config import load_params
from core.config.models import (
    AnyModelConfig,
    BM3Config,
    CollaborativeConfig,
    ComiRecConfig,
    DINConfig,
    M3CSRConfig,
    PopularityConfig,
    TransformerConfig,
)
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.schema import replace_nested
from evaluation.gate_inputs import GateInputs
from models.baselines import BASELINES, ContentBaseline
from snapshots.reader import SnapshotReader
from tasks import align, evaluate, gate, train
from tests.support.served_model import load_recommender, request_rows
from tests.support.snapshots import plant
from training.model_config import build_model_config

PARAMS = load_params(PROJECT_ROOT / "params.yaml")

SASREC = TransformerConfig(
    "sasrec", layers=2, heads=2, dropout=0.2, max_length=100, num_negatives=0, share_negatives=True
)
MODELS: dict[str, AnyModelConfig] = {
    "interest": PARAMS.train.model,
    "popularity": PopularityConfig("popularity"),
    "itemcf": CollaborativeConfig("itemcf", max_length=100),
    "mf_bpr": CollaborativeConfig("mf_bpr", max_length=100),
    "lightgcn": CollaborativeConfig("lightgcn", max_length=100),
    "sasrec": SASREC,
    "esasrec": replace(SASREC, name="esasrec", num_negatives=64, share_negatives=False),
    "bert4rec": replace(SASREC, name="bert4rec"),
    "comirec": ComiRecConfig(
        "comirec", trends=2, dropout=0.2, max_length=100, num_negatives=0, share_negatives=True
    ),
    "din": DINConfig("din", dropout=0.2, max_length=100, skip_watch_ratio=0.2),
    "m3csr": M3CSRConfig("m3csr", layers=2, heads=2, dropout=0.2, max_length=100),
    "mmgcn": CollaborativeConfig("mmgcn", max_length=100),
    "bm3": BM3Config("bm3", dropout=0.3, max_length=100),
}
CONTENT_BASELINES = sorted(name for name, kind in BASELINES.items() if issubclass(kind, ContentBaseline))


def test_every_model_has_a_configuration() -> None:
    names = [name for config in get_args(AnyModelConfig) for name in get_args(get_type_hints(config)["name"])]
    assert sorted(names) == sorted(["interest", *BASELINES]) == sorted(MODELS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "cuda"}, "train.device is cuda, but sasrec is trained on the CPU; write auto or cpu"),
        ({"precision": "bf16"}, "train.precision is bf16, but sasrec is trained in fp32; write auto or fp32"),
    ],
)
def test_a_baseline_refuses_a_device_or_precision_that_it_does_not_use(
    change: dict, message: str, night: Night
) -> None:
    with pytest.raises(InputError, match=message):
        train.run(replace(PARAMS.train, model=SASREC, **change), night)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    night = plant(tmp_path_factory.mktemp("night"), users=240, videos=120, seed=2)
    align.run(replace(PARAMS.align, width=16, epochs=2), night)
    return night


def evaluate_model(night: Night, model: str, epochs: int = 40, **changes: Any) -> dict:
    """Train and evaluate this model, and return the metrics."""
    loop = {"epochs": epochs, "patience": 15}
    train.run(replace_nested(PARAMS.train, {"model": MODELS[model], **loop, **changes}), night)
    evaluate.run(replace(PARAMS.evaluate, bootstrap_samples=200), night)
    return json.loads((night.folder("evaluate") / "details.json").read_text())


@pytest.mark.parametrize("name", BASELINES)
def test_each_baseline_is_trained_evaluated_and_served(name: str, night: Night) -> None:
    metrics = evaluate_model(night, name, epochs=60, patience=60)  # BERT4Rec is slow to start
    challenger = metrics["models"]["challenger"]
    if name in ("popularity", "itemcf"):
        assert challenger["ndcg@10"] == pytest.approx(metrics["models"][name]["ndcg@10"], abs=0.002)
    elif name == "din":
        assert challenger["auc"] > 0.65
    else:
        assert metrics["differences"]["popularity"]["ndcg@10"]["low"] > 0
    assert ("auc" in challenger) == (name == "din")
    assert ("trends" in metrics) == (name == "comirec")

    snapshot = SnapshotReader(night)
    recommendations = pd.read_parquet(night.folder("evaluate") / "recommendations.parquet")
    ids, users = snapshot.videos["video_id"].to_pylist(), snapshot.user_ids.to_pylist()
    rows = request_rows(snapshot)
    params = {"k": max(PARAMS.evaluate.cutoffs), "day": str(night.day)}
    predictions = load_recommender(night).predict(None, rows, params)
    for user, user_rows in recommendations.groupby("user_id"):
        expected = [ids[row] for row in user_rows.sort_values("rank")["video_row"]]
        assert predictions["video_ids"][users.index(user)] == expected


@pytest.mark.parametrize("name", CONTENT_BASELINES)
def test_a_content_baseline_is_a_challenger_and_a_champion(name: str, night: Night, tmp_path: Path) -> None:
    """Its bundle names its encoders, its new videos are ranked, and other encoders are refused."""
    metrics = evaluate_model(night, name, epochs=2)
    assert metrics["modality_weights"]["is_learned"] is False
    assert sum(metrics["modality_weights"]["mean"].values()) == pytest.approx(1, abs=1e-4)
    assert metrics["slices"]["new_videos"]["challenger"] > 0
    saved = json.loads((night.folder("train") / "model.json").read_text())
    assert saved["encoder_fingerprints"] == SnapshotReader(night).encoder_fingerprints
    assert saved["modalities"] == SnapshotReader(night).widths

    (tmp_path / "bundle").mkdir()
    for file in night.folder("train").iterdir():
        shutil.copy(file, tmp_path / "bundle")
    saved["encoder_fingerprints"]["visual"] = "other"
    (night.folder("train") / "model.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match="visual was trained on features of encoder other"):
        evaluate.run(PARAMS.evaluate, night)

    champion = night.workspace / "snapshot" / "champion"
    shutil.move(tmp_path / "bundle", champion)
    try:
        metrics = evaluate_model(night, "sasrec", epochs=1)
    finally:
        shutil.rmtree(champion)
    assert metrics["models"]["champion"]["ndcg@10"] > 0


def test_a_content_baseline_needs_content(tmp_path: Path) -> None:
    night = plant(tmp_path, users=20, videos=20, modalities=())
    with pytest.raises(InputError, match=r"train\.model\.name is bm3, which reads content, but no video of"):
        build_model_config(MODELS["bm3"], SnapshotReader(night), "valid_1", 16)


def test_the_gate_refuses_a_model_without_ranking_heads(night: Night) -> None:
    metrics = evaluate_model(night, "sasrec", epochs=1)
    gate_inputs = GateInputs(
        metrics,
        "digest",
        None,
        None,
        has_multimodal_items=True,
        has_completion_labels=True,
        checks_outcome="passed",
    )
    conditions = {c["name"]: c for c in gate.judge(PARAMS.gate, gate_inputs, str(night.day))["conditions"]}
    assert conditions["calibration_error"]["outcome"] == "errored"
    assert "has no ranking heads" in conditions["calibration_error"]["reason"]
    for name in ("modality_weights_differ", "modality_weights_spread", "embedding_drift"):
        assert conditions[name]["outcome"] == "skipped"


@pytest.mark.parametrize(
    ("change", "learned"),
    [
        ({"model.fusion": "uniform"}, False),
        ({"model.fusion": "early"}, False),
        ({"model.fusion": "user"}, True),
    ],
    ids=str,
)
def test_the_gate_skips_modality_weights_that_are_not_learned(
    change: dict, learned: bool, night: Night
) -> None:
    metrics = evaluate_model(night, "interest", epochs=1, **change)
    gate_inputs = GateInputs(
        metrics,
        "digest",
        None,
        None,
        has_multimodal_items=True,
        has_completion_labels=True,
        checks_outcome="passed",
    )
    conditions = {c["name"]: c for c in gate.judge(PARAMS.gate, gate_inputs, str(night.day))["conditions"]}
    assert (conditions["modality_weights_differ"]["outcome"] == "skipped") == (not learned)
    assert (metrics["modality_weights"]["gain"] is None) == (not learned)


def test_a_champion_baseline_has_no_embedding_drift(night: Night, tmp_path: Path) -> None:
    evaluate_model(night, "sasrec", epochs=1)
    (night.workspace / "train").rename(night.workspace / "snapshot" / "champion")
    metrics = evaluate_model(night, "interest", epochs=1)
    assert (
        metrics["embedding_drift"]["compared_with"]
        == "the champion is a baseline, which has no modality embeddings"
    )
    assert metrics["models"]["champion"]["ndcg@10"] > 0
