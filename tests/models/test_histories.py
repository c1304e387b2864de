"""Ragged histories, padded batches, what was seen, and the next liked video."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.histories import Histories, Seen, gap_buckets, next_positive
from tests.models.worlds import everybody, histories


def test_a_batch_keeps_the_newest_events_oldest_first() -> None:
    past = histories((3, 0, 6))
    batch = past.batch(torch.tensor([2, 0, 1]), max_length=4)
    assert batch.lengths.tolist() == [4, 3, 0]
    assert batch.video_BT[0].tolist() == past.video_E[5:9].tolist()
    assert batch.video_BT[1, :3].tolist() == past.video_E[:3].tolist()


def test_nobody_with_a_history_makes_an_empty_batch() -> None:
    batch = histories((0, 0)).batch(torch.tensor([0, 1]), max_length=4)
    assert batch.mask_BT.shape == (2, 0)
    at_BS, has_BS = next_positive(batch, 3)
    assert at_BS.shape == (2, 1)
    assert not has_BS.any()


def test_an_unknown_watched_share_is_not_a_zero() -> None:
    batch = histories().batch(torch.tensor([3]), max_length=8)
    unknown_T = batch.ratio_known_BT[0].logical_not()
    assert unknown_T.any()
    assert batch.ratio_BT[0][unknown_T].eq(0).all()


def test_only_a_comment_of_known_sentiment_tells_one() -> None:
    past = histories((6,))
    batch = past.batch(torch.tensor([0]), max_length=4)
    known_T = batch.sentiment_known_BT[0]
    assert known_T.tolist() == past.sentiment_E[2:].isnan().logical_not().tolist()
    assert known_T.any()
    assert torch.equal(batch.sentiment_BT[0][known_T], past.sentiment_E[2:][known_T])
    assert batch.sentiment_BT[0][~known_T].eq(0).all()


def test_gaps_are_counted_in_doubling_minutes() -> None:
    second_BT = torch.tensor([[0, 30, 30 + 60, 30 + 60 + 3 * 60, 10**9]])
    assert gap_buckets(second_BT).tolist() == [[0, 0, 1, 2, 15]]


def test_seen_marks_exactly_what_was_watched() -> None:
    seen = Seen(torch.tensor([0, 2, 2, 3]), torch.tensor([4, 1, 0]))
    mask_BV = seen.mask(torch.tensor([2, 1, 0]), 5)
    assert mask_BV.nonzero().tolist() == [[0, 0], [2, 1], [2, 4]]


@given(st.lists(st.integers(0, 9), max_size=12))
def test_what_was_seen_is_found_wherever_it_stands_among_candidates(rows: list[int]) -> None:
    seen = Seen(torch.tensor([0, 2, 2, 5]), torch.tensor([1, 4, 9, 0, 4]))
    users_B, rows_C = torch.tensor([2, 0]), torch.tensor(rows, dtype=torch.long)
    user_P, place_P = seen.within(users_B, rows_C).of(torch.arange(2))
    found = sorted(zip(user_P.tolist(), place_P.tolist(), strict=True))
    mine = [{0, 4, 9}, {1, 4}]
    assert found == [(b, c) for b in range(2) for c, row in enumerate(rows) if row in mine[b]]


events = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=7)


@given(st.lists(events, min_size=1, max_size=4), st.integers(1, 4))
def test_the_target_is_one_of_the_next_liked_videos_not_watched_before(
    people: list[list[tuple[int, bool]]], horizon: int
) -> None:
    flat = [event for mine in people for event in mine]
    past = Histories(
        offsets=torch.tensor([0, *map(len, people)]).cumsum(0),
        video_E=torch.tensor([video for video, _ in flat], dtype=torch.long),
        second_E=torch.arange(len(flat)),
        hour_E=torch.zeros(len(flat), dtype=torch.long),
        ratio_E=torch.ones(len(flat)),
        did_EA=torch.zeros(len(flat), 6, dtype=torch.bool),
        sentiment_E=torch.full((len(flat),), torch.nan),
        positive_E=torch.tensor([fit for _, fit in flat], dtype=torch.bool),
    )
    at_BS, has_BS = next_positive(past.batch(everybody(past), 7), horizon)
    for b, mine in enumerate(people):
        first = [v not in [w for w, _ in mine[:at]] for at, (v, _) in enumerate(mine)]
        for state in range(at_BS.shape[1]):
            allowed = [at for at in range(state, len(mine)) if mine[at][1] and first[at]][:horizon]
            assert bool(has_BS[b, state]) == bool(allowed)
            if allowed:
                assert int(at_BS[b, state]) in allowed


def test_every_video_within_the_horizon_is_drawn_and_none_beyond() -> None:
    past = histories((6,))
    past = replace(past, video_E=torch.arange(6), positive_E=torch.ones(6, dtype=torch.bool))
    torch.manual_seed(0)
    drawn = {int(next_positive(past.batch(torch.tensor([0]), 6), 3)[0][0, 1]) for _ in range(60)}
    assert drawn == {1, 2, 3}
