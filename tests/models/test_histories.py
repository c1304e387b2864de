"""Ragged histories, padded batches, what was seen, and the next liked video."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.histories import Histories, Seen, gap_buckets, next_positive
from tests.models.worlds import everybody, histories


def test_a_batch_keeps_the_newest_events_oldest_first() -> None:
    past = histories((3, 0, 6))
    batch = past.batch(torch.tensor([2, 0, 1]), max_length=4)
    assert batch.length_B.tolist() == [4, 3, 0]
    assert batch.video_BT[0].tolist() == past.video_E[5:9].tolist()
    assert batch.video_BT[1, :3].tolist() == past.video_E[:3].tolist()


def test_nobody_with_a_history_makes_an_empty_batch() -> None:
    batch = histories((0, 0)).batch(torch.tensor([0, 1]), max_length=4)
    assert batch.mask_BT.shape == (2, 0)
    target_BS, has_BS = next_positive(batch)
    assert target_BS.shape == (2, 1)
    assert not has_BS.any()


def test_an_unknown_watched_share_is_not_a_zero() -> None:
    batch = histories().batch(torch.tensor([3]), max_length=8)
    unknown_T = batch.ratio_known_BT[0].logical_not()
    assert unknown_T.any()
    assert batch.ratio_BT[0][unknown_T].eq(0).all()


def test_gaps_are_counted_in_doubling_minutes() -> None:
    second_BT = torch.tensor([[0, 30, 30 + 60, 30 + 60 + 3 * 60, 10**9]])
    assert gap_buckets(second_BT).tolist() == [[0, 0, 1, 2, 15]]


def test_seen_marks_exactly_what_was_watched() -> None:
    seen = Seen(torch.tensor([0, 2, 2, 3]), torch.tensor([4, 1, 0]))
    mask_BV = seen.mask(torch.tensor([2, 1, 0]), 5)
    assert mask_BV.nonzero().tolist() == [[0, 0], [2, 1], [2, 4]]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=7), min_size=1, max_size=4),
)
def test_the_target_is_the_first_later_liked_video_not_watched_before(
    people: list[list[tuple[int, bool]]],
) -> None:
    flat = [event for events in people for event in events]
    count = len(flat)
    past = Histories(
        offsets=torch.tensor([0, *map(len, people)]).cumsum(0),
        video_E=torch.tensor([video for video, _ in flat], dtype=torch.long),
        second_E=torch.arange(count),
        hour_E=torch.zeros(count, dtype=torch.long),
        ratio_E=torch.ones(count),
        did_EA=torch.zeros(count, 6, dtype=torch.bool),
        positive_E=torch.tensor([liked for _, liked in flat], dtype=torch.bool),
    )
    target_BS, has_BS = next_positive(past.batch(everybody(past), 7))
    for b, events in enumerate(people):
        for state in range(target_BS.shape[1]):
            expected = [
                video
                for at, (video, liked) in enumerate(events)
                if at >= state and liked and video not in [v for v, _ in events[:at]]
            ]
            assert bool(has_BS[b, state]) == bool(expected)
            if expected:
                assert target_BS[b, state] == expected[0]
