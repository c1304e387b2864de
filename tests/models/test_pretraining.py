from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from models.determinism import settle
from models.encoders import weights_digest
from models.pretraining import (
    Encoders,
    Example,
    Plan,
    contrastive_loss,
    info_nce,
    measure,
    train,
    untrained,
    word_loss,
)

PLAN = Plan(epochs=6, batch_size=8, learning_rate=3e-3, seed=1)
KINDS = ("red tone", "green hum", "blue noise", "white beat")


@pytest.fixture
def encoders() -> Encoders:
    settle()
    return untrained()


def examples(encoders: Encoders, count: int, seed: int = 0) -> list[Example]:
    """Videos of four kinds, each with its colour, word and pitch, noisy; every caption is another."""
    random, found = np.random.default_rng(seed), []
    for number in range(count):
        kind = number % len(KINDS)
        colour = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)][kind])
        frames = (colour * random.uniform(0.6, 1, (2, 64, 64, 1))).astype(np.uint8)
        wave = np.sin(np.arange(16_000) * (0.05 + 0.1 * kind) + random.uniform(0, 6))
        levels = encoders.sound.spectrograms([wave.astype(np.float32)])[0].half()
        text = f"{KINDS[kind]} {number}"
        found.append(Example((text,), frozenset({text}), {0: frames}, {0: levels}))
    return found


def test_the_loss_is_that_of_clip_where_nothing_is_alike() -> None:
    a_ND, b_ND = (F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(n))) for n in (1, 2))
    own_N = torch.arange(5)
    plain = (F.cross_entropy(9 * a_ND @ b_ND.T, own_N) + F.cross_entropy(9 * b_ND @ a_ND.T, own_N)) / 2
    assert torch.allclose(info_nce(a_ND, b_ND, torch.tensor(9.0), torch.eye(5, dtype=torch.bool)), plain)


@given(st.integers(2, 6), st.data())
def test_what_is_alike_is_not_pushed_apart(n: int, data: st.DataObject) -> None:
    """With one side's vectors along the axes, a gradient's component i is the pull or push of video i."""
    i, j = data.draw(st.permutations(range(n)))[:2]
    a_ND = torch.eye(n)
    b_ND = F.normalize(torch.randn(n, n, generator=torch.Generator().manual_seed(n)), dim=1).requires_grad_()
    alike_NN = torch.zeros(n, n, dtype=torch.bool)
    alike_NN[i, j] = alike_NN[j, i] = True
    pushed, left = (
        torch.autograd.grad(info_nce(a_ND, b_ND, torch.tensor(5.0), mask), b_ND)[0][j, i]
        for mask in (torch.zeros_like(alike_NN), alike_NN)
    )
    assert pushed > 0  # descent goes the other way: apart
    assert left == 0


def test_training_brings_together_what_belongs_together_and_keeps_the_best_epoch(encoders: Encoders) -> None:
    training, held = examples(encoders, 24), examples(encoders, 8, seed=1)
    before = measure(encoders, held, PLAN)
    curve = train(encoders, training, held, PLAN)
    after = measure(encoders, held, PLAN)
    assert len(curve) == PLAN.epochs
    assert after == pytest.approx(min(epoch["held_out"] for epoch in curve))
    assert after < 0.8 * before


def test_every_tensor_that_is_meant_to_learn_moves(encoders: Encoders) -> None:
    state = {n: {k: t.clone() for k, t in m.named_parameters()} for n, m in enumerate(encoders.models)}
    some = examples(encoders, 8)
    train(encoders, some, some, replace(PLAN, epochs=1))
    still = [
        name
        for n, model in enumerate(encoders.models)
        for name, tensor in model.named_parameters()
        if torch.equal(tensor, state[n][name])
    ]
    assert still == []


def test_the_same_seed_gives_the_same_weights_and_another_one_others(encoders: Encoders) -> None:
    found = []
    for seed in (1, 1, 2):
        settle(seed)
        made = untrained()
        some = examples(made, 8)
        train(made, some, some, replace(PLAN, epochs=1, seed=seed))
        found.append([weights_digest(model) for model in made.models])
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize("lacking", ["frames", "sound", "texts"])
def test_a_video_may_lack_a_modality(encoders: Encoders, lacking: str) -> None:
    some = examples(encoders, 4)
    some[1] = replace(some[1], **{lacking: () if lacking == "texts" else {}})
    assert torch.isfinite(contrastive_loss(encoders, some, np.random.default_rng(0)))
    every = [replace(example, **{lacking: () if lacking == "texts" else {}}) for example in some]
    assert torch.isfinite(contrastive_loss(encoders, every, np.random.default_rng(0)))


def test_two_views_of_the_same_words_are_what_the_word_loss_wants_together(encoders: Encoders) -> None:
    optimiser = torch.optim.Adam(encoders.text.model.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        loss = word_loss(encoders, 16, np.random.default_rng(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_a_loss_that_is_not_finite_is_said(encoders: Encoders) -> None:
    some = examples(encoders, 4)
    with torch.no_grad():
        encoders.image.model.logit_scale.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="lower --learning-rate"):
        train(encoders, some, some, PLAN)
