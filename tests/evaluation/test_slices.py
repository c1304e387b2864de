import pyarrow as pa
import torch

from evaluation.slices import VideoSliceRanks, rows_by_value
from models.data.targets import Targets

# User 0 likes videos 2 and 3, user 1 likes video 1. Videos 2 and 3 are new.
TARGETS = Targets(torch.tensor([0, 0, 1]), torch.tensor([2, 3, 1]))
NEW_V = torch.tensor([False, False, True, True, False])
SCORES_BV = torch.tensor([[9.0, 8.0, 1.0, 2.0, 7.0], [5.0, 4.0, 3.0, 2.0, 1.0]])


def slice_ranks(
    masks: dict[str, torch.Tensor], score_BV: torch.Tensor, chunk: int = 2
) -> dict[str, list[int]]:
    ranks = VideoSliceRanks(TARGETS, masks)
    for users_B in torch.arange(2).split(chunk):
        ranks.add(users_B, score_BV[users_B])
    return {name: rank_P.tolist() for name, rank_P in ranks.ranks().items()}


def test_targets_are_ranked_among_the_videos_of_their_slice():
    assert slice_ranks({"new_videos": NEW_V, "others": ~NEW_V}, SCORES_BV) == {
        "new_videos": [2, 1],  # among all videos they have the ranks 5 and 4
        "others": [2],
    }


def test_raising_all_videos_of_a_slice_changes_no_rank_in_it():
    masks = {"new_videos": NEW_V}
    assert slice_ranks(masks, SCORES_BV + 100 * NEW_V) == slice_ranks(masks, SCORES_BV)


def test_another_order_within_the_slice_changes_the_ranks():
    swapped_BV = SCORES_BV[:, [0, 1, 3, 2, 4]]
    assert slice_ranks({"new_videos": NEW_V}, swapped_BV) == {"new_videos": [1, 2]}


def test_chunks_of_users_do_not_matter():
    masks = {"new_videos": NEW_V, "others": ~NEW_V}
    assert slice_ranks(masks, SCORES_BV, chunk=1) == slice_ranks(masks, SCORES_BV, chunk=2)


def test_a_hidden_video_is_not_ranked_above_a_target():
    hidden_BV = SCORES_BV.clone()
    hidden_BV[0, 0] = -torch.inf
    masks = {"all": torch.ones(5, dtype=torch.bool)}
    assert slice_ranks(masks, SCORES_BV)["all"] == [5, 4, 2]
    assert slice_ranks(masks, hidden_BV)["all"] == [4, 3, 2]


def test_a_slice_without_targets_is_left_out():
    assert slice_ranks({"empty": torch.zeros(5, dtype=torch.bool)}, SCORES_BV) == {}


def test_rows_are_grouped_by_value_and_null_is_left_out():
    column = pa.chunked_array([["b", None, "a"], ["b", ""]])
    assert [(value, rows.tolist()) for value, rows in rows_by_value(column)] == [
        ("", [4]),
        ("a", [2]),
        ("b", [0, 3]),
    ]
    assert list(rows_by_value(pa.chunked_array([pa.nulls(3, pa.string())]))) == []
