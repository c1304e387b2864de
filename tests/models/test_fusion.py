"""All videos in one space: masks, the ID gate, what training starts from."""

from dataclasses import replace

import pytest
import torch

from models.fusion import Projection, Projections, look_up, view_bucket
from models.interest import InterestModel
from models.matching import score
from tests.models.worlds import WIDTHS, catalogue, model


@pytest.fixture
def made() -> InterestModel:
    return model()


@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_what_stands_in_a_missing_modality_changes_nothing_not_even_a_gradient(
    made: InterestModel, garbage: float
) -> None:
    videos = catalogue()
    dirty = {
        m: torch.where(videos.has_VM[:, i : i + 1], x, garbage)
        for i, (m, x) in enumerate(videos.features.items())
    }
    grown = []
    for features in (videos.features, dirty):
        made.zero_grad()
        items = made.items(replace(videos, features=features))
        score_NV, _ = score(torch.ones(2, 8), torch.ones(2, 11), items)
        score_NV.sum().backward()
        weight = made.fusion.project.heads["visual"].linear.weight  # type: ignore[union-attr]
        grown.append((score_NV.detach(), weight.grad.clone()))  # type: ignore[union-attr, operator]
    assert torch.equal(grown[0][0], grown[1][0])
    assert torch.equal(grown[0][1], grown[1][1])


def test_a_new_video_is_all_content_and_one_without_content_is_all_id(made: InterestModel) -> None:
    items = made.items(catalogue())
    assert items.g_V[9:].eq(0).all()
    assert items.g_V[0] == 1
    assert items.g_V[2:9].gt(0).all()
    assert items.g_V[2:9].lt(1).all()


def test_a_dropped_video_is_treated_as_new_unless_it_has_nothing_but_its_id(made: InterestModel) -> None:
    items = made.items(catalogue(), torch.ones(12, dtype=torch.bool))
    assert items.g_V[0] == 1
    assert items.g_V[catalogue().has_VM.any(1)].eq(0).all()


def test_a_data_set_without_any_modality_works_on_ids_alone() -> None:
    made = model(modalities={}, fingerprints={})
    items = made.items(catalogue(widths={}))
    score_NV, alpha_MNV = score(torch.randn(2, 8), torch.randn(2, 8), items)
    assert alpha_MNV.shape == (0, 2, 12)
    assert score_NV[:, :9].std() > 0


def test_statistics_standardise_and_a_constant_column_is_left_alone() -> None:
    head = Projection(2, 4)
    head.set_statistics(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert head.center.tolist() == [2.0, 5.0]
    assert head.scale.tolist() == [1.0, 1.0]


def test_each_modality_has_its_own_projection_and_all_are_trained() -> None:
    heads = Projections(WIDTHS, 8)
    heads(catalogue()).pow(2).sum().backward()
    assert all(p.grad is not None for p in heads.heads.parameters())


def test_the_temperature_starts_where_it_is_told_and_stays_within_its_bounds() -> None:
    heads = Projections(WIDTHS, 8, temperature=0.2)
    assert heads.temperature.item() == pytest.approx(0.2)
    for wild, bound in ((1e-5, 0.01), (50.0, 1.0)):
        heads.load_state_dict(Projections(WIDTHS, 8, wild).state_dict())
        heads.bound_temperature()
        assert heads.temperature.item() == pytest.approx(bound)


def test_a_look_is_of_length_one_and_of_nothing_where_the_modality_is_missing() -> None:
    videos = catalogue()
    for i, look_VF in enumerate(Projections(WIDTHS, 8).looks(videos)):
        assert torch.allclose(look_VF.norm(dim=1), videos.has_VM[:, i].float())


def test_view_buckets_double() -> None:
    assert view_bucket(torch.tensor([0, 1, 2, 3, 4, 7, 8, 10**9])).tolist() == [0, 1, 2, 2, 3, 3, 4, 23]


def test_before_training_the_biases_rank_by_popularity_and_a_new_video_is_as_the_newest_known_ones() -> None:
    made = model()
    liked_I = torch.tensor([5, 0, 9, 1, 1, 2, 3, 4, 8])
    made.fusion.start_from(torch.full((9,), 9), liked_I)
    items = made.items(catalogue())
    score_NV, _ = score(torch.zeros(1, 8), torch.zeros(1, 11), items)
    assert torch.equal(score_NV[0, :9].argsort(stable=True), liked_I.argsort(stable=True))
    assert score_NV[0, 9:].eq(0).all()  # which are the newest is not known
    assert score_NV[0, :9].mean().item() == pytest.approx(0.0, abs=1e-6)
    made.fusion.start_from(torch.full((9,), 9), liked_I, torch.arange(9) > 6)
    score_NV, _ = score(torch.zeros(1, 8), torch.zeros(1, 11), made.items(catalogue()))
    assert score_NV[0, 9:].detach().numpy() == pytest.approx(score_NV[0, 7:9].mean().item())


def test_the_id_of_a_video_is_as_long_as_content_at_the_scale_that_it_is_learned_at(
    made: InterestModel,
) -> None:
    made.fusion.id.weight.data.fill_(1.0)
    assert made.items(catalogue()).id_VD[0].norm().item() == pytest.approx(8.0)  # √D · √D, D = 8


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 3, 4), (6, 0, 4)], ids=str)
@pytest.mark.parametrize(
    "rows", [torch.tensor(5), torch.tensor([0, 0, 2]), torch.zeros(2, 0, dtype=torch.long)]
)
def test_rows_are_looked_up_as_by_an_index_and_so_are_their_gradients(
    shape: tuple[int, ...], rows: torch.Tensor
) -> None:
    x_VX = torch.randn(shape)
    mine, theirs = (x_VX.clone().requires_grad_() for _ in range(2))
    found, expected = look_up(mine, rows), theirs[rows]
    assert torch.equal(found, expected)
    found.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    assert torch.equal(mine.grad, theirs.grad)  # type: ignore[arg-type]
