"""Item embeddings: masks, the ID gate, and values before training."""

from dataclasses import replace

import pytest
import torch

from models.data.items import count_bucket, embedding_lookup
from models.interest_model import InterestModel
from models.layers.projections import ModalityProjection, ModalityProjections
from models.retrieval.item_scores import score_all_pairs
from tests.support.model_inputs import WIDTHS, make_config, make_item_table, make_model


@pytest.fixture
def model() -> InterestModel:
    return make_model()


@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_missing_modalities_change_neither_scores_nor_gradients(model: InterestModel, garbage: float) -> None:
    videos = make_item_table()
    garbage_features = {
        m: torch.where(videos.has_VM[:, i : i + 1], x, garbage)
        for i, (m, x) in enumerate(videos.modality_features.items())
    }
    results = []
    for features in (videos.modality_features, garbage_features):
        model.zero_grad()
        items = model.encode_items(replace(videos, modality_features=features))
        score_NV, _ = score_all_pairs(torch.ones(2, 8), torch.ones(2, 11), items)
        score_NV.sum().backward()
        weight = model.item_fusion.projections.heads["visual"].linear.weight  # type: ignore[union-attr]
        results.append((score_NV.detach(), weight.grad.clone()))  # type: ignore[union-attr, operator]
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_the_id_gate_is_0_for_new_videos_and_1_without_content(model: InterestModel) -> None:
    items = model.encode_items(make_item_table())
    assert items.id_gate_V[9:].eq(0).all()
    assert items.id_gate_V[0] == 1
    assert items.id_gate_V[2:9].gt(0).all()
    assert items.id_gate_V[2:9].lt(1).all()


def test_new_videos_of_different_creators_differ_and_an_unknown_creator_adds_nothing() -> None:
    model = make_model(item_attributes={"creator": ["x", "y"]})
    torch.nn.init.zeros_(model.item_fusion.attribute_embeddings[0].weight[0].data)
    videos = make_item_table()
    codes_VA = torch.zeros(12, 1, dtype=torch.long)
    codes_VA[10:, 0] = torch.tensor([1, 2])
    with_creators = model.encode_items(replace(videos, attribute_VA=codes_VA)).identity_VD
    without = model.encode_items(videos).identity_VD
    assert torch.equal(with_creators[:10], without[:10])
    assert not without[9:].any()  # new videos have no ID
    vector_XD = model.item_fusion.attribute_embeddings[0].weight[1:] * 8**0.5  # type: ignore[index, operator]
    assert torch.allclose(with_creators[10:], vector_XD)


def test_an_unknown_creator_has_no_vector_before_training() -> None:
    embedding = InterestModel(
        make_config(item_attributes={"creator": ["x"]})
    ).item_fusion.attribute_embeddings[0]
    assert not embedding.weight[0].any()
    assert embedding.weight[1].any()


def test_id_dropout_treats_videos_as_new_unless_without_content(model: InterestModel) -> None:
    items = model.encode_items(make_item_table(), torch.ones(12, dtype=torch.bool))
    assert items.id_gate_V[0] == 1
    assert items.id_gate_V[make_item_table().has_VM.any(1)].eq(0).all()


def test_without_modalities_videos_are_scored_by_id() -> None:
    model = make_model(modalities={}, encoder_fingerprints={})
    items = model.encode_items(make_item_table(widths={}))
    score_NV, alpha_MNV = score_all_pairs(torch.randn(2, 8), torch.randn(2, 8), items)
    assert alpha_MNV.shape == (0, 2, 12)
    assert score_NV[:, :9].std() > 0


def test_statistics_standardise_all_but_constant_columns() -> None:
    head = ModalityProjection(2, 4)
    head.init_from_statistics(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert head.mean.tolist() == [2.0, 5.0]
    assert head.std.tolist() == [1.0, 1.0]


def test_each_modality_has_its_own_trained_projection() -> None:
    heads = ModalityProjections(WIDTHS, 8)
    heads(make_item_table()).pow(2).sum().backward()
    assert all(p.grad is not None for p in heads.heads.parameters())


def test_the_temperature_stays_within_its_bounds() -> None:
    heads = ModalityProjections(WIDTHS, 8, temperature=0.2)
    assert heads.temperature.item() == pytest.approx(0.2)
    for initial, bound in ((1e-5, 0.01), (50.0, 1.0)):
        heads.load_state_dict(ModalityProjections(WIDTHS, 8, initial).state_dict())
        heads.clamp_temperature()
        assert heads.temperature.item() == pytest.approx(bound)


def test_standardised_features_are_unit_vectors_or_0() -> None:
    videos = make_item_table()
    for i, features_VF in enumerate(ModalityProjections(WIDTHS, 8).standardised_features(videos)):
        assert torch.allclose(features_VF.norm(dim=1), videos.has_VM[:, i].float())


def test_count_buckets_double() -> None:
    assert count_bucket(torch.tensor([0, 1, 2, 3, 4, 7, 8, 10**9])).tolist() == [0, 1, 2, 2, 3, 3, 4, 23]


def test_initial_biases_rank_by_popularity_and_recency() -> None:
    model = make_model()
    num_positives_I = torch.tensor([5, 0, 9, 1, 1, 2, 3, 4, 8])
    model.item_fusion.init_from_statistics(torch.full((9,), 9), num_positives_I)
    items = model.encode_items(make_item_table())
    score_NV, _ = score_all_pairs(torch.zeros(1, 8), torch.zeros(1, 11), items)
    assert torch.equal(score_NV[0, :9].argsort(stable=True), num_positives_I.argsort(stable=True))
    assert score_NV[0, 9:].eq(0).all()  # without `is_recent_I` a new video has the mean bias
    assert score_NV[0, :9].mean().item() == pytest.approx(0.0, abs=1e-6)
    model.item_fusion.init_from_statistics(torch.full((9,), 9), num_positives_I, torch.arange(9) > 6)
    score_NV, _ = score_all_pairs(
        torch.zeros(1, 8), torch.zeros(1, 11), model.encode_items(make_item_table())
    )
    assert score_NV[0, 9:].detach().numpy() == pytest.approx(score_NV[0, 7:9].mean().item())


def test_id_embeddings_are_scaled_by_the_root_of_the_width(
    model: InterestModel,
) -> None:
    model.item_fusion.id_embedding.weight.data.fill_(1.0)
    norm = model.encode_items(make_item_table()).identity_VD[0].norm().item()
    assert norm == pytest.approx(8.0)  # √D · √D with D = 8


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 3, 4), (6, 0, 4)], ids=str)
@pytest.mark.parametrize(
    "rows", [torch.tensor(5), torch.tensor([0, 0, 2]), torch.zeros(2, 0, dtype=torch.long)]
)
def test_embedding_lookup_equals_indexing(shape: tuple[int, ...], rows: torch.Tensor) -> None:
    x_VX = torch.randn(shape)
    table, reference = (x_VX.clone().requires_grad_() for _ in range(2))
    actual, expected = embedding_lookup(table, rows), reference[rows]
    assert torch.equal(actual, expected)
    actual.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    assert torch.equal(table.grad, reference.grad)  # type: ignore[arg-type]
