import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import CleanConfig
from core.tables import EVENTS, PLAYBACK_SIGNALS
from spark_jobs import clean, sentiment

DAY = date(2026, 3, 5)
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
PARAMS = CleanConfig(
    late_days=2,
    clock_skew_minutes=10,
    max_replays=4,
    max_watch_minutes=60,
    bot_events_per_hour=20,
    session_gap_minutes=30,
)


def _event(line: int, event_type: str = "view", time: datetime | None = NOON, **more):
    row = dict.fromkeys(EVENTS.schema.names)
    row |= {
        "event_id": f"e{line}",
        "user_id": "u",
        "video_id": "v",
        "event_type": event_type,
        "event_time": time,
    }
    return row | {"day": DAY, "source_file": "f", "source_line": line} | more


VIDEOS = pl.DataFrame({"video_id": ["v", "w"], "duration_ms": [10_000, None]})


def _label(
    rows: Sequence[dict[str, Any]], params: CleanConfig = PARAMS, videos: pl.DataFrame = VIDEOS
) -> pl.DataFrame:
    events = pl.DataFrame(pa.Table.from_pylist(rows, EVENTS.schema))
    dated = clean.with_partition_day(events, params)
    return clean.with_user_reason(clean.with_row_reason(dated, videos, params), params)


def _reasons(rows: Sequence[dict[str, Any]], params: CleanConfig = PARAMS) -> dict[int, str | None]:
    return dict(_label(rows, params).select("source_line", "reason").iter_rows())


def _interactions(rows: Sequence[dict[str, Any]], params: CleanConfig = PARAMS) -> list[dict[str, Any]]:
    kept = _label(rows, params).filter(pl.col("reason").is_null())
    joined = clean.interactions(kept, params)
    return joined.sort("user_id", "video_id", "started_at").drop("interaction").to_dicts()


