"""Views with the segment where the user left, and what the user watched before."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.segmm import segment_labels
from models.data.interaction_log import InteractionLog
from models.data.segment_grid import MAX_SEGMENTS, SEGMENT_MS_KEY
from models.data.segments import (
    WATCHED_TO_END,
    SegmentLog,
    SegmentTable,
    build_segment_table,
    exit_segment,
    views_after,
    views_in_order_of_time,
)
from tests.models.sources.inputs import Event, batch_of, to_sequences

SEGMENT_MS, NUM_VIDEOS, HISTORY_LENGTH = 5000, 4, 5
DURATION_V = torch.full((NUM_VIDEOS,), 20_000)
UNKNOWN = float("nan")

logs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 30_000)), max_size=12)


def _segment_table(duration_V: torch.Tensor = DURATION_V) -> SegmentTable:
    table = build_segment_table(
        duration_V, {SEGMENT_MS_KEY: torch.tensor([SEGMENT_MS])}, torch.arange(len(duration_V)) + 1
    )
    assert table is not None
    return table


def _make_log(interactions: list[tuple[int, int, int]]) -> InteractionLog:
    user, video, watched = np.array(interactions, np.int64).reshape(-1, 3).T
    return InteractionLog(user, video, watched, DURATION_V.numpy()[video])


def _history(views, row: int) -> list[tuple[int, int, bool]]:
    """The segments watched before a view, newest first: video, segment and whether the user left in it."""
    batch = views.select(torch.tensor([row])).batch()
    mask_O = batch.history_mask_BO[0]
    pairs, exits = batch.history_BO2[0][mask_O].tolist(), batch.history_exit_BO[0][mask_O].tolist()
    return [(video, segment, left) for (video, segment), left in zip(pairs, exits, strict=True)]


def _segments(video: int, watched: int) -> list[tuple[int, int, bool]]:
    exit_in = max(-(-watched // SEGMENT_MS) - 1, 0) if watched < 20_000 else WATCHED_TO_END
    return [(video, segment, segment == exit_in) for segment in range(min(-(-watched // SEGMENT_MS), 4))]


@given(st.integers(1, 60_000), st.integers(1000, 60_000))
def test_exit_segment_agrees_with_the_labels_of_segmm(watch_ms, duration_ms):
    label = segment_labels(watch_ms, duration_ms)
    left = int(exit_segment(torch.tensor(watch_ms), torch.tensor(duration_ms), SEGMENT_MS))
    assert left == (label.index(0) if 0 in label else WATCHED_TO_END)


def test_an_exit_beyond_the_last_segment_counts_as_watched_to_the_end():
    positions = torch.tensor([MAX_SEGMENTS * SEGMENT_MS, MAX_SEGMENTS * SEGMENT_MS + 1])
    left = exit_segment(positions, torch.tensor(10**6), SEGMENT_MS)
    assert left.tolist() == [MAX_SEGMENTS - 1, WATCHED_TO_END]


@given(logs)
def test_the_history_holds_earlier_views_of_the_same_user(interactions):
    views = views_in_order_of_time(
        _make_log(interactions), _segment_table(), HISTORY_LENGTH, len(interactions)
    )
    for i, (user, _, _) in enumerate(interactions):
        before = [
            segment
            for other, video, watched in interactions[:i]
            if other == user
            for segment in _segments(video, watched)
        ]
        assert _history(views, i) == before[::-1][:HISTORY_LENGTH]


@given(logs, st.integers(0, 12))
def test_users_outside_training_are_unknown(interactions, num_train):
    views = views_in_order_of_time(_make_log(interactions), _segment_table(), HISTORY_LENGTH, num_train)
    known = {user for user, _, _ in interactions[:num_train]}
    assert views.user_E.tolist() == [user + 1 if user in known else 0 for user, _, _ in interactions]


USERS = [
    [Event(0, watch_ratio=0.6), Event(1, watch_ratio=UNKNOWN), Event(2, watch_ratio=1.5)],
    [],
    [Event(3, watch_ratio=0.1)],
]


def test_views_after_the_sequences_know_all_of_them_and_nothing_of_each_other():
    user_N, video_N = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([1, 3, 0, 0, 1])
    ratio_N = torch.tensor([0.3, 0.9, 0.5, UNKNOWN, 1.0])
    views, known_N = views_after(to_sequences(USERS), user_N, video_N, ratio_N, _segment_table(), 10)
    assert known_N.tolist() == [True, True, True, False, True]
    assert views.exit_segment_E.tolist() == [1, 3, 1, WATCHED_TO_END]
    watched = [*_segments(0, 12_000), *_segments(2, 30_000)][::-1]
    assert [_history(views, row) for row in range(4)] == [watched, watched, [], _segments(3, 2000)]


def test_a_batch_gives_the_views_of_its_sequences():
    table, sequences = _segment_table(), to_sequences(USERS)
    log, batch_log = (
        SegmentLog.from_sequences(sequences, table),
        SegmentLog.from_batch(batch_of(USERS), table),
    )
    assert all(torch.equal(value, getattr(batch_log, name)) for name, value in vars(log).items())
    assert log.watched_E.tolist() == [12_000, 30_000, 2000]


def test_views_of_videos_without_duration_are_left_out():
    table = _segment_table(torch.tensor([0, 20_000, 20_000, 20_000]))
    assert SegmentLog.from_sequences(to_sequences(USERS), table).video_E.tolist() == [2, 3]


def test_the_table_finds_the_vector_of_each_segment():
    features = {
        SEGMENT_MS_KEY: torch.tensor([SEGMENT_MS]),
        "visual.segments": torch.tensor([[1.0], [2.0], [3.0]]),
        "visual.segment_rows": torch.tensor([[0, 1], [2, 0], [2, 2]], dtype=torch.int32),
    }
    table = build_segment_table(torch.tensor([9000, 0, 12_000]), features, torch.tensor([1, 0, 2]))
    assert table is not None
    assert table.num_segments_V.tolist() == [2, 0, 3]
    assert table.row_VT["visual"].tolist() == [[-1, 0, -1], [-1, -1, -1], [1, -1, 2]]
    selected = table.select(torch.tensor([2, 2]), torch.tensor([True, False]))
    assert selected.num_segments_V.tolist() == [3, 0]
    assert selected.id_row_V.tolist() == [2, 0]
    assert build_segment_table(torch.tensor([9000]), {}, torch.tensor([1])) is None
