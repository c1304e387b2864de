"""Trends have the names of the videos that they point to."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch

from evaluation.trends import trend_summary, trends_table
from models.baselines.comirec import ComiRec
from models.baselines.sasrec import SASRec
from models.evaluation.scoring import Scorer
from tests.support.planted_preferences import USERS, VIDEOS, make_scorer, planted_sequences, small_config

HALF = VIDEOS // 2
DIRECTION_2D = torch.eye(2, 32)  # of the first half of the videos, and of the second


def make_snapshot(**columns: list) -> Any:
    unknown = {name: pa.nulls(VIDEOS, pa.string()) for name in ("category", "author_id")}
    ids = pa.chunked_array([[f"u{i}" for i in range(USERS)]])
    return SimpleNamespace(videos=pa.table(unknown | columns), user_ids=ids)


def make_two_trends(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    """All users have a small trend to the first half of the videos, and a large one to the second half."""
    model = ComiRec(small_config("comirec", trends=2))
    torch.nn.init.normal_(model.item_embedding.weight, std=0.01)
    model.item_embedding.weight.data += DIRECTION_2D.repeat_interleave(HALF, 0)
    z_F = torch.cat([DIRECTION_2D[0], 5 * DIRECTION_2D[1]])
    monkeypatch.setattr(model, "encode_sequence", lambda row_BT, _: z_F.expand(len(row_BT), -1))
    return make_scorer(model, planted_sequences()[0])


def test_each_trend_has_the_category_of_its_nearest_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = make_two_trends(monkeypatch)
    snapshot = make_snapshot(category=["cats"] * HALF + ["cars"] * HALF, author_id=["x"] * VIDEOS)
    table = trends_table(snapshot, scorer, torch.tensor([3, 7]))
    assert table is not None
    assert table["user_id"].to_pylist() == ["u3", "u3", "u7", "u7"]
    assert table["trend"].to_pylist() == [1, 2, 1, 2]
    assert table["name"].to_pylist() == ["cats", "cars"] * 2
    assert table["name_share"].to_pylist() == [1.0] * 4
    assert all(
        (row < HALF) == (i % 2 == 0) for i, rows in enumerate(table["nearest"].to_pylist()) for row in rows
    )
    # The large trend ranks its half first. A user has watched some of it, so a few are of the other.
    shares = table["recommended_share"].to_pylist()
    assert shares[0] + shares[1] == pytest.approx(1.0)
    assert shares[1] > 0.6
    assert trend_summary(table) == {
        "num_trends": 2,
        "mean_names": 2.0,
        "largest_share": pytest.approx((shares[1] + shares[3]) / 2),
    }


@pytest.mark.parametrize(
    ("columns", "name"), [({"author_id": ["anna"] * HALF + ["bert"] * HALF}, "anna"), ({}, None)]
)
def test_without_categories_the_creator_names_a_trend(
    columns: dict, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = trends_table(make_snapshot(**columns), make_two_trends(monkeypatch), torch.tensor([0]))
    assert table is not None
    assert table["name"][0].as_py() == name


def test_another_model_has_no_trends() -> None:
    scorer = make_scorer(SASRec(small_config("sasrec")), planted_sequences()[0])
    assert trends_table(make_snapshot(), scorer, torch.tensor([0])) is None
