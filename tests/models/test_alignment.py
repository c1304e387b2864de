"""The contrastive loss against its definition, what is no negative, and what retrieval and drift mean."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models import losses
from models.alignment import Twins, alignment_loss, anchor_loss, drift, farthest, retrieval

TEN = torch.tensor(0.1)


def no_twins(videos: int) -> Twins:
    return Twins([torch.zeros(videos, 1)], 0.99)


def both(videos: int, modalities: int = 2) -> Tensor:
    return torch.ones(videos, modalities, dtype=torch.bool)


def info_nce(a_ND: Tensor, b_ND: Tensor, temperature: float = 0.1) -> float:
    """CLIP's loss as its paper writes it."""
    logits_NN = F.normalize(a_ND, dim=1) @ F.normalize(b_ND, dim=1).T / temperature
    own_N = torch.arange(len(a_ND))
    return float((F.cross_entropy(logits_NN, own_N) + F.cross_entropy(logits_NN.T, own_N)) / 2)


def gradient(x_VMD: Tensor, has_VM: Tensor, twins: Twins) -> tuple[float, Tensor]:
    x_VMD = x_VMD.clone().requires_grad_()
    loss = alignment_loss(x_VMD, has_VM, TEN, twins)
    loss.backward()
    assert x_VMD.grad is not None
    return float(loss.detach()), x_VMD.grad


def test_two_modalities_have_the_loss_of_clip_whatever_the_vectors_lengths() -> None:
    x_VMD = torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(0))
    expected = info_nce(x_VMD[:, 0], x_VMD[:, 1])
    assert float(alignment_loss(x_VMD, both(8), TEN, no_twins(8))) == pytest.approx(expected, rel=1e-5)
    longer = x_VMD * torch.tensor([7.0, 0.3])[:, None]
    assert float(alignment_loss(longer, both(8), TEN, no_twins(8))) == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_log_n_where_all_look_the_same_and_near_zero_for_perfect_pairs() -> None:
    same = alignment_loss(torch.ones(6, 2, 3), both(6), TEN, no_twins(6))
    assert float(same) == pytest.approx(math.log(6), rel=1e-5)
    perfect = torch.eye(6)[:, None].expand(-1, 2, -1)
    assert float(alignment_loss(perfect, both(6), TEN, no_twins(6))) < 1e-3


def test_a_pair_uses_only_videos_that_have_both_and_the_loss_is_the_mean_over_pairs() -> None:
    x_VMD = torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(0))
    has_VM = torch.tensor([[1, 1, 0]] * 3 + [[1, 1, 1]] * 2 + [[1, 0, 0], [0, 1, 0]], dtype=torch.bool)
    pairs = [
        info_nce(x_VMD[:5, 0], x_VMD[:5, 1]),
        *(info_nce(x_VMD[3:5, m], x_VMD[3:5, 2]) for m in (0, 1)),
    ]
    found = alignment_loss(x_VMD, has_VM, TEN, no_twins(7))
    assert float(found) == pytest.approx(sum(pairs) / 3, rel=1e-5)
    assert float(alignment_loss(x_VMD[:, :1], has_VM[:, :1], TEN, no_twins(7))) == 0.0


