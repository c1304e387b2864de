from datetime import UTC, date, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.tables import BEHAVIOURS, INTERACTIONS
from spark_jobs.sequences import build_sequences

DAY = date(2026, 3, 5)


def _interaction(user: str, video: str, days_ago: int, second: int, ratio: float | None = 0.5, **more):
    day = DAY - timedelta(days_ago)
    row = dict.fromkeys(INTERACTIONS.schema.names) | dict.fromkeys(BEHAVIOURS, False)
    row |= {"user_id": user, "video_id": video, "day": day, "watch_ratio": ratio, "viewed": True}
    started = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=second)
    return row | {"started_at": started, "utc_offset_minutes": 60} | more


def _sequences(spark, rows, days, max_length):
    frame = spark.createDataFrame([tuple(row.values()) for row in rows], INTERACTIONS.spark_schema())
    return {(r.user_id, r.day): r for r in build_sequences(frame, days, max_length).collect()}


INTERACTION = st.builds(
    _interaction,
    user=st.sampled_from("abc"),
    video=st.sampled_from("vwxyz"),
    days_ago=st.integers(0, 4),
    second=st.integers(0, 86_399),
    ratio=st.one_of(st.none(), st.floats(0, 2)),
    comment_sentiment=st.one_of(st.none(), st.floats(-1, 1)),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(INTERACTION, min_size=1, max_size=40, unique_by=lambda r: (r["user_id"], r["started_at"])))
def test_a_sequence_holds_the_newest_interactions_up_to_its_day(spark, rows):
    days = [DAY - timedelta(n) for n in (2, 1, 0)]
    sequences = _sequences(spark, rows, days, max_length=4)
    for user in "abc":
        for day in days:
            expected = sorted(
                (r for r in rows if r["user_id"] == user and r["day"] <= day), key=lambda r: r["started_at"]
            )
            if not expected:
                assert (user, day) not in sequences
                continue
            row = sequences[user, day]
            assert row.video_ids == [r["video_id"] for r in expected[-4:]]
            assert row.watch_ratios == [r["watch_ratio"] for r in expected[-4:]]
            assert row.devices == [r["device"] for r in expected[-4:]]
            assert row.networks == [r["network"] for r in expected[-4:]]
            assert row.comment_sentiments == [r["comment_sentiment"] for r in expected[-4:]]
            assert [t.replace(tzinfo=UTC) for t in row.started_at] == [r["started_at"] for r in expected[-4:]]


def test_behaviours_are_bits_in_the_declared_order(spark):
    row = _interaction("a", "v", 0, 0, liked=True, shared=True)
    sequences = _sequences(spark, [row], [DAY], 4)["a", DAY]
    assert sequences.behaviours == [0b001011]


def test_an_impression_alone_is_not_in_the_sequence(spark):
    assert _sequences(spark, [_interaction("a", "v", 0, 0, viewed=False)], [DAY], 4) == {}
