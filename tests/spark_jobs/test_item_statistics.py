from datetime import date, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from core.tables import INTERACTIONS
from spark_jobs.item_statistics import count_items

DAY = date(2026, 3, 5)


def _interaction(video: str, days_ago: int, viewed: bool, sentiment: float | None) -> dict[str, Any]:
    row = dict.fromkeys(INTERACTIONS.schema.names) | {"video_id": video, "viewed": viewed}
    return row | {"day": DAY - timedelta(days_ago), "comment_sentiment": sentiment}


INTERACTION = st.builds(
    _interaction,
    video=st.sampled_from("vw"),
    days_ago=st.integers(0, 1),
    viewed=st.booleans(),
    sentiment=st.one_of(st.none(), st.sampled_from([-0.5, 0.1, 0.2])),
)


def _count(rows: list[dict[str, Any]]) -> dict[tuple[date, str], tuple[int, list[float]]]:
    interactions = pl.LazyFrame(pa.Table.from_pylist(rows, INTERACTIONS.schema))
    return {
        (row["day"], row["video_id"]): (row["num_interactions"], row["comment_sentiments"])
        for row in count_items(interactions).collect().to_dicts()
    }


@given(st.lists(INTERACTION, max_size=12))
def test_views_and_sentiments_are_counted_by_day_and_video(rows):
    expected: dict[tuple[date, str], tuple[int, list[float]]] = {}
    for row in rows:
        views, sentiments = expected.get((row["day"], row["video_id"]), (0, []))
        known = [] if row["comment_sentiment"] is None else [row["comment_sentiment"]]
        expected[row["day"], row["video_id"]] = (views + row["viewed"], sorted(sentiments + known))
    assert _count(rows) == {key: value for key, value in expected.items() if value != (0, [])}