@given(seed=st.integers(0, 10**6), videos=st.integers(2, 9), garbage=st.floats(-1e6, 1e6))
def test_what_a_missing_modality_holds_cannot_matter(seed: int, videos: int, garbage: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    x_VMD = torch.randn(videos, 3, 4, generator=draw)
    has_VM = torch.rand(videos, 3, generator=draw) < 0.6
    dirty_VMD = torch.where(has_VM[:, :, None], x_VMD, garbage)
    clean, dirty = (gradient(x, has_VM, no_twins(videos)) for x in (x_VMD, dirty_VMD))
    assert clean[0] == dirty[0]
    assert torch.equal(clean[1], dirty[1])
    assert not dirty[1][~has_VM].any()


@st.composite
def with_twins(draw: st.DrawFn) -> tuple[Tensor, Tensor, Twins]:
    """Random vectors of some videos, and which of them are copies of an earlier one in the third modality."""
    videos = draw(st.integers(2, 8))
    of_V = torch.tensor([draw(st.integers(0, i)) for i in range(videos)])
    original_V = torch.where(of_V < torch.arange(videos), of_V, torch.arange(videos))
    x_VMD = torch.randn(videos, 2, 4, generator=torch.Generator().manual_seed(draw(st.integers(0, 10**6))))
    look_VF = torch.eye(videos)[original_V]
    return x_VMD, look_VF @ look_VF.T > 0.5, Twins([torch.zeros(videos, 3), look_VF], 0.99)


@given(with_twins())
def test_twins_are_left_out_of_the_softmax_and_get_no_gradient_from_each_other(
    case: tuple[Tensor, Tensor, Twins],
) -> None:
    x_VMD, twin_VV, twins = case
    own_V = torch.arange(len(x_VMD))
    leaf_VMD = x_VMD.clone().requires_grad_()
    unit_VMD = F.normalize(leaf_VMD, dim=2)
    logits_VV = unit_VMD[:, 0] @ unit_VMD[:, 1].T / 0.1
    logits_VV.retain_grad()
    kept_VV = logits_VV.masked_fill(twin_VV & ~torch.eye(len(x_VMD), dtype=torch.bool), -torch.inf)
    expected = (F.cross_entropy(kept_VV, own_V) + F.cross_entropy(kept_VV.T, own_V)) / 2
    expected.backward()
    found, slope_VMD = gradient(x_VMD, both(len(x_VMD)), twins)
    assert found == pytest.approx(float(expected.detach()), abs=1e-5)
    assert leaf_VMD.grad is not None
    assert logits_VV.grad is not None
    assert torch.allclose(slope_VMD, leaf_VMD.grad, atol=1e-5)
    assert not logits_VV.grad[twin_VV & ~torch.eye(len(x_VMD), dtype=torch.bool)].any()


def test_a_batch_of_nothing_but_one_video_uploaded_again_teaches_nothing() -> None:
    x_VMD = torch.randn(5, 2, 4)
    same = Twins([F.normalize(torch.ones(5, 3), dim=1)], 0.99)
    assert gradient(x_VMD, both(5), same)[1].abs().max() < 1e-7
    assert gradient(x_VMD, both(5), no_twins(5))[1].abs().max() > 1e-3


def test_a_re_upload_is_pushed_apart_without_care_and_not_with_it() -> None:
    """Videos 0 and 1 show the same and are told of in other words; what 0 shows stays near what 1 says."""
    draw = torch.Generator().manual_seed(0)
    look_VF = F.normalize(torch.randn(6, 8, generator=draw), dim=1)
    look_VF[1] = look_VF[0]
    likeness = []
    for twins in (Twins([look_VF], 0.99), no_twins(6)):
        says_VD = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
        says_VD[1] = says_VD[0] + 0.1
        shows_VD = look_VF @ torch.randn(8, 4, generator=torch.Generator().manual_seed(2))
        x_VMD = torch.stack([shows_VD, says_VD], 1).requires_grad_()
        for _ in range(200):
            (slope,) = torch.autograd.grad(alignment_loss(x_VMD, both(6), TEN, twins), x_VMD)
            x_VMD = (x_VMD - 0.5 * slope).detach().requires_grad_()
        unit_VMD = F.normalize(x_VMD.detach(), dim=2)
        likeness.append(float(unit_VMD[0, 0] @ unit_VMD[1, 1]))
    assert likeness[0] > 0.8
    assert likeness[1] < likeness[0] - 0.3


def test_videos_are_twins_by_any_modality_and_missing_ones_are_never_alike() -> None:
    look_MVF = [torch.eye(3), torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.8, 0.6]]), torch.zeros(3, 2)]
    expected = torch.eye(3, dtype=torch.bool)
    assert torch.equal(Twins(look_MVF, 0.9).of(torch.arange(3)), expected)
    expected[0, 2] = expected[2, 0] = True
    assert torch.equal(Twins(look_MVF, 0.8).of(torch.arange(3)), expected)


