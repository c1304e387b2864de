"""Equations (1) and (2): masks before the softmax, and the exact score."""

import pytest
import torch

from models.interest import InterestModel
from models.matching import added, fuse, modality_weights, score, score_pairs
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


@pytest.mark.parametrize("own", [False, True])
def test_what_the_modalities_add_is_the_score_but_for_what_is_the_same_for_all_videos(
    made: InterestModel, own: bool
) -> None:
    items = made.items(catalogue())
    z_ND, u_NE, rows_N = torch.randn(12, 8), torch.randn(12, 11), torch.arange(12)
    own_NMD = torch.randn(12, 3, 8) if own else None
    added_NM = added(z_ND, u_NE, items, rows_N, own_NMD)
    assert added_NM[~items.has_VM].eq(0).all()
    _, alpha_NM = fuse(u_NE, items, rows_N)
    mean_MD = torch.stack([items.x_VMD[items.has_VM[:, m], m].mean(0) for m in range(3)])
    meets_NMD = z_ND[:, None].expand(-1, 3, -1) if own_NMD is None else own_NMD
    same_N = (alpha_NM * (meets_NMD * mean_MD).sum(2)).sum(1) * 8**-0.5 * (1 - items.g_V)
    id_N = items.g_V * (z_ND * items.id_VD).sum(1) * 8**-0.5
    whole_N = score_pairs(z_ND, u_NE, items, rows_N, own_NMD)
    assert torch.allclose(added_NM.sum(1) + same_N + id_N + items.bias_V, whole_N, atol=1e-5)
