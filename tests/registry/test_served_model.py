from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import torch

from core.config import load_params
from core.paths import PROJECT_ROOT
from models.data.users import UserData
from models.evaluation.scoring import Scorer, score_in_chunks
from models.interest_model import InterestModel
from models.retrieval.full_ranking import top_k
from snapshots.reader import SnapshotReader
from tasks import promote
from tests.support.served_model import load_recommender, request_rows
from tests.support.snapshots import plant
from training.model_config import build_model_config

K = 5


def _model(snapshot: SnapshotReader) -> InterestModel:
    torch.manual_seed(3)
    return InterestModel(
        build_model_config(load_params(PROJECT_ROOT / "params.yaml").train.model, snapshot, 16)
    ).eval()


@pytest.fixture
def snapshot(tmp_path: Path) -> SnapshotReader:
    return SnapshotReader(plant(tmp_path / "night", users=40, videos=60, missing_audio=5))


def test_recommendations_equal_the_ranking_of_the_evaluation(snapshot):
    model = _model(snapshot)
    recommended = load_recommender(snapshot.night, model).predict(None, request_rows(snapshot), {"k": K})
    users = UserData(
        snapshot.sequences("before_test", model.config.contexts),
        snapshot.user_profiles(model.config, "before_test"),
        snapshot.seen_items("before_test"),
    )
    config = model.config
    item_table = snapshot.item_table(config.modalities, config.video_ids, config.item_features)
    _, score_BV, alpha_MBV = next(score_in_chunks(Scorer(model, item_table, users), torch.arange(40)))
    best_BK = top_k(score_BV, K)
    ids = snapshot.videos["video_id"].to_pylist()
    assert recommended["video_ids"].tolist() == [[ids[row] for row in rows] for rows in best_BK.tolist()]
    returned = torch.tensor(recommended["scores"].tolist())
    assert torch.allclose(returned, score_BV.gather(1, best_BK), atol=1e-5)
    for alpha_BV, name in zip(alpha_MBV, model.config.modalities, strict=True):
        returned = torch.tensor(recommended[f"alpha_{name}"].tolist())
        assert torch.allclose(returned, alpha_BV.gather(1, best_BK), atol=1e-5)


def test_video_ids_suffice_and_unknown_videos_are_ignored(snapshot):
    recommender = load_recommender(snapshot.night, _model(snapshot))
    with_unknown = recommender.predict(None, pd.DataFrame({"video_ids": [["v0001", "unknown", "v0002"]]}))
    without = recommender.predict(None, pd.DataFrame({"video_ids": [["v0001", "v0002"]]}))
    assert with_unknown["video_ids"].tolist() == without["video_ids"].tolist()
    assert len(without["video_ids"][0]) == 10


def test_no_rows_give_no_recommendations(snapshot):
    recommender = load_recommender(snapshot.night, _model(snapshot))
    assert len(recommender.predict(None, pd.DataFrame({"video_ids": []}))) == 0


def test_seen_videos_are_never_recommended(snapshot):
    recommender = load_recommender(snapshot.night, _model(snapshot))
    watched = [f"v{row:04d}" for row in range(58)]
    recommended = recommender.predict(None, pd.DataFrame({"video_ids": [watched]}))
    assert sorted(recommended["video_ids"][0]) == ["v0058", "v0059"]
    assert len(recommended["scores"][0]) == len(recommended["alpha_text"][0]) == 2


def test_profile_and_behaviours_change_the_scores(snapshot):
    recommender = load_recommender(snapshot.night, _model(snapshot))
    watched = {"video_ids": ["v0001", "v0002"]}
    changes = [
        {},
        {"age_band": "35+"},
        {"days_registered": 3.0},
        {"behaviours": [3, 33]},
        {"watch_ratios": [0.0, 1.0]},
        {"comment_sentiments": [-0.9, float("nan")]},
    ]
    changes += [{"started_at_ms": [0, 86_400_000]}, {"utc_offset_minutes": 600}]
    results = [recommender.predict(None, pd.DataFrame([watched | change])) for change in changes]
    assert len({tuple(result["scores"][0]) for result in results}) == len(changes)


def test_a_model_without_modalities_recommends(tmp_path):
    snapshot = SnapshotReader(plant(tmp_path / "night", users=20, videos=30, modalities=()))
    model = _model(snapshot)
    recommended = load_recommender(snapshot.night, model).predict(
        None, pd.DataFrame({"video_ids": [["v0003"]]}), {"k": 4}
    )
    assert list(recommended.columns) == ["video_ids", "scores"]
    assert len(recommended["video_ids"][0]) == 4


def test_the_signature_names_inputs_and_outputs(snapshot):
    model = _model(snapshot)
    recommender = load_recommender(snapshot.night, model)
    rows = request_rows(snapshot)
    returned = promote.model_signature(asdict(model.config))
    assert set(rows.columns) == set(returned.inputs.input_names())
    assert returned.outputs.input_names() == list(recommender.predict(None, rows).columns)
