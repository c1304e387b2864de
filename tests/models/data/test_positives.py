"""Positives of all users, of a batch, and as a matrix."""

from dataclasses import replace

import torch

from models.data.positives import known_positives_by_user, positive_id_rows, positives_by_user, to_csr_matrix
from tests.support.model_inputs import make_sequences
from tests.support.planted_preferences import make_item_table, planted_sequences


def test_positives_are_unique_per_user() -> None:
    sequences = make_sequences((3, 0, 6))
    positives = positives_by_user(sequences)
    for user, (start, end) in enumerate([(0, 3), (3, 3), (3, 9)]):
        expected_rows = sequences.video_E[start:end][sequences.positive_E[start:end]].tolist()
        assert positives.row_E[positives.offsets[user] : positives.offsets[user + 1]].tolist() == sorted(
            set(expected_rows)
        )


def test_known_positives_have_an_id_row() -> None:
    sequences = planted_sequences()[0]
    row_V = torch.where(torch.arange(40) < 20, torch.arange(40), -1)
    positives = known_positives_by_user(sequences, row_V)
    assert int(positives.row_E.max()) < 20
    assert int(positives.offsets[-1]) == len(positives.row_E)
    expected_rows = set(sequences.video_E[:12][sequences.positive_E[:12]].tolist())
    assert set(positives.row_E[: positives.offsets[1]].tolist()) == {row for row in expected_rows if row < 20}


def test_positive_rows_are_unique_known_and_in_order() -> None:
    sequences = planted_sequences()[0]
    batch = sequences.padded_batch(torch.arange(1), 6)
    batch = replace(
        batch,
        video_BT=torch.tensor([[7, 3, 7, 9, 45, 2]]),
        positive_BT=torch.tensor([[True, True, True, False, True, True]]),
    )
    row_BT, mask_BT = positive_id_rows(batch, make_item_table(50).id_row_V)
    assert row_BT.tolist() == [[7, 3, 2]]
    assert mask_BT.all()


def test_the_matrix_has_a_1_for_each_positive() -> None:
    positives = positives_by_user(make_sequences())
    positive_UV = to_csr_matrix(positives, 12).toarray()
    assert positive_UV.sum() == len(positives.row_E)
    users_B = torch.arange(len(positives.offsets) - 1)
    assert (torch.from_numpy(positive_UV) == positives.mask(users_B, 12)).all()
