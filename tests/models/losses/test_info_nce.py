"""InfoNCE equals its definition; near duplicates, retrieval metrics, embedding drift."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.evaluation.embedding_drift import embedding_drift, max_p95_drift
from models.evaluation.modality_retrieval import retrieval_metrics
from models.losses import softmax
from models.losses.info_nce import NearDuplicates, anchor_loss, info_nce_loss

TEN = torch.tensor(0.1)


def no_near_duplicates(videos: int) -> NearDuplicates:
    return NearDuplicates([torch.zeros(videos, 1)], 0.99)


def all_present(videos: int, modalities: int = 2) -> Tensor:
    return torch.ones(videos, modalities, dtype=torch.bool)


def info_nce(a_ND: Tensor, b_ND: Tensor, temperature: float = 0.1) -> float:
    """CLIP's loss as in its paper."""
    logits_NN = F.normalize(a_ND, dim=1) @ F.normalize(b_ND, dim=1).T / temperature
    target_N = torch.arange(len(a_ND))
    return float((F.cross_entropy(logits_NN, target_N) + F.cross_entropy(logits_NN.T, target_N)) / 2)


def gradient(x_VMD: Tensor, has_VM: Tensor, near_duplicates: NearDuplicates) -> tuple[float, Tensor]:
    x_VMD = x_VMD.clone().requires_grad_()
    loss = info_nce_loss(x_VMD, has_VM, TEN, near_duplicates)
    loss.backward()
    assert x_VMD.grad is not None
    return float(loss.detach()), x_VMD.grad


def test_two_modalities_have_the_loss_of_clip() -> None:
    x_VMD = torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(0))
    expected = info_nce(x_VMD[:, 0], x_VMD[:, 1])
    assert float(info_nce_loss(x_VMD, all_present(8), TEN, no_near_duplicates(8))) == pytest.approx(
        expected, rel=1e-5
    )
    longer = x_VMD * torch.tensor([7.0, 0.3])[:, None]
    assert float(info_nce_loss(longer, all_present(8), TEN, no_near_duplicates(8))) == pytest.approx(
        expected, rel=1e-5
    )


def test_the_loss_is_log_n_for_equal_vectors_and_0_for_perfect_pairs() -> None:
    same = info_nce_loss(torch.ones(6, 2, 3), all_present(6), TEN, no_near_duplicates(6))
    assert float(same) == pytest.approx(math.log(6), rel=1e-5)
    perfect = torch.eye(6)[:, None].expand(-1, 2, -1)
    assert float(info_nce_loss(perfect, all_present(6), TEN, no_near_duplicates(6))) < 1e-3


def test_the_loss_is_the_mean_over_pairs_of_modalities() -> None:
    x_VMD = torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(0))
    has_VM = torch.tensor([[1, 1, 0]] * 3 + [[1, 1, 1]] * 2 + [[1, 0, 0], [0, 1, 0]], dtype=torch.bool)
    pairs = [
        info_nce(x_VMD[:5, 0], x_VMD[:5, 1]),
        *(info_nce(x_VMD[3:5, m], x_VMD[3:5, 2]) for m in (0, 1)),
    ]
    result = info_nce_loss(x_VMD, has_VM, TEN, no_near_duplicates(7))
    assert float(result) == pytest.approx(sum(pairs) / 3, rel=1e-5)
    assert float(info_nce_loss(x_VMD[:, :1], has_VM[:, :1], TEN, no_near_duplicates(7))) == 0.0


