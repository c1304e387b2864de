"""What was liked: of everybody, of a batch, and as a matrix."""

from dataclasses import replace

import torch

from models.likes import known_likes, liked, liked_rows, matrix
from tests.models.baselines.planted import catalogue, world
from tests.models.worlds import histories


def test_what_was_liked_is_counted_once_a_person() -> None:
    past = histories((3, 0, 6))
    found = liked(past)
    for user, (start, end) in enumerate([(0, 3), (3, 3), (3, 9)]):
        mine = past.video_E[start:end][past.positive_E[start:end]].tolist()
        assert found.row_E[found.offsets[user] : found.offsets[user + 1]].tolist() == sorted(set(mine))


def test_only_videos_of_training_are_likes() -> None:
    events = world()[0]
    row_V = torch.where(torch.arange(40) < 20, torch.arange(40), -1)
    likes = known_likes(events, row_V)
    assert int(likes.row_E.max()) < 20
    assert int(likes.offsets[-1]) == len(likes.row_E)
    mine = set(events.video_E[:12][events.positive_E[:12]].tolist())
    assert set(likes.row_E[: likes.offsets[1]].tolist()) == {row for row in mine if row < 20}


def test_what_was_liked_is_read_once_each_in_order_and_known_videos_only() -> None:
    events = world()[0]
    batch = events.batch(torch.arange(1), 6)
    batch = replace(
        batch,
        video_BT=torch.tensor([[7, 3, 7, 9, 50, 2]]),
        positive_BT=torch.tensor([[True, True, True, False, True, True]]),
    )
    row_BT, mask_BT = liked_rows(batch, catalogue(60).id_row_V)
    assert row_BT.tolist() == [[7, 3, 2]]
    assert mask_BT.all()


def test_as_a_matrix_there_is_a_one_for_each_like() -> None:
    likes = liked(histories())
    liked_UV = matrix(likes, 12).toarray()
    assert liked_UV.sum() == len(likes.row_E)
    users_B = torch.arange(len(likes.offsets) - 1)
    assert (torch.from_numpy(liked_UV) == likes.mask(users_B, 12)).all()
