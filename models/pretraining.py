"""Contrastive training of the embedded default: what a video shows, says and sounds like falls in one place.

Legend: N videos of a batch, D width, K bags of W words.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm
from transformers import ClapFeatureExtractor

from models.encoders import ImageEncoder, SoundEncoder
from models.encoders.clip import ClipTextEncoder
from models.encoders.default import (
    CLAP_NAME,
    CLIP_NAME,
    EXTRACTION,
    SmallTokenizer,
    untrained_clap,
    untrained_clip,
)
from models.losses import softmax_loss

KEEP_PART = 0.7  # chance of each part of a text to be read in a step, so that each part stands alone
WORDS, WORDS_SEEN = 8, 5  # a bag of words, and how many of them each of its two views shows
MAX_SCALE = 100.0  # CLIP's bound of 1 / temperature


@dataclass(frozen=True)
class Example:
    """A video as training reads it.

    Attributes:
        texts: caption, hashtags, music title: those it has.
        tags: what names its subject; videos that share one are no negatives of each other.
        frames: segment -> pictures [n, S, S, 3] uint8.
        sound: segment -> log-mel levels [1, frames, bands]. One of both has a segment at least.
    """

    texts: tuple[str, ...]
    tags: frozenset[str]
    frames: Mapping[int, np.ndarray]
    sound: Mapping[int, Tensor]


@dataclass(frozen=True)
class Plan:
    """How long and how fast. warmup: share of the steps in which the learning rate rises; then a cosine."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    warmup: float = 0.1


@dataclass(frozen=True)
class Encoders:
    """The three that are trained; pictures and text are halves of one model, which holds the temperature."""

    image: ImageEncoder
    text: ClipTextEncoder
    tokenizer: SmallTokenizer
    sound: SoundEncoder

    @property
    def models(self) -> tuple[nn.Module, nn.Module]:
        return self.image.model, self.sound.model

    @property
    def scale(self) -> Tensor:
        return self.image.model.logit_scale.exp().clamp(max=MAX_SCALE)


def untrained() -> Encoders:
    """The embedded default at its initialisation."""
    cpu = torch.device("cpu")
    clip, clap, tokenizer = untrained_clip(), untrained_clap(), SmallTokenizer()
    return Encoders(
        ImageEncoder(CLIP_NAME, clip, cpu),
        ClipTextEncoder(CLIP_NAME, clip, tokenizer, cpu),
        tokenizer,
        SoundEncoder(CLAP_NAME, clap, ClapFeatureExtractor(**EXTRACTION), cpu),
    )