@given(seed=st.integers(0, 10**6), videos=st.integers(2, 9), garbage=st.floats(-1e6, 1e6))
def test_missing_modalities_change_nothing(seed: int, videos: int, garbage: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_VMD = torch.randn(videos, 3, 4, generator=generator)
    has_VM = torch.rand(videos, 3, generator=generator) < 0.6
    garbage_VMD = torch.where(has_VM[:, :, None], x_VMD, garbage)
    clean, dirty = (gradient(x, has_VM, no_near_duplicates(videos)) for x in (x_VMD, garbage_VMD))
    assert clean[0] == dirty[0]
    assert torch.equal(clean[1], dirty[1])
    assert not dirty[1][~has_VM].any()


@st.composite
def planted_near_duplicates(draw: st.DrawFn) -> tuple[Tensor, Tensor, NearDuplicates]:
    """Return random vectors, and which videos copy an earlier one in the third modality."""
    videos = draw(st.integers(2, 8))
    of_V = torch.tensor([draw(st.integers(0, i)) for i in range(videos)])
    original_V = torch.where(of_V < torch.arange(videos), of_V, torch.arange(videos))
    x_VMD = torch.randn(videos, 2, 4, generator=torch.Generator().manual_seed(draw(st.integers(0, 10**6))))
    features_VF = torch.eye(videos)[original_V]
    return (
        x_VMD,
        features_VF @ features_VF.T > 0.5,
        NearDuplicates([torch.zeros(videos, 3), features_VF], 0.99),
    )


@given(planted_near_duplicates())
def test_near_duplicates_are_no_negatives_of_each_other(
    case: tuple[Tensor, Tensor, NearDuplicates],
) -> None:
    x_VMD, near_duplicate_VV, near_duplicates = case
    target_V = torch.arange(len(x_VMD))
    leaf_VMD = x_VMD.clone().requires_grad_()
    unit_VMD = F.normalize(leaf_VMD, dim=2)
    logits_VV = unit_VMD[:, 0] @ unit_VMD[:, 1].T / 0.1
    logits_VV.retain_grad()
    kept_VV = logits_VV.masked_fill(near_duplicate_VV & ~torch.eye(len(x_VMD), dtype=torch.bool), -torch.inf)
    expected = (F.cross_entropy(kept_VV, target_V) + F.cross_entropy(kept_VV.T, target_V)) / 2
    expected.backward()
    result, slope_VMD = gradient(x_VMD, all_present(len(x_VMD)), near_duplicates)
    assert result == pytest.approx(float(expected.detach()), abs=1e-5)
    assert leaf_VMD.grad is not None
    assert logits_VV.grad is not None
    assert torch.allclose(slope_VMD, leaf_VMD.grad, atol=1e-5)
    assert not logits_VV.grad[near_duplicate_VV & ~torch.eye(len(x_VMD), dtype=torch.bool)].any()


def test_a_batch_of_near_duplicates_has_no_gradient() -> None:
    x_VMD = torch.randn(5, 2, 4)
    same = NearDuplicates([F.normalize(torch.ones(5, 3), dim=1)], 0.99)
    assert gradient(x_VMD, all_present(5), same)[1].abs().max() < 1e-7
    assert gradient(x_VMD, all_present(5), no_near_duplicates(5))[1].abs().max() > 1e-3


def test_near_duplicates_stay_close_only_when_excluded() -> None:
    """Videos 0 and 1 have the same frames and different texts. The frames of 0 stay near the text of 1."""
    generator = torch.Generator().manual_seed(0)
    features_VF = F.normalize(torch.randn(6, 8, generator=generator), dim=1)
    features_VF[1] = features_VF[0]
    similarities = []
    for near_duplicates in (NearDuplicates([features_VF], 0.99), no_near_duplicates(6)):
        text_VD = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
        text_VD[1] = text_VD[0] + 0.1
        visual_VD = features_VF @ torch.randn(8, 4, generator=torch.Generator().manual_seed(2))
        x_VMD = torch.stack([visual_VD, text_VD], 1).requires_grad_()
        for _ in range(200):
            (slope,) = torch.autograd.grad(info_nce_loss(x_VMD, all_present(6), TEN, near_duplicates), x_VMD)
            x_VMD = (x_VMD - 0.5 * slope).detach().requires_grad_()
        unit_VMD = F.normalize(x_VMD.detach(), dim=2)
        similarities.append(float(unit_VMD[0, 0] @ unit_VMD[1, 1]))
    assert similarities[0] > 0.8
    assert similarities[1] < similarities[0] - 0.3


def test_one_modality_makes_near_duplicates_and_missing_ones_do_not() -> None:
    features_MVF = [torch.eye(3), torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.8, 0.6]]), torch.zeros(3, 2)]
    expected = torch.eye(3, dtype=torch.bool)
    assert torch.equal(NearDuplicates(features_MVF, 0.9).mask(torch.arange(3)), expected)
    expected[0, 2] = expected[2, 0] = True
    assert torch.equal(NearDuplicates(features_MVF, 0.8).mask(torch.arange(3)), expected)