def test_chunks_give_the_same_loss_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    x_VMD, has_VM = torch.randn(40, 3, 4, generator=draw), torch.rand(40, 3, generator=draw) < 0.8
    twins = Twins([F.normalize(torch.randn(40, 3, generator=draw), dim=1)], 0.95)
    whole = gradient(x_VMD, has_VM, twins)
    monkeypatch.setattr(losses, "CHUNK_SCORES", 200)
    parts = gradient(x_VMD, has_VM, twins)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert torch.allclose(parts[1], whole[1], atol=1e-6)


def test_retrieval_is_perfect_for_equal_vectors_and_chance_for_noise() -> None:
    draw = torch.Generator().manual_seed(0)
    x_VMD, names = torch.randn(400, 2, 16, generator=draw), ["visual", "text"]
    same = retrieval(x_VMD[:, :1].expand(-1, 2, -1), both(400), no_twins(400), names)["visual-text"]
    assert same["from_visual"] == same["from_text"] == {"recall@1": 1.0, "recall@10": 1.0}
    assert same["alignment"] == pytest.approx(0.0, abs=1e-6)
    noise = retrieval(x_VMD, both(400), no_twins(400), names)["visual-text"]
    assert noise["chance"] == {"recall@1": 1 / 400, "recall@10": 10 / 400}
    assert noise["from_text"]["recall@10"] == pytest.approx(0.025, abs=0.025)
    assert noise["alignment"] == pytest.approx(2.0, abs=0.1)
    assert noise["uniformity"] < -3


def test_recall_tells_the_two_directions_apart() -> None:
    """Every text is nearest to its picture, but picture 0 is nearest to the text of picture 1."""
    angle_VM = torch.deg2rad(torch.tensor([[0.0, -30.0], [40.0, 21.0]]))
    x_VMD = torch.stack([angle_VM.cos(), angle_VM.sin()], 2)
    found = retrieval(x_VMD, both(2), no_twins(2), ["visual", "text"])
    assert found["visual-text"]["from_visual"]["recall@1"] == 0.5
    assert found["visual-text"]["from_text"]["recall@1"] == 1.0


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_space_that_has_collapsed_finds_nothing(value: float) -> None:
    found = retrieval(torch.full((30, 2, 4), value), both(30), no_twins(30), ["visual", "text"])
    assert found["visual-text"]["from_visual"] == {"recall@1": 0.0, "recall@10": 0.0}


def test_a_twin_does_not_stand_in_the_way_of_a_video_and_chance_knows() -> None:
    x_VMD = torch.eye(4)[:, None].repeat(1, 2, 1)
    x_VMD[[0, 1], 1] = x_VMD[[1, 0], 1] + 0.5 * x_VMD[[0, 1], 1]  # each of the two has the other's text
    look_VF = torch.eye(4)
    look_VF[1] = look_VF[0]
    found = [
        retrieval(x_VMD, both(4), twins, ["visual", "text"])["visual-text"]
        for twins in (Twins([look_VF], 0.99), no_twins(4))
    ]
    assert [one["from_visual"]["recall@1"] for one in found] == [1.0, 0.5]
    assert found[0]["chance"]["recall@1"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 4 + 1 / 4) / 4)


def test_drift_is_one_minus_the_cosine_of_the_videos_that_have_the_modality() -> None:
    last_PMD = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    x_PMD = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 5.0], [0.0, 0.0]]])
    has_PM = torch.tensor([[True, True], [True, False]])
    found = drift(x_PMD, last_PMD, has_PM, ["visual", "text"])
    assert found["visual"] == {"videos": 2, "mean": pytest.approx(0.0), "p95": pytest.approx(0.0)}
    assert found["text"] == {"videos": 1, "mean": pytest.approx(1.0), "p95": pytest.approx(1.0)}
    assert farthest(found) == pytest.approx(1.0)
    assert farthest({}) == 0.0
    assert float(anchor_loss(x_PMD, last_PMD, has_PM)) == pytest.approx(1 / 3)
