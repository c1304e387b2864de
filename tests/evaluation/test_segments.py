"""Segment interest on the test day."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from core.config.model_half import EvaluateConfig
from evaluation.segments import segment_columns, segment_metrics
from models.data.items import ItemTable
from models.data.segment_grid import SEGMENT_MS_KEY
from models.data.segments import build_segment_table
from models.evaluation.scoring import Scorer
from models.segments.segment_interest import SegmentInterest
from snapshots.reader import Interactions
from tests.support.model_inputs import make_item_table, make_model, make_user_data

PARAMS = EvaluateConfig(
    k=1, cutoffs=(1,), cold_events=5, recency_half_life_days=1.0, bootstrap_samples=200, seed=1
)
LENGTHS = (4, 1, 5, 8) * 8
USERS = torch.arange(len(LENGTHS))
SEGMENT_MS, DURATION_MS, NUM_SEGMENTS = 5000, 20_000, 4
EXIT_SEGMENT_V = torch.arange(12) % NUM_SEGMENTS  # in this segment of a video all users leave


def _items() -> ItemTable:
    items = make_item_table()
    durations, features = torch.full((12,), DURATION_MS), {SEGMENT_MS_KEY: torch.tensor([SEGMENT_MS])}
    return replace(items, segments=build_segment_table(durations, features, items.id_row_V + 1))


def _scorer(**changes: object) -> Scorer:
    return Scorer(make_model(**changes), _items(), make_user_data(LENGTHS))


def _snapshot() -> SimpleNamespace:
    """Every user watches videos 0 to 8 on the test day, up to the middle of the same segment of each."""
    user_N, video_N = torch.cartesian_prod(USERS, torch.arange(9)).unbind(1)
    ratio_N = (EXIT_SEGMENT_V[video_N] + 0.5) / NUM_SEGMENTS
    no_N = torch.zeros(len(user_N)).bool()
    day = Interactions(user_N, video_N, no_N, ratio_N, no_N[:, None].expand(-1, 6))
    return SimpleNamespace(interactions=lambda fold: day)


@pytest.fixture
def _knows_the_exits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the predictions by the truth."""

    def forward(self, interactions, segment_table):
        exit_B1 = EXIT_SEGMENT_V[interactions.video_B][:, None]
        return torch.where(torch.arange(NUM_SEGMENTS) == exit_B1, -5.0, 5.0)

    monkeypatch.setattr(SegmentInterest, "forward", forward)


@pytest.mark.usefixtures("_knows_the_exits")
def test_a_model_that_knows_the_exits_is_better_than_positions():
    result = segment_metrics(_scorer(sources=["trending", "segment_interest"]), _snapshot(), PARAMS)
    segments = result["segments"]
    assert segments["num_views"] == segments["num_exits"] == 9 * len(USERS)
    for name in ("hr@1", "ndcg@10", "auc"):
        comparison = segments["metrics"][name]
        assert comparison["challenger"] == pytest.approx(1.0)
        assert comparison["position_only"] < 0.9
        assert 0 < comparison["difference"]["low"] <= comparison["difference"]["mean"]
        assert comparison["difference"]["num_users"] == len(USERS)
    assert segments["metrics"]["auc"]["position_only"] == 0.5  # all videos are equally long


def test_a_random_model_is_not_better_than_positions():
    segments = segment_metrics(_scorer(sources=["trending", "segment_interest"]), _snapshot(), PARAMS)
    assert segments["segments"]["metrics"]["hr@1"]["challenger"] < 0.9


def test_curves_have_a_value_for_each_segment_and_never_rise():
    rows_BK = torch.stack([torch.randperm(12)[:3] for _ in USERS])
    columns = segment_columns(_scorer(sources=["trending", "segment_interest"]), USERS, rows_BK)
    assert columns.keys() == {"segment_interest", "segment_stay"}
    for column in columns.values():
        assert column.type == pa.list_(pa.float32())
        assert set(column.value_lengths().to_pylist()) == {NUM_SEGMENTS}
        assert len(column) == rows_BK.numel()
    stay_NT = np.array(columns["segment_stay"].to_pylist())
    assert (np.diff(stay_NT) <= 0).all()
    assert ((stay_NT >= 0) & (stay_NT <= 1)).all()


def test_without_the_source_or_without_segments_there_is_nothing():
    rows_BK = torch.zeros(len(USERS), 1, dtype=torch.long)
    scorer = _scorer(sources=["trending", "segment_interest"])
    no_segments = replace(scorer, item_table=replace(scorer.item_table, segments=None))
    for each in (_scorer(sources=["trending"]), no_segments):
        assert segment_metrics(each, _snapshot(), PARAMS) == {}
        assert segment_columns(each, USERS, rows_BK) == {}
