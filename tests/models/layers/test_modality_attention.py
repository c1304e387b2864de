"""Equations (1) and (2): masks before the softmax, and exact scores."""

import pytest
import torch

from models.interest_model import InterestModel
from models.layers.modality_attention import fuse_modalities, modality_weights
from models.retrieval.item_scores import modality_contributions, score_all_pairs, score_pairs
from tests.support.model_inputs import make_item_table, make_model


@pytest.fixture
def model() -> InterestModel:
    return make_model()


def test_weights_sum_to_1_over_present_modalities() -> None:
    has_VM = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    alpha_VM = modality_weights(torch.randn(3, 3), has_VM, -1)
    assert alpha_VM.sum(1).tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert alpha_VM[1, 1] == 0.0


def test_a_missing_modality_does_not_change_the_other_weights() -> None:
    affinity_M = torch.tensor([0.3, 9.0, -0.4])
    alpha_M = modality_weights(affinity_M, torch.tensor([True, False, True]), 0)
    assert torch.allclose(alpha_M[[0, 2]], torch.softmax(affinity_M[[0, 2]], 0))


def test_the_score_equals_the_product_with_the_fused_video(model: InterestModel) -> None:
    items = model.encode_items(make_item_table())
    z_ND, u_NW = torch.randn(4, 8), torch.randn(4, 11)
    score_NV, alpha_MNV = score_all_pairs(z_ND, u_NW, items)
    for video in range(12):
        f_ND, alpha_NM = fuse_modalities(u_NW, items, torch.full((4,), video))
        assert torch.allclose(alpha_NM, alpha_MNV[:, :, video].T, atol=1e-6)
        direct_N = (z_ND * f_ND).sum(1) * 8**-0.5 + items.bias_V[video]
        assert torch.allclose(direct_N, score_NV[:, video], atol=1e-5)


@pytest.mark.parametrize("own", [False, True])
def test_pair_scores_equal_catalogue_scores(model: InterestModel, own: bool) -> None:
    items = model.encode_items(make_item_table())
    z_ND, u_NW, modality_z_NMD = torch.randn(4, 8), torch.randn(4, 11), torch.randn(4, 3, 8) if own else None
    score_NV, _ = score_all_pairs(z_ND, u_NW, items, modality_z_NMD)
    for video in range(12):
        score_N = score_pairs(z_ND, u_NW, items, torch.full((4,), video), modality_z_NMD)
        assert torch.allclose(score_N, score_NV[:, video], atol=1e-5)


def test_without_a_content_part_scores_are_those_of_an_empty_one(model: InterestModel) -> None:
    items, rows_N = model.encode_items(make_item_table()), torch.arange(4)
    z_ND, tag_NM = torch.randn(4, 8), torch.randn(4, 3)
    empty_NW = torch.nn.functional.pad(tag_NM, (8, 0))
    for score in (
        lambda u_NW: score_all_pairs(z_ND, u_NW, items)[0],
        lambda u_NW: score_pairs(z_ND, u_NW, items, rows_N),
        lambda u_NW: fuse_modalities(u_NW, items, rows_N)[0],
    ):
        assert torch.equal(score(tag_NM), score(empty_NW))


def test_modality_logits_of_the_user_hold_for_every_video(model: InterestModel) -> None:
    items = model.encode_items(make_item_table())
    u_NW = torch.zeros(1, 11)
    u_NW[0, 8:] = torch.tensor([0.5, 0.3, 0.2]).log()
    _, alpha_MNV = score_all_pairs(torch.randn(1, 8), u_NW, items)
    full_V = make_item_table().has_VM.all(1)
    assert torch.allclose(
        alpha_MNV[:, 0, full_V].T, torch.tensor([0.5, 0.3, 0.2]).expand(int(full_V.sum()), 3)
    )


@pytest.mark.parametrize("own", [False, True])
def test_contributions_add_up_to_the_score(model: InterestModel, own: bool) -> None:
    items = model.encode_items(make_item_table())
    z_ND, u_NW, rows_N = torch.randn(12, 8), torch.randn(12, 11), torch.arange(12)
    modality_z_NMD = torch.randn(12, 3, 8) if own else None
    contribution_NM = modality_contributions(z_ND, u_NW, items, rows_N, modality_z_NMD)
    assert contribution_NM[~items.has_VM].eq(0).all()
    _, alpha_NM = fuse_modalities(u_NW, items, rows_N)
    mean_MD = torch.stack([items.x_VMD[items.has_VM[:, m], m].mean(0) for m in range(3)])
    user_vector_NMD = z_ND[:, None].expand(-1, 3, -1) if modality_z_NMD is None else modality_z_NMD
    same_N = (alpha_NM * (user_vector_NMD * mean_MD).sum(2)).sum(1) * 8**-0.5 * (1 - items.id_gate_V)
    id_N = (z_ND * items.identity_VD).sum(1) * 8**-0.5
    whole_N = score_pairs(z_ND, u_NW, items, rows_N, modality_z_NMD)
    assert torch.allclose(contribution_NM.sum(1) + same_N + id_N + items.bias_V, whole_N, atol=1e-5)