def train(encoders: Encoders, training: Sequence[Example], held: Sequence[Example], plan: Plan) -> list[dict]:
    """Minimise the loss over the training videos; the weights of the epoch best on `held` stay.

    Returns:
        the curve: loss of each epoch in training and on the held-out videos.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    random = np.random.default_rng(plan.seed)
    parameters = [p for model in encoders.models for p in model.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=plan.learning_rate)
    steps = -(-len(training) // plan.batch_size) * plan.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _rate(steps, plan.warmup))
    curve: list[dict] = []
    best: tuple[float, list[dict]] = (float("inf"), [])
    with tqdm(total=steps, desc="pretrain", unit="step") as bar:
        for _ in range(plan.epochs):
            losses = []
            for rows in _batches(random.permutation(len(training)), plan.batch_size):
                losses.append(_step(encoders, [training[i] for i in rows], optimiser, random))
                schedule.step()
                bar.update()
            curve.append({"loss": float(np.mean(losses)), "held_out": measure(encoders, held, plan)})
            bar.set_postfix(curve[-1])
            if curve[-1]["held_out"] < best[0]:
                best = (curve[-1]["held_out"], [deepcopy(model.state_dict()) for model in encoders.models])
    for model, state in zip(encoders.models, best[1], strict=True):
        model.load_state_dict(state)
    return curve


@torch.no_grad()
def measure(encoders: Encoders, held: Sequence[Example], plan: Plan) -> float:
    """The contrastive loss on the held-out videos, always of the same draws."""
    random = np.random.default_rng(plan.seed)
    parts = _batches(np.arange(len(held)), plan.batch_size)
    losses = [float(contrastive_loss(encoders, [held[i] for i in rows], random)) for rows in parts]
    return float(np.average(losses, weights=[len(rows) for rows in parts]))


def contrastive_loss(encoders: Encoders, batch: Sequence[Example], random: np.random.Generator) -> Tensor:
    """Mean InfoNCE over picture-text, picture-sound and text-sound, each over the videos that have both.

    0 without a pair.
    """
    drawn = [_draw(example, random) for example in batch]
    forwards: dict[str, Callable[[list], Tensor]] = {
        "picture": encoders.image.forward,
        "text": encoders.text.forward,
        "sound": lambda levels: encoders.sound.of_spectrograms(torch.stack(levels).float()),
    }
    vectors = {}
    for kind, forward in forwards.items():
        there = [i for i, things in enumerate(drawn) if kind in things]
        if there:
            made = F.normalize(forward([drawn[i][kind] for i in there]), dim=-1)
            vectors[kind] = dict(zip(there, made, strict=True))
    alike_NN = torch.tensor([[not a.tags.isdisjoint(b.tags) for b in batch] for a in batch])
    losses = []
    for one, other in combinations(vectors.values(), 2):
        both = sorted(one.keys() & other.keys())
        if len(both) > 1:
            a_ND, b_ND = (torch.stack([found[i] for i in both]) for found in (one, other))
            losses.append(info_nce(a_ND, b_ND, encoders.scale, alike_NN[both][:, both]))
    return torch.stack(losses).mean() if losses else 0 * encoders.scale


def info_nce(a_ND: Tensor, b_ND: Tensor, scale: Tensor, alike_NN: Tensor) -> Tensor:
    """Symmetric InfoNCE of unit vectors: row i belongs to row i; rows that are alike are no negatives."""
    score_NN, own_N = scale * a_ND @ b_ND.T, torch.arange(len(a_ND))
    there, back = softmax_loss(score_NN, own_N, alike_NN), softmax_loss(score_NN.T, own_N, alike_NN.T)
    return (there + back) / (2 * len(a_ND))


def word_loss(encoders: Encoders, bags: int, random: np.random.Generator) -> Tensor:
    """Two views of a bag of random words belong together.

    Captions use few words. This keeps a text of others a vector that tells which words are in it.
    """
    tokenizer, model = encoders.tokenizer, encoders.text.model
    words_KW = random.integers(*tokenizer.words, size=(bags, WORDS))
    a_KD, b_KD = (
        F.normalize(
            model.encode_text(tokenizer.rows(random.permuted(words_KW, axis=1)[:, :WORDS_SEEN])), dim=-1
        )
        for _ in range(2)
    )
    return info_nce(a_KD, b_KD, encoders.scale, torch.eye(bags, dtype=torch.bool))


def _step(
    encoders: Encoders,
    batch: Sequence[Example],
    optimiser: torch.optim.Optimizer,
    random: np.random.Generator,
) -> float:
    """One step; the contrastive loss alone is told, so that it can stand beside the held-out one."""
    contrastive = contrastive_loss(encoders, batch, random)
    loss = contrastive + word_loss(encoders, len(batch), random)
    if not bool(torch.isfinite(loss)):
        raise FloatingPointError(f"pretrain: the loss is {loss.item()}; lower --learning-rate")
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(contrastive.detach())


def _batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """As few batches as hold all the rows, as even as can be."""
    return np.array_split(rows, -(-len(rows) // size))


def _draw(example: Example, random: np.random.Generator) -> dict[str, Any]:
    """One segment's sound and one of its frames, and some of the text."""
    segment = random.choice(sorted({*example.frames, *example.sound}))
    things: dict[str, Any] = {}
    if segment in example.frames:
        things["picture"] = random.choice(example.frames[segment])
    if segment in example.sound:
        things["sound"] = example.sound[segment]
    if example.texts:
        things["text"] = _text(example.texts, random)
    return things


def _text(parts: Sequence[str], random: np.random.Generator) -> str:
    """Some of the parts of a text, at least one, in their order."""
    keep = random.random(len(parts)) < KEEP_PART
    keep[random.integers(len(parts))] = True
    return " ".join(part for part, kept in zip(parts, keep, strict=True) if kept)


def _rate(steps: int, warmup: float) -> Callable[[int], float]:
    rise = max(1, round(steps * warmup))
    fall = max(1, steps - rise)
    return lambda n: (n + 1) / rise if n < rise else 0.5 + 0.5 * np.cos(np.pi * (n - rise) / fall)
