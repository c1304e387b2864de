from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from models.encoders import hash_weights
from models.encoders.pretraining import (
    MultimodalEncoders,
    PretrainingConfig,
    PretrainingExample,
    contrastive_loss,
    info_nce,
    init_encoders,
    train,
    validation_loss,
    word_bag_loss,
)
from models.seeding import seed_everything

CONFIG = PretrainingConfig(epochs=6, batch_size=8, learning_rate=3e-3, seed=1)
TOPICS = ("red tone", "green hum", "blue noise", "white beat")


@pytest.fixture
def encoders() -> MultimodalEncoders:
    seed_everything()
    return init_encoders()


def examples(encoders: MultimodalEncoders, count: int, seed: int = 0) -> list[PretrainingExample]:
    """Noisy videos of four topics, each with its colour, word and pitch; captions differ."""
    generator, made_examples = np.random.default_rng(seed), []
    for number in range(count):
        topic = number % len(TOPICS)
        colour = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)][topic])
        frames = (colour * generator.uniform(0.6, 1, (2, 64, 64, 1))).astype(np.uint8)
        wave = np.sin(np.arange(16_000) * (0.05 + 0.1 * topic) + generator.uniform(0, 6))
        spectrogram = encoders.audio.spectrograms([wave.astype(np.float32)])[0].half()
        text = f"{TOPICS[topic]} {number}"
        made_examples.append(PretrainingExample((text,), frozenset({text}), {0: frames}, {0: spectrogram}))
    return made_examples


def test_without_shared_topics_the_loss_is_that_of_clip() -> None:
    a_ND, b_ND = (F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(n))) for n in (1, 2))
    target_N = torch.arange(5)
    plain = (F.cross_entropy(9 * a_ND @ b_ND.T, target_N) + F.cross_entropy(9 * b_ND @ a_ND.T, target_N)) / 2
    assert torch.allclose(info_nce(a_ND, b_ND, torch.tensor(9.0), torch.eye(5, dtype=torch.bool)), plain)


@given(st.integers(2, 6), st.data())
def test_pairs_of_one_topic_are_no_negatives(n: int, data: st.DataObject) -> None:
    """With one side's vectors along the axes, a gradient's component i is the pull or push of video i."""
    i, j = data.draw(st.permutations(range(n)))[:2]
    a_ND = torch.eye(n)
    b_ND = F.normalize(torch.randn(n, n, generator=torch.Generator().manual_seed(n)), dim=1).requires_grad_()
    same_topic_NN = torch.zeros(n, n, dtype=torch.bool)
    same_topic_NN[i, j] = same_topic_NN[j, i] = True
    pushed, excluded = (
        torch.autograd.grad(info_nce(a_ND, b_ND, torch.tensor(5.0), mask), b_ND)[0][j, i]
        for mask in (torch.zeros_like(same_topic_NN), same_topic_NN)
    )
    assert pushed > 0  # descent goes the other way: apart
    assert excluded == 0


def test_training_lowers_the_loss_and_keeps_the_best_epoch(
    encoders: MultimodalEncoders,
) -> None:
    training, valid = examples(encoders, 24), examples(encoders, 8, seed=1)
    before = validation_loss(encoders, valid, CONFIG)
    curve = train(encoders, training, valid, CONFIG)
    after = validation_loss(encoders, valid, CONFIG)
    assert len(curve) == CONFIG.epochs
    assert after == pytest.approx(min(epoch["valid_loss"] for epoch in curve))
    assert after < 0.8 * before


def test_training_updates_every_parameter(encoders: MultimodalEncoders) -> None:
    state = {n: {k: t.clone() for k, t in m.named_parameters()} for n, m in enumerate(encoders.models)}
    batch = examples(encoders, 8)
    train(encoders, batch, batch, replace(CONFIG, epochs=1))
    unmoved = [
        name
        for n, model in enumerate(encoders.models)
        for name, tensor in model.named_parameters()
        if torch.equal(tensor, state[n][name])
    ]
    assert unmoved == []


def test_training_is_deterministic_by_seed(encoders: MultimodalEncoders) -> None:
    results = []
    for seed in (1, 1, 2):
        seed_everything(seed)
        fresh_encoders = init_encoders()
        batch = examples(fresh_encoders, 8)
        train(fresh_encoders, batch, batch, replace(CONFIG, epochs=1, seed=seed))
        results.append([hash_weights(model) for model in fresh_encoders.models])
    assert results[0] == results[1]
    assert results[0] != results[2]


@pytest.mark.parametrize("lacking", ["frames", "audio", "texts"])
def test_a_video_may_lack_a_modality(encoders: MultimodalEncoders, lacking: str) -> None:
    batch = examples(encoders, 4)
    batch[1] = replace(batch[1], **{lacking: () if lacking == "texts" else {}})
    assert torch.isfinite(contrastive_loss(encoders, batch, np.random.default_rng(0)))
    all_lacking = [replace(example, **{lacking: () if lacking == "texts" else {}}) for example in batch]
    assert torch.isfinite(contrastive_loss(encoders, all_lacking, np.random.default_rng(0)))


def test_the_word_bag_loss_decreases(
    encoders: MultimodalEncoders,
) -> None:
    optimiser = torch.optim.Adam(encoders.text.model.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        loss = word_bag_loss(encoders, 16, np.random.default_rng(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_a_non_finite_loss_is_an_error(encoders: MultimodalEncoders) -> None:
    batch = examples(encoders, 4)
    with torch.no_grad():
        encoders.image.model.logit_scale.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="lower --learning-rate"):
        train(encoders, batch, batch, CONFIG)
