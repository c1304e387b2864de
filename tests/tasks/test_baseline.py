"""Every baseline can stand in for our own model for a night: trained, ranked and served the same way."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contracts.params import load
from contracts.place import PROJECT, Night
from models.baselines import BASELINES
from tasks import align, evaluate, gate, tracking, train
from tasks.evidence import Evidence
from tasks.pinned import Pinned
from tests.snapshots import plant
from tests.tasks.test_recommender import _loaded, _rows

PARAMS = load(PROJECT / "params.yaml")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    night = plant(tmp_path_factory.mktemp("night"), users=240, videos=120, seed=2)
    align.run(replace(PARAMS.align, width=16, epochs=2), night)
    return night


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "log_run", lambda *_: "not logged")


def judged(night: Night, model: str, epochs: int = 40, **changes: Any) -> dict:
    """The metrics of a night of this model."""
    params = replace(PARAMS.train, model=model, epochs=epochs, patience=15, **changes)  # type: ignore[arg-type]
    train.run(params, night)
    evaluate.run(replace(PARAMS.evaluate, bootstrap_samples=200), night)
    return json.loads((night.folder("evaluate") / "metrics.json").read_text())


@pytest.mark.parametrize("name", BASELINES)
def test_a_night_of_it_is_trained_ranked_and_served(name: str, night: Night) -> None:
    metrics = judged(night, name)
    ours = metrics["models"]["challenger"]
    if name in ("popularity", "itemcf"):
        assert ours["ndcg@10"] == pytest.approx(metrics["models"][name]["ndcg@10"], abs=0.002)
    elif name == "din":
        assert ours["auc"] > 0.65
    else:
        assert metrics["differences"]["popularity"]["ndcg@10"]["low"] > 0
    assert ("auc" in ours) == (name == "din")

    pinned = Pinned(night)
    best = pd.read_parquet(night.folder("evaluate") / "recommendations.parquet")
    ids, users = pinned.videos["video_id"].to_pylist(), pinned.users["user_id"].to_pylist()
    rows = _rows(pinned)
    told = [not np.isnan(ratios).any() for ratios in rows["watch_ratios"]]  # here, unknown may be no like
    answers = _loaded(night).predict(None, rows, {"k": max(PARAMS.evaluate.cutoffs)})
    for user, mine in best.groupby("user_id"):
        if not told[users.index(user)]:
            continue
        expected = [ids[row] for row in mine.sort_values("rank")["video_row"]]
        assert answers["video_ids"][users.index(user)] == expected


def test_the_gate_says_why_a_model_without_ranking_heads_is_not_served(night: Night) -> None:
    metrics = judged(night, "sasrec", epochs=1)
    evidence = Evidence(metrics, "digest", None, None, weighable=True, completions=True, checks="passed")
    found = {c["name"]: c for c in gate.judge(PARAMS.gate, evidence, str(night.day))["conditions"]}
    assert found["calibration"]["outcome"] == "errored"
    assert "ranks no behaviours" in found["calibration"]["why"]
    for name in ("modality_weights_differ", "modality_weights_spread", "drift"):
        assert found[name]["outcome"] == "skipped"


@pytest.mark.parametrize(
    ("change", "learned"),
    [({"fusion": "uniform"}, False), ({"fusion": "early"}, False), ({"fusion": "user"}, True)],
    ids=str,
)
def test_the_gate_is_told_whether_modality_weights_are_learned(
    change: dict, learned: bool, night: Night
) -> None:
    metrics = judged(night, "interest", epochs=1, **change)
    evidence = Evidence(metrics, "digest", None, None, weighable=True, completions=True, checks="passed")
    found = {c["name"]: c for c in gate.judge(PARAMS.gate, evidence, str(night.day))["conditions"]}
    assert (found["modality_weights_differ"]["outcome"] == "skipped") == (not learned)


def test_a_baseline_that_is_the_champion_has_no_space_to_be_held_to(night: Night, tmp_path: Path) -> None:
    judged(night, "sasrec", epochs=1)
    (night.workspace / "train").rename(night.workspace / "snapshot" / "champion")
    metrics = judged(night, "interest", epochs=1)
    assert metrics["drift"]["against"] == "the champion is a baseline, which has no such space"
    assert metrics["models"]["champion"]["ndcg@10"] > 0
