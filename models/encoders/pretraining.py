"""Contrastive training of the embedded default encoders.

Frames, text and audio of the same video get similar embeddings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import ClapFeatureExtractor

from models.encoders import AudioEncoder, ImageEncoder
from models.encoders.clip import ClipImageEncoder, ClipTextEncoder
from models.encoders.default import (
    CLAP_NAME,
    CLIP_NAME,
    FEATURE_EXTRACTOR_CONFIG,
    SmallTokenizer,
    init_clap,
    init_clip,
)
from models.losses.softmax import softmax_loss
from models.training.trainer import Callback, Trainer, TrainingTask

# Each part of a text is left out of some steps, so that every part has a meaning of its own.
TEXT_PART_KEEP_PROBABILITY = 0.7
WORDS_PER_BAG = 8
WORDS_PER_VIEW = 5  # words of a bag in each of its two views
MAX_LOGIT_SCALE = 100.0  # CLIP's bound of 1 / temperature


@dataclass(frozen=True)
class PretrainingExample:
    """A video as training reads it.

    Attributes:
        texts: Those of caption, hashtags and music title that the video has.
        tags: Names of its subject. Videos that share one are not negatives of each other.
        frames: Segment -> images [frames, height, width, 3], uint8.
        audio: Segment -> log-mel spectrogram [1, frames, bands]. A video has frames or audio in at least one
            segment.
    """

    texts: tuple[str, ...]
    tags: frozenset[str]
    frames: Mapping[int, np.ndarray]
    audio: Mapping[int, Tensor]


@dataclass(frozen=True)
class PretrainingConfig:
    """Settings of the training.

    Attributes:
        epochs: Passes over the videos.
        batch_size: Videos in a step.
        learning_rate: The highest learning rate.
        seed: Of all draws.
        warmup_fraction: Share of the steps in which the learning rate rises. Then it falls by half a cosine.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    warmup_fraction: float = 0.1


@dataclass(frozen=True)
class MultimodalEncoders:
    """The encoders that are trained together.

    The image and the text encoder are halves of one CLIP model. That model also holds the temperature.
    """

    image: ImageEncoder
    text: ClipTextEncoder
    tokenizer: SmallTokenizer
    audio: AudioEncoder

    @property
    def models(self) -> tuple[nn.Module, nn.Module]:
        """The CLIP and the CLAP model."""
        return self.image.model, self.audio.model

    @property
    def logit_scale(self) -> Tensor:
        """1 / temperature, at most MAX_LOGIT_SCALE."""
        return self.image.model.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)


def init_encoders() -> MultimodalEncoders:
    """Return the embedded default encoders with their initial weights."""
    cpu = torch.device("cpu")
    clip, clap, tokenizer = init_clip(), init_clap(), SmallTokenizer()
    return MultimodalEncoders(
        ClipImageEncoder(CLIP_NAME, clip, cpu),
        ClipTextEncoder(CLIP_NAME, clip, tokenizer, cpu),
        tokenizer,
        AudioEncoder(CLAP_NAME, clap, ClapFeatureExtractor(**FEATURE_EXTRACTOR_CONFIG), cpu),
    )