def _rejects(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return clean.rejects(_label(rows).filter(pl.col("reason").is_not_null())).to_dicts()


def test_each_rule_rejects_only_its_own_events():
    cases = {
        None: _event(1, watch_ms=10_000),
        "missing_event_id": _event(2, event_id=None),
        "missing_user": _event(3, user_id=None),
        "missing_video": _event(4, video_id=None),
        "missing_event_time": _event(5, time=None),
        "unknown_event_type": _event(6, event_type="scroll"),
        "event_time_in_future": _event(7, time=NOON + timedelta(days=1)),
        "arrived_too_late": _event(8, time=NOON - timedelta(days=3)),
        "unknown_video": _event(9, video_id="unknown"),
        "impossible_watch_time": _event(10, watch_ms=-1),
    }
    result = _reasons(list(cases.values()))
    assert result == {row["source_line"]: reason for reason, row in cases.items()}


def test_the_longest_possible_view_depends_on_the_videos_duration():
    rows = [
        _event(1, watch_ms=40_000),
        _event(2, watch_ms=40_001),
        _event(3, video_id="w", watch_ms=3_600_000),
        _event(4, video_id="w", watch_ms=3_600_001),
    ]
    assert _reasons(rows) == {1: None, 2: "impossible_watch_time", 3: None, 4: "impossible_watch_time"}


def test_a_small_clock_skew_is_tolerated():
    midnight = datetime(2026, 3, 6, tzinfo=UTC)
    rows = [_event(1, time=midnight + timedelta(minutes=9)), _event(2, time=midnight + timedelta(minutes=11))]
    assert _reasons(rows) == {1: None, 2: "event_time_in_future"}


def test_a_late_event_belongs_to_the_day_it_happened():
    rows = [_event(1, time=NOON - timedelta(days=2)), _event(2)]
    days = {row["day"] for row in _interactions(rows)}
    assert days == {DAY - timedelta(2), DAY}


def test_the_first_of_duplicate_events_is_kept():
    rows = [_event(2, event_id="same"), _event(1, event_id="same"), _event(3, event_id="same", user_id="x")]
    assert _reasons(rows) == {1: None, 2: "duplicate_event", 3: None}


def test_duplicates_do_not_make_a_bot():
    minute = timedelta(minutes=1)
    bot = [_event(n, user_id="bot", time=NOON + n * minute) for n in range(21)]
    human = [_event(100 + n, user_id="me", event_id=f"e{n % 15}", time=NOON) for n in range(30)]
    other_day = [_event(200, user_id="bot", time=NOON - timedelta(days=1))]
    result = Counter(_reasons(bot + human + other_day).values())
    assert result == {"suspected_bot": 21, "duplicate_event": 15, None: 16}


def test_behaviours_belong_to_the_interaction_they_follow():
    second = timedelta(seconds=1)
    rows = [
        _event(1, "impression", NOON, feed_position=3, device="phone"),
        _event(2, "view", NOON + second, watch_ms=5_000),
        _event(3, "like", NOON + 4 * second),
        _event(4, "comment", NOON + 5 * second, comment_text="nice"),
        _event(5, "view", NOON + 60 * second, watch_ms=12_000),
        _event(6, "share", NOON + timedelta(hours=2)),
    ]
    first, second_view, later = _interactions(rows)
    assert (first["viewed"], first["liked"], first["commented"], first["shared"]) == (True, True, True, False)
    assert (first["watch_ratio"], first["comment_text"], first["feed_position"]) == (0.5, "nice", 3)
    assert (second_view["watch_ratio"], second_view["liked"]) == (1.2, False)
    assert (later["viewed"], later["shared"], later["watch_ratio"]) == (False, True, None)
    assert [row["events"] for row in (first, second_view, later)] == [4, 1, 1]


def test_the_watch_ratio_is_rounded_correctly_if_all_videos_are_equally_long():
    rows = [_event(1, watch_ms=3000), _event(2, time=NOON + timedelta(hours=2), watch_ms=2000)]
    videos = pl.DataFrame({"video_id": ["v"], "duration_ms": [9000]})
    ratios = clean.interactions(_label(rows, videos=videos), PARAMS)["watch_ratio"]
    assert sorted(ratios) == [2000 / 9000, 3000 / 9000]


def test_pauses_replays_and_swipes_are_counted_per_interaction():
    second = timedelta(seconds=1)
    rows = [
        _event(1, "impression", NOON),
        _event(2, "pause", NOON + second),
        _event(3, "pause", NOON + 2 * second),
        _event(4, "replay", NOON + 3 * second),
        _event(5, "view", NOON + 4 * second, watch_ms=9_000),
        _event(6, "swipe", NOON + 5 * second),
        _event(7, "impression", NOON + timedelta(hours=2)),
        _event(8, "swipe", NOON + timedelta(hours=2) + second),
        _event(9, "view", NOON, video_id="w"),
    ]
    watched, swiped, plain = _interactions(rows)
    counts = [[row[name] for name in PLAYBACK_SIGNALS] for row in (watched, swiped, plain)]
    assert counts == [[2, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert [row["viewed"] for row in (watched, swiped, plain)] == [True, False, True]
    assert [row["events"] for row in (watched, swiped, plain)] == [6, 2, 1]


@given(st.lists(st.sampled_from(["impression", "view", "like"]), min_size=1, max_size=6), st.data())
def test_playback_events_open_no_interaction_of_their_own(kinds, data):
    """Each one follows another event of the video within a second."""
    rows = [_event(n, kind, NOON + timedelta(seconds=10 * n)) for n, kind in enumerate(kinds)]
    added = [
        _event(100 + n, kind, NOON + timedelta(seconds=10 * n + 1))
        for n, kind in enumerate(data.draw(st.lists(st.sampled_from(clean.PLAYBACK_TYPES), max_size=6)))
        if n < len(rows)
    ]
    counted = (*PLAYBACK_SIGNALS, "events")
    plain, played = (
        [{n: v for n, v in row.items() if n not in counted} for row in _interactions(events)]
        for events in (rows, rows + added)
    )
    assert played == plain


def test_a_view_belongs_to_the_pause_that_starts_its_session():
    minute = timedelta(minutes=1)
    rows = [
        _event(2, "pause", NOON),
        _event(3, "view", NOON + minute, watch_ms=100),
        _event(4, "pause", NOON + 60 * minute),
        _event(5, "view", NOON + 61 * minute, watch_ms=200),
    ]
    assert [(row["pauses"], row["watched_ms"]) for row in _interactions(rows)] == [(1, 100), (1, 200)]


def test_the_watch_time_of_a_swipe_is_checked_like_that_of_a_view():
    assert _reasons([_event(1, "swipe", watch_ms=40_001), _event(2, "swipe", watch_ms=4_000)]) == {
        1: "impossible_watch_time",
        2: None,
    }


def test_an_interaction_has_the_mean_sentiment_of_its_comments():
    def comment(line: int, text: str | None, user: str):
        return _event(line, "comment", NOON + timedelta(seconds=line), comment_text=text, user_id=user)

    rows = [
        comment(1, "love this cat, more please", "a"),
        comment(2, "boring, what a waste of time", "a"),
        comment(3, "😍", "b"),
        comment(4, "det er super fint", "b"),
        comment(5, "det er super fint", "c"),
        comment(6, "", "d"),
        comment(7, None, "e"),
        _event(8, user_id="f"),
        comment(9, "so good, best cat ever!", "g"),
        comment(10, "VERY good!!!", "g"),
    ]
    result = {row["user_id"]: row["comment_sentiment"] for row in _interactions(rows)}
    both = [sentiment.compound_score(row["comment_text"]) for row in rows[:2]]
    assert result["a"] == pytest.approx(sum(both) / 2)
    assert result["b"] == sentiment.compound_score("😍") > 0
    assert [result[user] for user in "cdef"] == [None] * 4
    assert result["g"] == 0.76955  # the nearest float to the decimal mean


def test_comments_are_joined_in_the_order_of_their_times():
    rows = [
        _event(line, "comment", NOON + timedelta(seconds=second), comment_text=text)
        for line, second, text in ((1, 2, "a"), (2, 1, "c"), (3, 3, "b"), (4, 1, "b"))
    ]
    (row,) = _interactions(rows)
    assert row["comment_text"] == "b\nc\na\nb"


def test_the_context_of_an_interaction_is_the_first_that_is_known():
    second = timedelta(seconds=1)
    rows = [
        _event(3, "like", NOON + 2 * second, network="5g", device="phone"),
        _event(2, "like", NOON + second, device="tablet", feed_position=4),
        _event(1, "view"),
    ]
    (row,) = _interactions(rows)
    assert [row[name] for name in clean.CONTEXT] == ["tablet", "5g", None, 4]


EVENT = st.builds(
    lambda kind, user, video, seconds, watch, name: {
        "event_type": kind,
        "user_id": user,
        "video_id": video,
        "event_time": NOON + timedelta(seconds=seconds),
        "watch_ms": watch,
        "event_id": name,
    },
    kind=st.sampled_from([*clean.EVENT_TYPES, "scroll", None]),
    user=st.sampled_from(["a", "b", None]),
    video=st.sampled_from(["v", "w", "x", None]),
    seconds=st.one_of(st.integers(0, 2), st.integers(-4 * 86_400, 2 * 86_400)),
    watch=st.one_of(st.none(), st.integers(-5, 50_000)),
    name=st.sampled_from(["1", "2", "3", "4", None]),
)


@given(events=st.lists(EVENT, min_size=1, max_size=30), data=st.data())
def test_every_event_is_kept_or_rejected_once_in_any_order(events, data):
    rows = [_event(line) | event for line, event in enumerate(events)]
    shuffled = data.draw(st.permutations(rows))
    rejects, joined = _rejects(rows), _interactions(rows)
    assert sum(row["events"] for row in joined) + len(rejects) == len(rows)
    assert {(row["source_line"], row["reason"]) for row in rejects} == {
        (line, reason) for line, reason in _reasons(shuffled).items() if reason
    }
    assert joined == _interactions(shuffled)


def test_two_views_of_one_instant_are_one_interaction():
    rows = [_event(1, watch_ms=3000), _event(2, watch_ms=5000), _event(3, event_type="impression")]
    (row,) = _interactions(rows)
    assert (row["events"], row["watched_ms"]) == (3, 5000)


@given(
    st.lists(
        st.tuples(st.sampled_from(["view", "impression", "like"]), st.integers(0, 3), st.integers(1, 2)),
        min_size=1,
        max_size=12,
    )
)
def test_no_two_interactions_of_a_video_start_at_one_instant(events):
    rows = [
        _event(line, kind, NOON + timedelta(hours=hour), event_id=f"e{n}")
        for n, (kind, hour, line) in enumerate(events)
    ]
    starts = [row["started_at"] for row in _interactions(rows)]
    assert len(starts) == len(set(starts))


def test_an_impression_starts_a_new_interaction_in_the_same_instant():
    ten = timedelta(seconds=10)
    rows = [
        _event(1, watch_ms=1000),
        _event(2, event_type="like", time=NOON + ten),
        _event(3, event_type="impression", time=NOON + ten),
    ]
    first, second = _interactions(rows)
    assert (first["watched_ms"], first["liked"], second["liked"]) == (1000, False, True)


@given(st.lists(st.tuples(EVENT, st.sampled_from(clean.CONTEXT), st.integers(0, 1)), max_size=20), st.data())
def test_interactions_do_not_depend_on_the_files_of_the_events(events, data):
    rows = [
        _event(line)
        | event
        | {context: value if context in ("utc_offset_minutes", "feed_position") else "ab"[value]}
        for line, (event, context, value) in enumerate(events)
    ]
    sources = data.draw(
        st.permutations([{"source_file": f, "source_line": n} for n in range(len(rows)) for f in "xy"])
    )
    split = [row | source for row, source in zip(rows, sources, strict=False)]
    assert _interactions(split) == _interactions(rows)
    assert Counter(row["reason"] for row in _rejects(split)) == Counter(
        row["reason"] for row in _rejects(rows)
    )


def test_a_reject_holds_the_fields_of_the_event_as_json():
    time = NOON + timedelta(microseconds=5999)
    row = _event(7, user_id='a "b"', video_id="back\\slash", time=time, watch_ms=-1, device="tab\t\x01é😍")
    (reject,) = _rejects([row])
    assert (reject["reason"], reject["source_file"], reject["source_line"]) == ("unknown_video", "f", 7)
    assert reject["record"] == (
        r'{"event_id":"e7","user_id":"a \"b\"","video_id":"back\\slash","event_type":"view",'
        r'"event_time":"2026-03-05T12:00:00.005Z","watch_ms":-1,"device":"tab\t\u0001é😍"}'
    )


def test_a_reject_leaves_out_missing_fields():
    fields = dict.fromkeys(("event_id", "user_id", "video_id", "event_type", "event_time"))
    (reject,) = _rejects([_event(1) | fields])
    assert reject["record"] == "{}"


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_of_a_reject_can_be_read_again(text):
    (reject,) = _rejects([_event(1, video_id=text + "?", device=text)])
    record = json.loads(reject["record"])
    assert (record["video_id"], record["device"]) == (text + "?", text)
