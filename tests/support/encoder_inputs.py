"""Images, texts and audio to encode, and the encoders."""

from typing import Any

import numpy as np
import torch

from models.encoders import build_audio_encoder, build_image_encoder, build_text_encoder

CPU = torch.device("cpu")
ENCODER_BUILDERS = {"visual": build_image_encoder, "text": build_text_encoder, "audio": build_audio_encoder}


def make_inputs(modality: str, count: int, seed: int = 0) -> tuple[list[Any], np.ndarray]:
    """Random images, texts or audio of four classes, and the class of each."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    make = {"visual": _image, "text": _text, "audio": _audio}[modality]
    return [make(int(label), generator) for label in labels], labels


def _image(label: int, generator: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    along = (x, y, x + y, 2 * np.hypot(x - 32, y - 32))[label]
    wave = np.sin(generator.uniform(0.3, 0.6) * along + generator.uniform(0, 6.28))
    dark, light = generator.uniform(0, 100, 3), generator.uniform(150, 255, 3)
    return np.where(wave[..., None] > 0, dark, light).astype(np.uint8)


def _text(label: int, generator: np.random.Generator) -> str:
    topic = (
        "cat kitten paws purr",
        "goal striker league ball",
        "oven recipe soup pan",
        "song guitar drum beat",
    )[label]
    words = [
        *generator.choice(topic.split(), 2),
        *generator.choice(["the", "my", "best", "new", "day", "wow"], 5),
    ]
    return " ".join(generator.permutation(words))


def _audio(label: int, generator: np.random.Generator) -> np.ndarray:
    seconds, hertz = np.arange(32_000) / 16_000, generator.uniform(200, 800)
    tone = np.sin(2 * np.pi * hertz * seconds)
    noise = generator.normal(size=len(seconds))
    played = (tone, tone * (np.sin(12 * seconds) > 0), noise, np.sign(tone))[label]
    return (played * generator.uniform(0.1, 0.6)).astype(np.float32)
