from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from core.tables import BEHAVIOURS, INTERACTIONS, SEQUENCES
from spark_jobs.sequences import continue_sequences, engaged_interactions, stored_sequences

COLUMNS = {
    "video_id": "video_ids",
    "started_at": "started_at",
    "watch_ratio": "watch_ratios",
    "comment_sentiment": "comment_sentiments",
    "device": "devices",
    "network": "networks",
}
DAY = date(2026, 3, 5)


def _interaction(user: str, video: str, days_ago: int, second: int, ratio: float | None = 0.5, **more):
    day = DAY - timedelta(days_ago)
    row = dict.fromkeys(INTERACTIONS.schema.names) | dict.fromkeys(BEHAVIOURS, False)
    row |= {"user_id": user, "video_id": video, "day": day, "watch_ratio": ratio, "viewed": True}
    started = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=second)
    return row | {"started_at": started, "utc_offset_minutes": 60} | more


def _no_sequences() -> pl.DataFrame:
    return stored_sequences(pl.DataFrame(SEQUENCES.schema.empty_table()))


def _engaged(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return engaged_interactions(pl.DataFrame(pa.Table.from_pylist(rows, INTERACTIONS.schema)))


def _sequences(rows: Sequence[dict[str, Any]], max_length: int = 4) -> dict[str, dict[str, Any]]:
    sequences = continue_sequences(_no_sequences(), _engaged(rows), max_length)
    return {row["user_id"]: row for row in sequences.to_dicts()}


INTERACTION = st.builds(
    _interaction,
    user=st.sampled_from("abc"),
    video=st.sampled_from("vwxyz"),
    days_ago=st.integers(0, 4),
    second=st.one_of(st.integers(0, 2), st.integers(0, 86_399)),
    ratio=st.one_of(st.none(), st.floats(0, 2)),
    comment_sentiment=st.one_of(st.none(), st.floats(-1, 1)),
)


INTERACTIONS_OF_USERS = st.lists(INTERACTION, max_size=40)


@given(st.lists(INTERACTION, max_size=40, unique_by=lambda r: (r["user_id"], r["started_at"])))
def test_a_sequence_holds_the_newest_interactions(rows):
    sequences = _sequences(rows)
    assert sequences.keys() == {row["user_id"] for row in rows}
    for user, sequence in sequences.items():
        of_user = [row for row in rows if row["user_id"] == user]
        newest = sorted(of_user, key=lambda row: row["started_at"])[-4:]
        for name, column in COLUMNS.items():
            assert sequence[column] == [row[name] for row in newest]


@given(INTERACTIONS_OF_USERS, st.lists(st.integers(-1, 5), max_size=3), st.data())
def test_sequences_continued_over_any_days_are_those_of_a_full_build(rows, cuts, data):
    """Several interactions can start at one instant, also on different days."""
    full = _sequences(rows)
    shuffled = _engaged(data.draw(st.permutations(rows)))
    sequences, last_day = _no_sequences(), date.min
    for day in sorted({DAY - timedelta(cut) for cut in cuts} | {DAY + timedelta(1)}):
        new = shuffled.filter(pl.col("day").is_between(last_day, day, closed="right"))
        sequences, last_day = continue_sequences(sequences, new, 4), day
    assert {row["user_id"]: row for row in sequences.to_dicts()} == full


def test_behaviours_are_bits_in_the_declared_order():
    row = _interaction("a", "v", 0, 0, liked=True, shared=True)
    assert _sequences([row])["a"]["behaviours"] == [0b001011]


def test_pauses_replays_and_swipes_are_the_bits_after_the_behaviours():
    rows = [
        _interaction("a", "v", 0, 0, pauses=2, replays=0, swipes=1),
        _interaction("a", "w", 0, 1, pauses=None, replays=None, swipes=None),  # of an older table
    ]
    assert _sequences(rows)["a"]["behaviours"] == [0b101000001, 0b000000001]


def test_an_interaction_that_was_only_swiped_past_is_in_no_sequence():
    assert _sequences([_interaction("a", "v", 0, 0, viewed=False, swipes=1)]) == {}


def test_an_impression_alone_is_not_in_the_sequence():
    assert _sequences([_interaction("a", "v", 0, 0, viewed=False)]) == {}


def test_a_user_without_new_interactions_keeps_the_sequence():
    sequences = continue_sequences(_no_sequences(), _engaged([_interaction("a", "v", 3, 0)]), 4)
    continued = continue_sequences(sequences, _engaged([_interaction("b", "w", 0, 0)]), 4)
    assert continued.filter(pl.col("user_id") == "a").equals(sequences)
