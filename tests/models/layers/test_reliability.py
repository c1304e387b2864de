"""Reliability: the gate finds modalities that do not belong to their video, and weighs them less."""

from dataclasses import replace

import pytest
import torch

from models.data.items import ItemTable
from models.layers.projections import ModalityProjections
from models.layers.reliability import ModalityReliability, corrupt_modalities, reliability_loss
from tests.support.model_inputs import make_item_table, make_model

WIDTHS = {"visual": 12, "text": 10, "audio": 8}
VIDEOS, TOPICS = 400, 12


def make_agreeing_items(seed: int = 0) -> ItemTable:
    """Videos whose modalities show the same topic, each in its own space."""
    generator = torch.Generator().manual_seed(seed)
    topic_V = torch.randint(TOPICS, (VIDEOS,), generator=generator)
    features = {}
    for name, width in WIDTHS.items():
        centre_XF = torch.randn(TOPICS, width, generator=torch.Generator().manual_seed(width))
        features[name] = centre_XF[topic_V] + 0.2 * torch.randn(VIDEOS, width, generator=generator)
    has_VM = torch.ones(VIDEOS, len(WIDTHS), dtype=torch.bool)
    return ItemTable(features, has_VM, torch.arange(VIDEOS))


def swap_audio(item_table: ItemTable, count: int) -> ItemTable:
    """The first videos have the sound of another topic."""
    features = dict(item_table.modality_features)
    features["audio"] = features["audio"].clone()
    features["audio"][:count] = features["audio"][torch.arange(count) + VIDEOS // 2]
    return replace(item_table, modality_features=features)


@pytest.fixture(scope="module")
def trained() -> tuple[ModalityReliability, ModalityProjections]:
    """A gate that was trained on videos of which 40 have a wrong sound, with aligned projections."""
    torch.manual_seed(0)
    item_table, projections = swap_audio(make_agreeing_items(), 40), ModalityProjections(WIDTHS, 16)
    shared = torch.randn(TOPICS, 16)
    for name, head in projections.heads.items():  # each topic has one direction in the shared space
        centre_XF = torch.randn(TOPICS, WIDTHS[name], generator=torch.Generator().manual_seed(WIDTHS[name]))
        head.linear.weight.data = torch.linalg.lstsq(centre_XF, shared).solution.T.contiguous()
        head.init_from_statistics(item_table.modality_features[name])  # type: ignore[operator]
    gate = ModalityReliability(3, 16)
    optimizer = torch.optim.AdamW(gate.parameters(), lr=0.01)
    for _ in range(150):
        total, count = reliability_loss(gate, projections, item_table.select(torch.randperm(VIDEOS)[:128]))
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    return gate, projections


def test_corrupted_modalities_are_less_reliable_than_clean_ones(
    trained: tuple[ModalityReliability, ModalityProjections],
) -> None:
    gate, projections = trained
    item_table = swap_audio(make_agreeing_items(seed=1), 40)  # videos that the gate has not seen
    x_VMD = projections(item_table)
    r_VM = torch.sigmoid(gate(x_VMD, item_table.has_VM))
    corrupted, clean = r_VM[:40, 2], r_VM[40:, 2]
    assert corrupted.mean() < clean.mean() - 0.3
    assert (corrupted[:, None] < clean).float().mean() > 0.85  # AUC
    weight_VM = gate.weights(x_VMD, item_table.has_VM)
    assert weight_VM[:40, 2].mean() < 0.85 < 1.05 < weight_VM[:40, :2].mean()


def test_noise_is_less_reliable_than_a_clean_modality(
    trained: tuple[ModalityReliability, ModalityProjections],
) -> None:
    gate, projections = trained
    item_table = make_agreeing_items(seed=2)
    torch.manual_seed(3)
    features = dict(item_table.modality_features)
    features["text"] = projections.noise("text", VIDEOS)
    noisy = replace(item_table, modality_features=features)
    clean_r_VM, noisy_r_VM = (
        torch.sigmoid(gate(projections(x), item_table.has_VM)) for x in (item_table, noisy)
    )
    assert noisy_r_VM[:, 1].mean() < clean_r_VM[:, 1].mean() - 0.3


def test_weights_have_mean_1_and_a_single_modality_has_weight_1() -> None:
    item_table, model = make_item_table(), make_model(reliability=True)
    x_VMD, has_VM = model.item_fusion.projections(item_table), item_table.has_VM
    assert model.item_fusion.reliability is not None
    weight_VM = model.item_fusion.reliability.weights(x_VMD, has_VM)
    mean_V = (weight_VM * has_VM).sum(1) / has_VM.sum(1).clamp(min=1)
    assert torch.allclose(mean_V[has_VM.any(1)], torch.ones(()), atol=1e-5)
    assert weight_VM[1, 0] == 1  # video 1 has one modality
    assert not torch.allclose(weight_VM, torch.ones(()))


def test_the_weights_scale_the_modality_embeddings() -> None:
    item_table, model = make_item_table(), make_model(reliability=True)
    assert model.item_fusion.reliability is not None
    x_VMD = model.item_fusion.projections(item_table)
    weight_VM = model.item_fusion.reliability.weights(x_VMD, item_table.has_VM)
    assert torch.allclose(model.encode_items(item_table).x_VMD, x_VMD * weight_VM[:, :, None])


def test_only_the_reliability_loss_trains_the_gate_and_it_trains_nothing_else() -> None:
    item_table, model = make_item_table(), make_model(reliability=True)
    gate, projections = model.item_fusion.reliability, model.item_fusion.projections
    assert gate is not None
    model.encode_items(item_table).x_VMD.sum().backward()
    assert all(p.grad is None for p in gate.parameters())
    model.zero_grad()
    torch.manual_seed(1)
    reliability_loss(gate, projections, item_table)[0].backward()
    assert all(p.grad is not None and p.grad.any() for p in gate.parameters())
    assert all(p.grad is None or not p.grad.any() for p in projections.parameters())


def test_at_most_one_modality_of_a_video_with_several_is_replaced() -> None:
    torch.manual_seed(0)
    item_table, projections = make_item_table(videos=300), make_model().item_fusion.projections
    corrupted, corrupt_VM = corrupt_modalities(item_table, projections)
    assert corrupt_VM.sum(1).max() == 1
    assert not corrupt_VM[item_table.has_VM.sum(1) < 2].any()
    assert not (corrupt_VM & ~item_table.has_VM).any()
    share = float(corrupt_VM.any(1)[item_table.has_VM.sum(1) > 1].float().mean())
    assert 0.4 < share < 0.6
    for m, (name, x_VF) in enumerate(corrupted.modality_features.items()):
        changed_V = (x_VF != item_table.modality_features[name]).any(1)
        assert not (changed_V & ~corrupt_VM[:, m]).any()
        assert changed_V[corrupt_VM[:, m]].float().mean() > 0.95  # a video may be its own donor
