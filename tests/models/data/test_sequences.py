"""Ragged sequences, padded batches, seen items, and sampled targets."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.data.positives import is_first_positive, sample_next_positive
from models.data.sequences import SeenItems, Sequences, is_repeat, time_gap_buckets
from models.layers.truncation import event_ages
from tests.support.model_inputs import all_users, make_sequences


def test_a_batch_keeps_the_newest_events_in_order() -> None:
    sequences = make_sequences((3, 0, 6))
    batch = sequences.padded_batch(torch.tensor([2, 0, 1]), max_length=4)
    assert batch.lengths.tolist() == [4, 3, 0]
    assert batch.video_BT[0].tolist() == sequences.video_E[5:9].tolist()
    assert batch.video_BT[1, :3].tolist() == sequences.video_E[:3].tolist()


def test_the_newest_events_of_some_users_become_sequences_of_their_own() -> None:
    sequences, users_B = make_sequences((3, 0, 6)), torch.tensor([2, 1, 0])
    newest = sequences.newest(users_B, 4)
    assert newest.lengths.tolist() == [4, 0, 3]
    expected, batch = sequences.padded_batch(users_B, 4), newest.padded_batch(torch.arange(3), 9)
    for name in ("video_BT", "hour_BT", "behaviour_BTA", "context_BTJ", "time_gap_BT"):
        assert torch.equal(getattr(batch, name)[batch.mask_BT], getattr(expected, name)[expected.mask_BT])


def test_only_kept_events_are_left() -> None:
    sequences = make_sequences((3, 0, 6))
    kept_E = torch.tensor([True, False, True, False, True, True, False, False, False])
    kept = sequences.keep(kept_E)
    assert kept.lengths.tolist() == [2, 0, 2]
    assert torch.equal(kept.video_E, sequences.video_E[kept_E])


def test_empty_sequences_make_an_empty_batch() -> None:
    batch = make_sequences((0, 0)).padded_batch(torch.tensor([0, 1]), max_length=4)
    assert batch.mask_BT.shape == (2, 0)
    target_BS, has_BS = sample_next_positive(batch, 3)
    assert target_BS.shape == (2, 1)
    assert not has_BS.any()


def test_an_unknown_watch_ratio_is_masked() -> None:
    batch = make_sequences().padded_batch(torch.tensor([3]), max_length=8)
    unknown_T = batch.watch_ratio_known_BT[0].logical_not()
    assert unknown_T.any()
    assert batch.watch_ratio_BT[0][unknown_T].eq(0).all()


def test_an_unknown_sentiment_is_masked() -> None:
    sequences = make_sequences((6,))
    batch = sequences.padded_batch(torch.tensor([0]), max_length=4)
    known_T = batch.sentiment_known_BT[0]
    assert known_T.tolist() == sequences.sentiment_E[2:].isnan().logical_not().tolist()
    assert known_T.any()
    assert torch.equal(batch.sentiment_BT[0][known_T], sequences.sentiment_E[2:][known_T])
    assert batch.sentiment_BT[0][~known_T].eq(0).all()


def test_time_gap_buckets_double() -> None:
    timestamp_BT = torch.tensor([[0, 30, 30 + 60, 30 + 60 + 3 * 60, 10**9]])
    assert time_gap_buckets(timestamp_BT).tolist() == [[0, 0, 1, 2, 15]]


def test_the_seen_mask_marks_watched_videos() -> None:
    seen = SeenItems(torch.tensor([0, 2, 2, 3]), torch.tensor([4, 1, 0]))
    mask_BV = seen.mask(torch.tensor([2, 1, 0]), 5)
    assert mask_BV.nonzero().tolist() == [[0, 0], [2, 1], [2, 4]]


@given(st.lists(st.integers(0, 9), max_size=12))
def test_seen_items_are_found_among_candidates(rows: list[int]) -> None:
    seen = SeenItems(torch.tensor([0, 2, 2, 5]), torch.tensor([1, 4, 9, 0, 4]))
    users_B, rows_C = torch.tensor([2, 0]), torch.tensor(rows, dtype=torch.long)
    user_P, position_P = seen.restrict_to(users_B, rows_C).user_item_pairs(torch.arange(2))
    pairs = sorted(zip(user_P.tolist(), position_P.tolist(), strict=True))
    user_events = [{0, 4, 9}, {1, 4}]
    assert pairs == [(b, c) for b in range(2) for c, row in enumerate(rows) if row in user_events[b]]


events = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=7)


@given(st.lists(events, min_size=1, max_size=4), st.integers(1, 4))
def test_the_target_is_one_of_the_next_new_positives(
    users: list[list[tuple[int, bool]]], horizon: int
) -> None:
    flat = [event for user_events in users for event in user_events]
    sequences = Sequences(
        offsets=torch.tensor([0, *map(len, users)]).cumsum(0),
        video_E=torch.tensor([video for video, _ in flat], dtype=torch.long),
        timestamp_E=torch.arange(len(flat)),
        hour_E=torch.zeros(len(flat), dtype=torch.long),
        watch_ratio_E=torch.ones(len(flat)),
        behaviour_EA=torch.zeros(len(flat), 6, dtype=torch.bool),
        sentiment_E=torch.full((len(flat),), torch.nan),
        positive_E=torch.tensor([positive for _, positive in flat], dtype=torch.bool),
    )
    target_BS, has_BS = sample_next_positive(sequences.padded_batch(all_users(sequences), 7), horizon)
    for b, user_events in enumerate(users):
        first = [v not in [w for w, _ in user_events[:at]] for at, (v, _) in enumerate(user_events)]
        for state in range(target_BS.shape[1]):
            allowed = [at for at in range(state, len(user_events)) if user_events[at][1] and first[at]][
                :horizon
            ]
            assert bool(has_BS[b, state]) == bool(allowed)
            if allowed:
                assert int(target_BS[b, state]) in allowed


def test_targets_are_sampled_within_the_horizon() -> None:
    sequences = make_sequences((6,))
    sequences = replace(sequences, video_E=torch.arange(6), positive_E=torch.ones(6, dtype=torch.bool))
    torch.manual_seed(0)
    drawn = {
        int(sample_next_positive(sequences.padded_batch(torch.tensor([0]), 6), 3)[0][0, 1]) for _ in range(60)
    }
    assert drawn == {1, 2, 3}


def test_until_drops_the_events_of_later_days() -> None:
    sequences = make_sequences((3, 0, 2))
    sequences.timestamp_E[:] = torch.tensor([0, 86_400, 172_800, 172_799, 172_800])
    kept = sequences.until(1)
    assert kept.offsets.tolist() == [0, 2, 2, 3]
    assert kept.video_E.tolist() == sequences.video_E[[0, 1, 3]].tolist()
    assert kept.behaviour_EA.shape[0] == 3
    assert kept.last_day == 1
    assert torch.equal(sequences.until(2).video_E, sequences.video_E)
    assert not len(sequences.until(-1).video_E)


def test_the_oldest_events_of_a_batch_are_those_of_a_shorter_history() -> None:
    sequences = make_sequences((3, 5))
    oldest = sequences.padded_batch(all_users(sequences), 5).oldest(3)
    assert oldest.video_BT.tolist() == [
        sequences.video_E[:3].tolist(),
        sequences.video_E[3:6].tolist(),
    ]
    assert oldest.lengths.tolist() == [3, 3]
    assert oldest.users_B.tolist() == [0, 1]


@given(st.lists(st.lists(st.integers(-1, 3), min_size=6, max_size=6), min_size=1, max_size=4))
def test_a_repeat_has_the_code_of_an_earlier_step(rows: list[list[int]]) -> None:
    expected = [[code in row[:step] for step, code in enumerate(row)] for row in rows]
    assert is_repeat(torch.tensor(rows)).tolist() == expected


def test_what_is_counted_from_a_sequence_takes_memory_linear_in_its_length() -> None:
    """A bool for each pair of a million events would be a TiB."""
    length = 1 << 20
    batch = make_sequences((length,)).padded_batch(torch.tensor([0]), length)
    assert sample_next_positive(batch, 3)[1].shape == (1, length + 1)
    assert int(is_first_positive(batch, torch.arange(50)).sum()) <= 50
    assert event_ages(batch, 0.2).shape == (1, length)
