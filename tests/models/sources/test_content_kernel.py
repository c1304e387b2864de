"""The content kernel against a loop over users, events and videos."""

from dataclasses import replace
from math import exp

import pytest
import torch

from models.data.items import ItemTable
from models.sources import content_kernel
from models.sources.content_kernel import ContentKernel
from tests.models.sources.inputs import Event, catalogue, score
from tests.support.model_inputs import BEHAVIOURS, WIDTHS, all_users, make_item_table, make_sequences


def fitted(items: ItemTable) -> ContentKernel:
    source = ContentKernel(9, BEHAVIOURS, WIDTHS, temperature=0.5, prior_kernel=0.7)
    source.init_from_statistics(make_sequences(seed=4), items)
    return source


def kernel(source: ContentKernel, items: ItemTable, a: int, b: int) -> float:
    values = []
    for m, modality in enumerate(WIDTHS):
        if items.has_VM[a, m] and items.has_VM[b, m]:
            mean, std = source.get_buffer(f"mean_{modality}"), source.get_buffer(f"std_{modality}")
            x, y = ((items.modality_features[modality][row] - mean) / std for row in (a, b))
            values.append(exp((float(torch.cosine_similarity(x, y, dim=0)) - 1) / 0.5))
    return sum(values) / len(values) if values else 0.0


@pytest.mark.parametrize("chunk_scores", [1, 5 * 12, 1 << 24])
def test_the_score_is_the_shrunk_kernel_mean_of_the_residuals(monkeypatch, chunk_scores: int) -> None:
    monkeypatch.setattr(content_kernel, "CHUNK_SCORES", chunk_scores)
    items, sequences = make_item_table(), make_sequences()
    source = fitted(items)
    batch = sequences.padded_batch(all_users(sequences), 6)
    residual_BT = source.engagement_residual(batch, items.id_row_V)
    score_BV = source(batch, items)
    assert score_BV.abs().max() > 0.1
    for user, length in enumerate(batch.lengths.tolist()):
        for video in range(12):
            k_T = [kernel(source, items, int(batch.video_BT[user, t]), video) for t in range(length)]
            total = sum(float(residual_BT[user, t]) * k_T[t] for t in range(length))
            assert score_BV[user, video].item() == pytest.approx(total / (0.7 + sum(k_T)), abs=1e-5)


def test_the_features_of_watched_videos_are_standardised() -> None:
    items, sequences = make_item_table(), make_sequences(seed=4)
    source = fitted(items)
    watched = sorted(set(sequences.video_E.tolist()))
    rows = [row for row in watched if items.has_VM[row, 0]]
    assert 1 < len(rows) < 12
    x_NF = items.modality_features["visual"][rows]
    assert torch.allclose(source.get_buffer("mean_visual"), x_NF.mean(0), atol=1e-6)
    assert torch.allclose(source.get_buffer("std_visual"), x_NF.std(0, correction=0), atol=1e-6)


def test_a_new_video_is_scored_as_its_near_duplicate() -> None:
    x_VF = torch.tensor([[1.0, 0], [0, 1], [1, 0.1], [0.1, 1]])
    items = ItemTable({"text": x_VF}, torch.ones(4, 1).bool(), torch.tensor([0, 1, -1, -1]))
    source = ContentKernel(2, BEHAVIOURS, {"text": 2})
    liked, disliked, near_liked, near_disliked = score(
        source, [[Event(0, watch_ratio=1.0), Event(1, watch_ratio=0.0)]], items
    )[0].tolist()
    assert near_disliked < 0 < near_liked
    assert near_liked == pytest.approx(liked, rel=0.2)
    assert near_disliked == pytest.approx(disliked, rel=0.2)


def test_without_content_nothing_is_known() -> None:
    items, sequences = make_item_table(), make_sequences()
    source = fitted(items)
    batch = sequences.padded_batch(all_users(sequences), 6)
    no_mask = replace(items, has_VM=torch.zeros_like(items.has_VM))
    assert not source(batch, no_mask).any()
    assert not source(batch, catalogue(items.id_row_V.tolist())).any()
    assert not source(batch, items)[:, 0].any()  # video 0 has no modality
    unused = ContentKernel(9, BEHAVIOURS, {})
    unused.init_from_statistics(sequences, items)
    assert not unused(batch, items).any()


def test_a_missing_modality_is_left_out() -> None:
    items, sequences = make_item_table(), make_sequences()
    batch, source = sequences.padded_batch(all_users(sequences), 6), fitted(items)
    noisy = {
        modality: torch.where(has_V[:, None], items.modality_features[modality], 1e3)
        for modality, has_V in zip(WIDTHS, items.has_VM.unbind(1), strict=True)
    }
    assert torch.equal(source(batch, items), source(batch, replace(items, modality_features=noisy)))
