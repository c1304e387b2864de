"""Adaptive truncation: ages, the budget, and that a user's length depends on the user's own interactions."""

from dataclasses import replace

import pytest
import torch

from models.data.sequences import Sequences
from models.layers.truncation import REPEAT_AGE, SKIP_AGE, Truncation, event_ages
from models.training.objective import compute_losses
from tests.models.training.test_objective import OBJECTIVE
from tests.support.model_inputs import (
    all_users,
    make_item_table,
    make_model,
    make_profiles,
    make_sequences,
    make_user_data,
)

SKIP = 0.2


def make_log() -> Sequences:
    """One user with six interactions: the second is a skip, the fourth a repeat, the fifth a liked skip."""
    sequences = make_sequences((6,))
    return replace(
        sequences,
        video_E=torch.tensor([3, 4, 5, 3, 6, 7]),
        watch_ratio_E=torch.tensor([0.9, 0.1, torch.nan, 0.9, 0.1, 0.1]),
        positive_E=torch.tensor([True, False, False, True, True, False]),
    )


def make_truncation(max_age: int) -> Truncation:
    truncation = Truncation(SKIP)
    truncation.max_age.fill_(max_age)
    return truncation


def test_skips_and_repeats_count_as_older_and_the_newest_has_age_0() -> None:
    sequences = make_log()
    batch = sequences.padded_batch(all_users(sequences), 8)
    assert event_ages(batch, SKIP).tolist() == [[5, 4 + SKIP_AGE, 3, 2 + REPEAT_AGE, 1, 0]]


def test_old_interactions_are_left_out_and_the_rest_keeps_its_order_and_values() -> None:
    sequences = make_log()
    batch = sequences.padded_batch(all_users(sequences), 8)
    kept = make_truncation(SKIP_AGE)(batch)
    assert kept.video_BT.tolist() == [[3, 5, 6, 7]]
    assert kept.mask_BT.all()
    for name in ("day_BT", "time_gap_BT", "positive_BT", "behaviour_BTA", "context_BTJ"):
        assert torch.equal(getattr(kept, name), getattr(batch, name)[:, [0, 2, 4, 5]])
    assert make_truncation(0)(batch).video_BT.tolist() == [[7]]


def test_the_batch_is_as_long_as_its_longest_sequence() -> None:
    sequences = make_sequences((0, 2, 8, 5))
    batch, truncation = sequences.padded_batch(all_users(sequences), 8), make_truncation(3)
    kept = truncation(batch)
    assert torch.equal(kept.lengths, truncation.kept_lengths(sequences, 8))
    assert kept.mask_BT.shape[1] == int(kept.lengths.max()) <= 4
    assert kept.lengths[0] == 0


def test_the_largest_age_uses_the_budget_and_does_not_exceed_it() -> None:
    sequences = make_sequences((0, 60, 3, 40, 90, 10), videos=1000)
    for budget in (1, 5, 20, 40):
        truncation = Truncation(SKIP)
        truncation.init_from_statistics(sequences, 100, budget)
        kept = truncation.kept_lengths(sequences, 100)
        assert int(kept.sum()) <= 5 * budget or budget == 1  # five users have a sequence
        truncation.max_age += 1
        assert int(truncation.kept_lengths(sequences, 100).sum()) > 5 * budget
    truncation.init_from_statistics(sequences, 100, 100)
    assert torch.equal(truncation.kept_lengths(sequences, 100), sequences.lengths)


def test_a_user_is_encoded_alike_in_every_batch() -> None:
    sequences, model = make_sequences((0, 1, 5, 8)), make_model(token_budget=3)
    assert model.truncation is not None
    model.truncation.max_age.fill_(4)
    items = model.encode_items(make_item_table())
    together = model.encode_user(sequences.padded_batch(all_users(sequences), 8), make_profiles(), items)
    for user in range(4):
        user_B = torch.tensor([user])
        alone = model.encode_user(sequences.padded_batch(user_B, 8), make_profiles().select(user_B), items)
        assert torch.allclose(together.z_ND[user], alone.z_ND[0], atol=1e-5)
    full = make_model().encode_user(sequences.padded_batch(all_users(sequences), 8), make_profiles(), items)
    assert not torch.allclose(full.z_ND[3], together.z_ND[3])


@pytest.mark.parametrize("budget", [0, 2])
def test_training_encodes_the_kept_interactions_only(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    user_data, model = make_user_data((3, 8, 5, 8)), make_model(token_budget=budget)
    if model.truncation is not None:
        model.truncation.max_age.fill_(3)
    lengths, encode = [], model.encode_sequence
    monkeypatch.setattr(
        model,
        "encode_sequence",
        lambda batch, *rest: lengths.append(batch.mask_BT.shape[1]) or encode(batch, *rest),
    )
    loss = compute_losses(model, make_item_table(), user_data, torch.arange(4), OBJECTIVE)["total"]
    loss.backward()
    assert lengths[0] == 8 if budget == 0 else lengths[0] <= 4
    expected = user_data.sequences.lengths if budget == 0 else None
    read = model.read_lengths(user_data.sequences)
    assert torch.equal(read, expected) if expected is not None else int(read.max()) <= 4