def test_chunks_give_the_same_loss_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x_VMD, has_VM = torch.randn(40, 3, 4, generator=generator), torch.rand(40, 3, generator=generator) < 0.8
    near_duplicates = NearDuplicates([F.normalize(torch.randn(40, 3, generator=generator), dim=1)], 0.95)
    whole = gradient(x_VMD, has_VM, near_duplicates)
    monkeypatch.setattr(softmax, "CHUNK_SCORES", 200)
    parts = gradient(x_VMD, has_VM, near_duplicates)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert torch.allclose(parts[1], whole[1], atol=1e-6)


def test_retrieval_is_perfect_for_equal_vectors_and_at_chance_for_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    x_VMD, names = torch.randn(400, 2, 16, generator=generator), ["visual", "text"]
    same = retrieval_metrics(
        x_VMD[:, :1].expand(-1, 2, -1), all_present(400), no_near_duplicates(400), names
    )["visual-text"]
    assert same["from_visual"] == same["from_text"] == {"recall@1": 1.0, "recall@10": 1.0}
    assert same["alignment"] == pytest.approx(0.0, abs=1e-6)
    noise = retrieval_metrics(x_VMD, all_present(400), no_near_duplicates(400), names)["visual-text"]
    assert noise["chance"] == {"recall@1": 1 / 400, "recall@10": 10 / 400}
    assert noise["from_text"]["recall@10"] == pytest.approx(0.025, abs=0.025)
    assert noise["alignment"] == pytest.approx(2.0, abs=0.1)
    assert noise["uniformity"] < -3


def test_recall_is_measured_in_both_directions() -> None:
    """Every text is nearest to its image, but image 0 is nearest to the text of image 1."""
    angle_VM = torch.deg2rad(torch.tensor([[0.0, -30.0], [40.0, 21.0]]))
    x_VMD = torch.stack([angle_VM.cos(), angle_VM.sin()], 2)
    result = retrieval_metrics(x_VMD, all_present(2), no_near_duplicates(2), ["visual", "text"])
    assert result["visual-text"]["from_visual"]["recall@1"] == 0.5
    assert result["visual-text"]["from_text"]["recall@1"] == 1.0


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_collapsed_space_has_recall_0(value: float) -> None:
    result = retrieval_metrics(
        torch.full((30, 2, 4), value), all_present(30), no_near_duplicates(30), ["visual", "text"]
    )
    assert result["visual-text"]["from_visual"] == {"recall@1": 0.0, "recall@10": 0.0}


def test_recall_and_chance_ignore_near_duplicates() -> None:
    x_VMD = torch.eye(4)[:, None].repeat(1, 2, 1)
    x_VMD[[0, 1], 1] = x_VMD[[1, 0], 1] + 0.5 * x_VMD[[0, 1], 1]  # videos 0 and 1 have each other's text
    features_VF = torch.eye(4)
    features_VF[1] = features_VF[0]
    result = [
        retrieval_metrics(x_VMD, all_present(4), near_duplicates, ["visual", "text"])["visual-text"]
        for near_duplicates in (NearDuplicates([features_VF], 0.99), no_near_duplicates(4))
    ]
    assert [metrics["from_visual"]["recall@1"] for metrics in result] == [1.0, 0.5]
    assert result[0]["chance"]["recall@1"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 4 + 1 / 4) / 4)


def test_embedding_drift_is_the_cosine_distance() -> None:
    last_vMD = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    x_vMD = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 5.0], [0.0, 0.0]]])
    has_vM = torch.tensor([[True, True], [True, False]])
    result = embedding_drift(x_vMD, last_vMD, has_vM, ["visual", "text"])
    assert result["visual"] == {"num_videos": 2, "mean": pytest.approx(0.0), "p95": pytest.approx(0.0)}
    assert result["text"] == {"num_videos": 1, "mean": pytest.approx(1.0), "p95": pytest.approx(1.0)}
    assert max_p95_drift(result) == pytest.approx(1.0)
    assert max_p95_drift({}) == 0.0
    assert float(anchor_loss(x_vMD, last_vMD, has_vM)) == pytest.approx(1 / 3)
