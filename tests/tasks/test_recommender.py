from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from contracts.params import load
from contracts.place import PROJECT, Night
from models.bundle import save_bundle
from models.interest import InterestModel
from models.ranks import top
from models.scoring import Scorer, chunks
from models.training import People
from tasks import promote
from tasks.pinned import Pinned
from tasks.recommender import Recommender
from tasks.train import describe
from tests.snapshots import plant

K = 5


def _loaded(night: Night, model: InterestModel | None = None) -> Recommender:
    """The recommender as MLflow loads it, of this model or of the one that is saved."""
    if model is not None:
        save_bundle(night.folder("train"), model)
    recommender = Recommender()
    files = {name: str(path) for name, path in promote._files(night).items()}
    recommender.load_context(SimpleNamespace(artifacts=files))
    return recommender


def _model(pinned: Pinned) -> InterestModel:
    torch.manual_seed(3)
    return InterestModel(describe(load(PROJECT / "params.yaml").train, pinned, 16)).eval()


def _rows(pinned: Pinned) -> pd.DataFrame:
    """Everybody's history and profile, as a caller would send them."""
    ids = pinned.videos["video_id"].to_pylist()
    histories = {row["user_id"]: row for row in _read(pinned, "test")}
    nothing = {name: [] for name in pinned._table("test").schema.names}
    users = _read(pinned, "users")
    rows = []
    for user in users:
        mine = histories.get(user["user_id"], nothing)
        rows.append(
            {
                **{name: user[name] for name in ("age_band", "city_tier", "days_registered")},
                "video_ids": [ids[row] for row in mine["video_rows"]],
                "started_at_ms": [int(at.timestamp() * 1000) for at in mine["started_at"]],
                "watch_ratios": _numbers(mine["watch_ratios"]),
                "behaviours": mine["behaviours"],
                "comment_sentiments": _numbers(mine["comment_sentiments"]),
                "utc_offset_minutes": 60,
                "devices": mine["devices"],
                "networks": mine["networks"],
            }
        )
    return pd.DataFrame(rows)


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _read(pinned: Pinned, name: str) -> list[dict]:
    return pq.read_table(pinned.night.workspace / "snapshot" / f"{name}.parquet").to_pylist()


@pytest.fixture
def pinned(tmp_path: Path) -> Pinned:
    return Pinned(plant(tmp_path / "night", users=40, videos=60, missing_audio=5))


def test_it_recommends_exactly_what_the_evaluation_ranked(pinned):
    model = _model(pinned)
    answers = _loaded(pinned.night, model).predict(None, _rows(pinned), {"k": K})
    people = People(
        pinned.histories("test", model.spec.contexts),
        pinned.profiles(model.spec, "test"),
        pinned.seen("test"),
    )
    spec = model.spec
    catalogue = pinned.catalogue(spec.modalities, spec.video_ids, spec.video_numbers)
    _, score_BV, alpha_MBV = next(chunks(Scorer(model, catalogue, people), torch.arange(40)))
    best_BK = top(score_BV, K)
    ids = pinned.videos["video_id"].to_pylist()
    assert answers["video_ids"].tolist() == [[ids[row] for row in rows] for rows in best_BK.tolist()]
    told = torch.tensor(answers["scores"].tolist())
    assert torch.allclose(told, score_BV.gather(1, best_BK), atol=1e-5)
    for alpha_BV, name in zip(alpha_MBV, model.spec.modalities, strict=True):
        told = torch.tensor(answers[f"alpha_{name}"].tolist())
        assert torch.allclose(told, alpha_BV.gather(1, best_BK), atol=1e-5)


def test_ids_alone_are_enough_and_unknown_videos_are_left_out(pinned):
    recommender = _loaded(pinned.night, _model(pinned))
    with_unknown = recommender.predict(
        None, pd.DataFrame({"video_ids": [["v0001", "never heard of", "v0002"]]})
    )
    without = recommender.predict(None, pd.DataFrame({"video_ids": [["v0001", "v0002"]]}))
    assert with_unknown["video_ids"].tolist() == without["video_ids"].tolist()
    assert len(without["video_ids"][0]) == 10


def test_nobody_asked_for_gets_nothing(pinned):
    recommender = _loaded(pinned.night, _model(pinned))
    assert len(recommender.predict(None, pd.DataFrame({"video_ids": []}))) == 0


def test_who_has_seen_nearly_everything_gets_only_the_rest(pinned):
    recommender = _loaded(pinned.night, _model(pinned))
    watched = [f"v{row:04d}" for row in range(58)]
    answer = recommender.predict(None, pd.DataFrame({"video_ids": [watched]}))
    assert sorted(answer["video_ids"][0]) == ["v0058", "v0059"]
    assert len(answer["scores"][0]) == len(answer["alpha_text"][0]) == 2


def test_the_profile_and_what_was_done_matter(pinned):
    recommender = _loaded(pinned.night, _model(pinned))
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
    answers = [recommender.predict(None, pd.DataFrame([watched | change])) for change in changes]
    assert len({tuple(answer["scores"][0]) for answer in answers}) == len(changes)


def test_a_model_without_any_modality_answers_too(tmp_path):
    pinned = Pinned(plant(tmp_path / "night", users=20, videos=30, modalities=()))
    model = _model(pinned)
    answer = _loaded(pinned.night, model).predict(None, pd.DataFrame({"video_ids": [["v0003"]]}), {"k": 4})
    assert list(answer.columns) == ["video_ids", "scores"]
    assert len(answer["video_ids"][0]) == 4


def test_the_signature_names_what_goes_in_and_comes_out(pinned):
    model = _model(pinned)
    recommender = _loaded(pinned.night, model)
    rows = _rows(pinned)
    told = promote.signature(asdict(model.spec))
    assert set(rows.columns) == set(told.inputs.input_names())
    assert told.outputs.input_names() == list(recommender.predict(None, rows).columns)