def train(
    encoders: MultimodalEncoders,
    train_examples: Sequence[PretrainingExample],
    valid_examples: Sequence[PretrainingExample],
    config: PretrainingConfig,
) -> list[dict]:
    """Train the encoders and keep the weights of the epoch with the lowest validation loss.

    Args:
        encoders: Trained in place.
        train_examples: Videos to train on.
        valid_examples: Held-out videos that select the epoch.
        config: Settings of the training.

    Returns:
        The curve, as in `Trainer.fit`, with `train_loss` and `valid_loss`.

    Raises:
        FloatingPointError: A loss or gradient is not finite.
    """
    task = PretrainingTask(encoders, train_examples, valid_examples, config)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=config.learning_rate)
    num_steps = -(-len(train_examples) // config.batch_size) * config.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(num_steps, config.warmup_fraction))
    return Trainer(task, optimizer, epochs=config.epochs, callbacks=[StepSchedule(schedule)]).fit()


class PretrainingTask(TrainingTask):
    """Training of the encoders on batches of videos. Validation is the loss on held-out videos."""

    name, learning_rate_name = "pretrain", "--learning-rate"

    def __init__(
        self,
        encoders: MultimodalEncoders,
        train_examples: Sequence[PretrainingExample],
        valid_examples: Sequence[PretrainingExample],
        config: PretrainingConfig,
    ) -> None:
        self.encoders, self.model = encoders, nn.ModuleList(encoders.models)
        self.train_examples, self.valid_examples, self.config = train_examples, valid_examples, config
        self.generator = np.random.default_rng(config.seed)

    def set_train_mode(self) -> None:
        """Keep the encoders in evaluation mode, so that their statistics stay fixed. They have no dropout."""

    def epoch_batches(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of the training examples, in batches."""
        return _split_batches(self.generator.permutation(len(self.train_examples)), self.config.batch_size)

    def losses(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Return `total` and `train_loss`, the contrastive loss alone. `valid_loss` compares with it."""
        batch = [self.train_examples[i] for i in rows]
        contrastive = contrastive_loss(self.encoders, batch, self.generator)
        words = word_bag_loss(self.encoders, len(batch), self.generator)
        return {"train_loss": contrastive, "total": contrastive + words}

    def validate(self) -> dict[str, float]:
        return {"valid_loss": validation_loss(self.encoders, self.valid_examples, self.config)}

    def selection_value(self, row: Mapping[str, float]) -> float:
        return -row["valid_loss"]


class StepSchedule(Callback):
    """Advances a learning-rate schedule of torch after each step."""

    def __init__(self, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
        self.schedule = schedule

    def on_step_end(self, trainer: Trainer) -> None:
        self.schedule.step()


@torch.no_grad()
def validation_loss(
    encoders: MultimodalEncoders, examples: Sequence[PretrainingExample], config: PretrainingConfig
) -> float:
    """Return the contrastive loss on the held-out videos. The draws are the same at each call."""
    generator = np.random.default_rng(config.seed)
    batches = _split_batches(np.arange(len(examples)), config.batch_size)
    losses = [float(contrastive_loss(encoders, [examples[i] for i in rows], generator)) for rows in batches]
    return float(np.average(losses, weights=[len(rows) for rows in batches]))


def contrastive_loss(
    encoders: MultimodalEncoders, batch: Sequence[PretrainingExample], generator: np.random.Generator
) -> Tensor:
    """Return the mean InfoNCE over image-text, image-audio and text-audio.

    A pair of modalities uses the videos that have both. The loss is 0 if no two videos have both.

    Args:
        encoders: Of the three modalities.
        batch: Videos. A random part of each is read.
        generator: Of the draws.
    """
    views = [_sample_view(example, generator) for example in batch]
    encode_by_modality: dict[str, Callable[[list], Tensor]] = {
        "image": encoders.image.forward,
        "text": encoders.text.forward,
        "audio": lambda spectrograms: encoders.audio.encode_spectrograms(torch.stack(spectrograms).float()),
    }
    embeddings_by_modality = {}
    for modality, forward in encode_by_modality.items():
        present = [i for i, view in enumerate(views) if modality in view]
        if present:
            embeddings = F.normalize(forward([views[i][modality] for i in present]), dim=-1)
            embeddings_by_modality[modality] = dict(zip(present, embeddings, strict=True))
    same_topic_NN = torch.tensor([[not a.tags.isdisjoint(b.tags) for b in batch] for a in batch])
    losses = []
    for first, second in combinations(embeddings_by_modality.values(), 2):
        both = sorted(first.keys() & second.keys())
        if len(both) > 1:
            a_ND, b_ND = (torch.stack([by_row[i] for i in both]) for by_row in (first, second))
            losses.append(info_nce(a_ND, b_ND, encoders.logit_scale, same_topic_NN[both][:, both]))
    return torch.stack(losses).mean() if losses else 0 * encoders.logit_scale


def info_nce(a_ND: Tensor, b_ND: Tensor, logit_scale: Tensor, excluded_NN: Tensor) -> Tensor:
    """Return the mean symmetric InfoNCE. Row i of `a_ND` belongs to row i of `b_ND`.

    Args:
        a_ND: Unit vectors.
        b_ND: Unit vectors.
        logit_scale: 1 / temperature.
        excluded_NN: Bool, pairs that are not negatives. The diagonal may be set.
    """
    score_NN, target_N = logit_scale * a_ND @ b_ND.T, torch.arange(len(a_ND))
    a_to_b = softmax_loss(score_NN, target_N, excluded_NN)
    b_to_a = softmax_loss(score_NN.T, target_N, excluded_NN.T)
    return (a_to_b + b_to_a) / (2 * len(a_ND))


def word_bag_loss(encoders: MultimodalEncoders, num_bags: int, generator: np.random.Generator) -> Tensor:
    """Return InfoNCE between two views of bags of random words. A view is some words of its bag.

    The captions use few words. With this loss, the vector of a text of other words also depends on its words.
    """
    tokenizer, model = encoders.tokenizer, encoders.text.model
    words_NX = generator.integers(*tokenizer.word_id_range, size=(num_bags, WORDS_PER_BAG))
    a_ND, b_ND = (
        F.normalize(
            model.encode_text(tokenizer.token_rows(generator.permuted(words_NX, axis=1)[:, :WORDS_PER_VIEW])),
            dim=-1,
        )
        for _ in range(2)
    )
    return info_nce(a_ND, b_ND, encoders.logit_scale, torch.eye(num_bags, dtype=torch.bool))


def _split_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Split the rows into the fewest batches of at most `batch_size`, with sizes that differ by at most 1."""
    return np.array_split(rows, -(-len(rows) // batch_size))


def _sample_view(example: PretrainingExample, generator: np.random.Generator) -> dict[str, Any]:
    """Return a random view of a video: the audio and one frame of a segment, and part of the text."""
    segment = generator.choice(sorted({*example.frames, *example.audio}))
    view: dict[str, Any] = {}
    if segment in example.frames:
        view["image"] = generator.choice(example.frames[segment])
    if segment in example.audio:
        view["audio"] = example.audio[segment]
    if example.texts:
        view["text"] = _sample_text(example.texts, generator)
    return view


def _sample_text(parts: Sequence[str], generator: np.random.Generator) -> str:
    """Return some parts of a text in their order, at least one."""
    keep = generator.random(len(parts)) < TEXT_PART_KEEP_PROBABILITY
    keep[generator.integers(len(parts))] = True
    return " ".join(part for part, kept in zip(parts, keep, strict=True) if kept)


def _warmup_cosine(num_steps: int, warmup_fraction: float) -> Callable[[int], float]:
    """Return step -> factor of the highest learning rate: a linear rise, then half a cosine down to 0."""
    warmup_steps = max(1, round(num_steps * warmup_fraction))
    decay_steps = max(1, num_steps - warmup_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return 0.5 + 0.5 * np.cos(np.pi * (step - warmup_steps) / decay_steps)

    return factor
