"""Counted sources know what their fold knows, and score like those of a model."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from core.config import load_params
from core.paths import PROJECT_ROOT, Night
from models.interest_model import InterestModel
from models.sources import SEGMENT_SOURCE, SOURCES, count_sources
from snapshots.counted_sources import CountedSources
from snapshots.reader import SnapshotReader
from tests.support.snapshots import append_positives, plant, read_table, replace_columns
from training.model_config import build_model_config

FOLDS = ("valid_1", "valid_2", "test")
NAMES = tuple(name for name in SOURCES if name != SEGMENT_SOURCE)  # the counted ones


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return plant(tmp_path / "night", users=30, videos=50)


@pytest.mark.parametrize("fold", FOLDS)
def test_popularity_counts_the_users_that_a_fold_knows(night: Night, fold: str) -> None:
    likers: dict[int, set[str]] = {}
    for row in read_table(night, f"sequences_{fold}").to_pylist():
        for video, positive in zip(row["video_rows"], row["positive"], strict=True):
            if positive:
                likers.setdefault(video, set()).add(row["user_id"])
    score_SBV = CountedSources(SnapshotReader(night), fold, NAMES).scores(
        torch.tensor([0, 4]), ["popularity"]
    )
    expected_V = torch.tensor([math.log1p(len(likers.get(video, ()))) for video in range(50)])
    assert torch.allclose(score_SBV, expected_V.expand(1, 2, -1))


def test_scores_are_in_the_order_of_the_names(night: Night) -> None:
    counted = CountedSources(SnapshotReader(night), "test", ("ease", "trending", "popularity"))
    users = torch.arange(5)
    together = counted.scores(users, ["trending", "ease"])
    assert together.shape == (2, 5, 50)
    for score_BV, name in zip(together, ("trending", "ease"), strict=True):
        assert torch.equal(score_BV, counted.scores(users, [name])[0])
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_positive_of_yesterday_changes_the_scores_of_its_fold_only(night: Night, name: str) -> None:
    users = torch.arange(30)

    def scores() -> list[torch.Tensor]:
        snapshot = SnapshotReader(night)
        return [CountedSources(snapshot, fold, [name]).scores(users, [name]) for fold in FOLDS]

    before = scores()
    likers = read_table(night, "sequences_test")["user_id"].to_pylist()[:12]
    append_positives(night, "test", 17, likers)
    after = scores()
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_the_day_of_the_fold_itself_is_never_counted(night: Night, name: str) -> None:
    users = torch.arange(30)
    before = [CountedSources(SnapshotReader(night), fold, [name]).scores(users, [name]) for fold in FOLDS]
    for fold in FOLDS:
        path = night.require_output("snapshot", f"interactions_{fold}.parquet")
        table = pq.read_table(path)
        replace_columns(
            night,
            f"interactions_{fold}",
            positive=pa.array([True] * len(table)),
            video_row=pa.array([7] * len(table), pa.int32()),
        )
    after = [CountedSources(SnapshotReader(night), fold, [name]).scores(users, [name]) for fold in FOLDS]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_settings_reach_their_source(night: Night) -> None:
    snapshot, users = SnapshotReader(night), torch.arange(3)
    short, long, default = (
        CountedSources(snapshot, "test", ["trending"], settings).scores(users, ["trending"])
        for settings in ({"trending": {"half_life_days": 0.5}}, {"trending": {"half_life_days": 50.0}}, None)
    )
    assert (short <= default + 1e-6).all()
    assert (default <= long + 1e-6).all()
    assert short.sum() < default.sum() < long.sum()


def test_a_user_is_read_as_far_back_as_max_length(night: Night) -> None:
    snapshot = SnapshotReader(night)
    users = (snapshot.sequences("test").lengths > 20).nonzero().squeeze(1)
    whole, cut, one = (
        CountedSources(snapshot, "test", ["creator_affinity"], max_length=max_length)
        for max_length in (None, 50, 1)
    )
    score_BV = whole.scores(users, ["creator_affinity"])[0]
    assert torch.equal(cut.scores(users, ["creator_affinity"])[0], score_BV)
    num_creators_B = [
        len(row.unique()) - 1 for row in one.scores(users, ["creator_affinity"])[0]
    ]  # one score is the 0 of the creators that are not read
    assert set(num_creators_B) == {1}
    assert len(score_BV[0].unique()) > 3


@pytest.mark.parametrize("fold", ["valid_2", "test"])
def test_the_sources_of_a_model_score_the_same(night: Night, fold: str) -> None:
    """The final ranker is fitted on counted sources and applied to those of the model."""
    snapshot, users = SnapshotReader(night), torch.arange(30)
    params = load_params(PROJECT_ROOT / "params.yaml").train.model
    config = build_model_config(params, snapshot, fold, 16)
    assert set(config.sources) <= set(NAMES)
    model, inputs = InterestModel(config).eval(), snapshot.fold(fold, config)
    count_sources(model.sources, inputs.users.sequences, inputs.item_table)
    batch = inputs.users.sequences.padded_batch(users, config.max_length)
    counted = CountedSources(snapshot, fold, NAMES, max_length=config.max_length)
    for name in config.sources:
        score_BV = model.sources[name](batch, inputs.item_table)
        assert torch.equal(score_BV, counted.scores(users, [name])[0]), name
