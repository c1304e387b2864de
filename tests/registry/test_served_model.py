from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from core.config import load_params
from core.paths import PROJECT_ROOT
from core.time_split import TEST_FOLD
from models.evaluation.scoring import Scorer, average_users, score_in_chunks
from models.interest_model import InterestModel
from models.retrieval.full_ranking import top_k
from models.sources import count_sources
from snapshots.reader import SnapshotReader
from tasks import promote
from tests.support.served_model import load_recommender, request_rows
from tests.support.snapshots import NIGHT, plant
from training.model_config import build_model_config

K = 5
DAY = {"day": str(NIGHT)}


def _model(snapshot: SnapshotReader, **changes: Any) -> InterestModel:
    """A model whose sources are counted, and whose final ranker weights all of them."""
    torch.manual_seed(3)
    params = replace(load_params(PROJECT_ROOT / "params.yaml").train.model, **changes)
    model = InterestModel(build_model_config(params, snapshot, TEST_FOLD, 16))
    fold = snapshot.fold(TEST_FOLD, model.config)
    count_sources(model.sources, fold.users.sequences, fold.item_table)
    for name in ("weight_S", "activity_weight_GS", "age_weight_HS", "age_bias_H"):
        torch.nn.init.normal_(getattr(model.final_ranker, name))
    model.final_ranker.is_fitted.fill_(True)
    model.set_average_users(average_users(Scorer(model, fold.item_table, fold.users)))
    return model.eval()


def _withdraw(snapshot: SnapshotReader, rows: list[int]) -> SnapshotReader:
    """Make the day before the night the last day of these videos, and read the snapshot again."""
    path = snapshot.night.require_output("snapshot", "catalogue.parquet")
    videos = pq.read_table(path)
    last_days = [NIGHT - timedelta(1) if row in rows else None for row in range(videos.num_rows)]
    pq.write_table(videos.append_column("available_until", pa.array(last_days, pa.date32())), path)
    return SnapshotReader(snapshot.night)


@pytest.fixture
def snapshot(tmp_path: Path) -> SnapshotReader:
    return SnapshotReader(plant(tmp_path / "night", users=40, videos=60, missing_audio=5))


def test_recommendations_equal_the_ranking_of_the_evaluation(snapshot):
    snapshot = _withdraw(snapshot, [4, 5, 6])
    model = _model(snapshot)
    recommended = load_recommender(snapshot.night, model).predict(
        None, request_rows(snapshot), {"k": K, **DAY}
    )
    fold = snapshot.fold(TEST_FOLD, model.config)
    scorer = Scorer(model, fold.item_table, fold.users, fold.day)
    _, score_BV, alpha_MBV = next(score_in_chunks(scorer, torch.arange(40)))
    best_BK = top_k(score_BV, K)
    ids = snapshot.videos["video_id"].to_pylist()
    assert recommended["video_ids"].tolist() == [[ids[row] for row in rows] for rows in best_BK.tolist()]
    returned = torch.tensor(recommended["scores"].tolist())
    assert torch.allclose(returned, score_BV.gather(1, best_BK), atol=1e-5)
    for alpha_BV, name in zip(alpha_MBV, model.config.modalities, strict=True):
        returned = torch.tensor(recommended[f"alpha_{name}"].tolist())
        assert torch.allclose(returned, alpha_BV.gather(1, best_BK), atol=1e-5)
    retrieved = next(score_in_chunks(scorer, torch.arange(40), final=False))[1]
    assert (top_k(retrieved, K) != best_BK).any(), "the final ranker must change the order"


def test_a_video_is_recommended_only_while_it_is_available(snapshot):
    recommender = load_recommender(_withdraw(snapshot, [7]).night, _model(snapshot))
    by_day = {}
    for day in (NIGHT - timedelta(3), NIGHT - timedelta(1), NIGHT):
        predictions = recommender.predict(None, pd.DataFrame({"video_ids": [[]]}), {"k": 60, "day": str(day)})
        by_day[day] = set(predictions["video_ids"][0])
    old, new, newest = ({f"v{row:04d}" for row in rows} for rows in (range(50), range(50, 55), range(55, 60)))
    assert list(by_day.values()) == [old, old | new, (old | new | newest) - {"v0007"}]


def test_recommendations_are_for_today_by_default(snapshot):
    recommender = load_recommender(snapshot.night, _model(snapshot))
    rows = pd.DataFrame({"video_ids": [["v0001", "v0002"]]})
    every = {"k": len(recommender.video_ids)}
    today = recommender.predict(None, rows, every | {"day": str(datetime.now(UTC).date())})
    assert recommender.predict(None, rows, every).equals(today)
    assert recommender.predict(None, rows, every | {"day": ""}).equals(today)
    earlier = recommender.predict(None, rows, every | DAY)
    assert not earlier.equals(today), "the age of videos must change the scores"


def test_the_context_of_a_request_is_optional_and_changes_the_order(snapshot):
    model = _model(snapshot, request_contexts=("hour", "device", "depth"))
    for weight in model.ranking_heads.context_embeddings.parameters():
        torch.nn.init.normal_(weight, std=9.0)
    recommender, rows = load_recommender(snapshot.night, model), request_rows(snapshot)
    unknown = recommender.predict(None, rows, DAY)
    context = {"request_hour": 20, "request_device": "phone", "request_depth": 5}
    assert not recommender.predict(None, rows.assign(**context), DAY).equals(unknown)
    nothing = {"request_hour": None, "request_device": "fridge"}
    assert recommender.predict(None, rows.assign(**nothing), DAY).equals(unknown)


def test_a_day_that_is_no_date_is_refused(snapshot):
    recommender = load_recommender(snapshot.night, _model(snapshot))
    with pytest.raises(ValueError, match="12 March"):
        recommender.predict(None, pd.DataFrame({"video_ids": [[]]}), {"day": "12 March"})


def test_lists_of_unequal_length_are_refused(snapshot):
    """The lengths add up, so that the values would move from one user to the other."""
    recommender = load_recommender(snapshot.night, _model(snapshot))
    rows = pd.DataFrame({"video_ids": [["v0001", "v0002"], ["v0003"]], "watch_ratios": [[0.5], [0.5, 1.0]]})
    with pytest.raises(ValueError, match="row 0: watch_ratios has 1 values, but video_ids has 2"):
        recommender.predict(None, rows, DAY)


def test_item_statistics_of_the_test_day_are_served(snapshot):
    recommender = load_recommender(snapshot.night, model := _model(snapshot))
    served, fold = recommender.item_table, snapshot.fold(TEST_FOLD, model.config)
    assert served.item_features_VQ.isnan().any()
    assert torch.equal(served.item_features_VQ.nan_to_num(9), fold.item_table.item_features_VQ.nan_to_num(9))
    assert not served.item_features_VQ.isnan().all(0).any()


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
