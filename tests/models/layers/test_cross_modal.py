"""Cross-modal attention and token fusion: what a modality reads, and which tokens count."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.data.items import ItemTable
from models.data.segment_grid import SEGMENT_MS_KEY
from models.data.segments import build_segment_table
from models.layers.cross_modal import CrossFusion
from tests.support.model_inputs import WIDTHS, make_item_table, make_model

TWO_SEGMENTS = torch.tensor([[3, 0], [3, 1], [5, 0]])  # video and segment of each visual vector


def embeddings(item_table: ItemTable, **changes: object) -> Tensor:
    return make_model(**changes).encode_items(item_table).x_VMD.detach()


def test_cross_fusion_starts_at_the_identity() -> None:
    x_VMD, item_table = torch.randn(12, 3, 8), make_item_table()
    x_VMD = x_VMD * item_table.has_VM[:, :, None]
    model = make_model(fusion="cross")
    assert torch.equal(CrossFusion(8)(x_VMD, item_table, model.item_fusion.projections), x_VMD)


def test_cross_fusion_equals_the_formula_and_never_reads_a_missing_modality() -> None:
    item_table, model = make_item_table(), make_model(fusion="cross")
    layer, x_VMD = model.item_fusion.early_fusion, model.item_fusion.projections(item_table)
    assert isinstance(layer, CrossFusion)
    q_VMD, k_VMD, v_VMD = layer.qkv(x_VMD).chunk(3, -1)
    expected = x_VMD.clone()
    for v, m in item_table.has_VM.nonzero().tolist():
        others = [k for k in range(len(WIDTHS)) if k != m and item_table.has_VM[v, k]]
        if others:
            weight_X = torch.softmax(q_VMD[v, m] @ k_VMD[v, others].T * 8**-0.5, 0)
            expected[v, m] += layer.output_projection.weight @ (weight_X @ v_VMD[v, others])
    assert torch.allclose(model.encode_items(item_table).x_VMD, expected, atol=1e-5)
    assert torch.equal(expected[1], x_VMD[1])  # video 1 has one modality


@pytest.mark.parametrize("fusion", ["cross", "tokens"])
@pytest.mark.parametrize("garbage", [1e6, float("nan")])
def test_values_of_missing_modalities_change_nothing(fusion: str, garbage: float) -> None:
    item_table = make_item_table()
    filled = {
        m: torch.where(item_table.has_VM[:, i : i + 1], x_VF, garbage)
        for i, (m, x_VF) in enumerate(item_table.modality_features.items())
    }
    changed = replace(item_table, modality_features=filled)
    assert torch.equal(embeddings(item_table, fusion=fusion), embeddings(changed, fusion=fusion))


def with_segments(item_table: ItemTable, factor: float = 1.0) -> ItemTable:
    """Two segments of video 3 and one of video 5 have a visual vector. `factor` changes the second."""
    x_NF = torch.randn(3, WIDTHS["visual"], generator=torch.Generator().manual_seed(7))
    x_NF[1] *= factor
    features = {
        SEGMENT_MS_KEY: torch.tensor(5000),
        "visual.segments": x_NF,
        "visual.segment_rows": TWO_SEGMENTS,
    }
    duration_V = torch.full((len(item_table.id_row_V),), 10_000)
    has_VM = item_table.has_VM.clone()
    has_VM[[3, 5], 0] = True
    segments = build_segment_table(duration_V, features, item_table.id_row_V + 1)
    return replace(item_table, has_VM=has_VM, segments=segments)


def test_segments_are_tokens_and_take_the_place_of_their_pooled_vector() -> None:
    plain, changed = (
        embeddings(with_segments(make_item_table(), factor), fusion="tokens") for factor in (1.0, -1.0)
    )
    moved_V = (plain != changed).any(2).any(1)
    assert moved_V.nonzero().flatten().tolist() == [3]
    item_table = with_segments(make_item_table())
    other_pooled = {m: x_VF.clone() for m, x_VF in item_table.modality_features.items()}
    other_pooled["visual"][3] += 1.0
    assert torch.equal(
        embeddings(replace(item_table, modality_features=other_pooled), fusion="tokens"), plain
    )


def test_the_order_of_segments_does_not_matter_but_a_selection_keeps_them() -> None:
    item_table, model = with_segments(make_item_table()), make_model(fusion="tokens")
    rows = torch.tensor([5, 3])
    selected = model.encode_items(item_table.select(rows)).x_VMD
    assert torch.allclose(selected, model.encode_items(item_table).x_VMD[rows], atol=1e-6)


def test_words_are_tokens() -> None:
    words = torch.zeros(12, 4, dtype=torch.long)
    words[4, :2] = torch.tensor([1, 2])
    items = replace(make_item_table(), word_VX=words)
    changes = {"fusion": "tokens", "words": ["cat", "dog"]}
    without, with_words = (embeddings(table, **changes) for table in (make_item_table(), items))
    moved_V = (without != with_words).any(2).any(1)
    assert moved_V[4]
    assert moved_V.sum() == 1


def test_all_tokens_join_into_one_vector_for_each_existing_modality() -> None:
    item_table = with_segments(make_item_table())
    x_VMD = embeddings(item_table, fusion="tokens")
    for v in range(12):
        present_XD = x_VMD[v, item_table.has_VM[v]]
        assert torch.equal(present_XD, present_XD[:1].expand_as(present_XD))
        assert not x_VMD[v, ~item_table.has_VM[v]].any()


def test_chunks_of_videos_give_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    item_table, model = with_segments(make_item_table()), make_model(fusion="tokens")
    whole = model.encode_items(item_table).x_VMD
    monkeypatch.setattr("models.layers.cross_modal.CHUNK_VIDEOS", 5)
    with torch.no_grad():
        assert torch.allclose(model.encode_items(item_table).x_VMD, whole, atol=1e-6)
