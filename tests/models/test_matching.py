"""Equations (1) and (2): masks before the softmax, and the exact score."""

import pytest
import torch

from models.interest import InterestModel
from models.matching import fuse, modality_weights, score, score_pairs
from tests.models.worlds import catalogue, model


@pytest.fixture
def made() -> InterestModel:
    return model()


def test_weights_sum_to_one_over_the_modalities_that_are_there() -> None:
    has_VM = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    alpha_VM = modality_weights(torch.randn(3, 3), has_VM, -1)
    assert alpha_VM.sum(1).tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert alpha_VM[1, 1] == 0.0


def test_two_modalities_weigh_as_if_the_missing_third_did_not_exist() -> None:
    affinity_M = torch.tensor([0.3, 9.0, -0.4])
    alpha_M = modality_weights(affinity_M, torch.tensor([True, False, True]), 0)
    assert torch.allclose(alpha_M[[0, 2]], torch.softmax(affinity_M[[0, 2]], 0))


def test_the_score_of_all_videos_equals_the_product_with_each_fused_video(made: InterestModel) -> None:
    items = made.items(catalogue())
    z_ND, u_NE = torch.randn(4, 8), torch.randn(4, 11)
    score_NV, alpha_MNV = score(z_ND, u_NE, items)
    for video in range(12):
        f_ND, alpha_NM = fuse(u_NE, items, torch.full((4,), video))
        assert torch.allclose(alpha_NM, alpha_MNV[:, :, video].T, atol=1e-6)
        direct_N = (z_ND * f_ND).sum(1) * 8**-0.5 + items.bias_V[video]
        assert torch.allclose(direct_N, score_NV[:, video], atol=1e-5)


@pytest.mark.parametrize("own", [False, True])
def test_the_score_of_a_pair_is_that_of_the_whole_catalogue(made: InterestModel, own: bool) -> None:
    items = made.items(catalogue())
    z_ND, u_NE, own_NMD = torch.randn(4, 8), torch.randn(4, 11), torch.randn(4, 3, 8) if own else None
    score_NV, _ = score(z_ND, u_NE, items, own_NMD)
    for video in range(12):
        score_N = score_pairs(z_ND, u_NE, items, torch.full((4,), video), own_NMD)
        assert torch.allclose(score_N, score_NV[:, video], atol=1e-5)


def test_what_u_says_of_a_modality_as_such_holds_for_every_video_alike(made: InterestModel) -> None:
    items = made.items(catalogue())
    u_NE = torch.zeros(1, 11)
    u_NE[0, 8:] = torch.tensor([0.5, 0.3, 0.2]).log()
    _, alpha_MNV = score(torch.randn(1, 8), u_NE, items)
    full_V = catalogue().has_VM.all(1)
    assert torch.allclose(
        alpha_MNV[:, 0, full_V].T, torch.tensor([0.5, 0.3, 0.2]).expand(int(full_V.sum()), 3)
    )
