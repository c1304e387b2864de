"""Pictures, texts and sounds to encode, and who encodes them."""

from typing import Any

import numpy as np
import torch

from models.encoders import image_encoder, sound_encoder, text_encoder

CPU = torch.device("cpu")
MAKERS = {"visual": image_encoder, "text": text_encoder, "audio": sound_encoder}


def things(modality: str, count: int, seed: int = 0) -> tuple[list[Any], np.ndarray]:
    """Random pictures, texts or sounds of four kinds, and which kind each is."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, 4, count)
    make = {"visual": _picture, "text": _text, "audio": _sound}[modality]
    return [make(int(kind), random) for kind in kinds], kinds


def _picture(kind: int, random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    along = (x, y, x + y, 2 * np.hypot(x - 32, y - 32))[kind]
    wave = np.sin(random.uniform(0.3, 0.6) * along + random.uniform(0, 6.28))
    dark, light = random.uniform(0, 100, 3), random.uniform(150, 255, 3)
    return np.where(wave[..., None] > 0, dark, light).astype(np.uint8)


def _text(kind: int, random: np.random.Generator) -> str:
    topic = (
        "cat kitten paws purr",
        "goal striker league ball",
        "oven recipe soup pan",
        "song guitar drum beat",
    )[kind]
    words = [*random.choice(topic.split(), 2), *random.choice(["the", "my", "best", "new", "day", "wow"], 5)]
    return " ".join(random.permutation(words))


def _sound(kind: int, random: np.random.Generator) -> np.ndarray:
    seconds, hertz = np.arange(32_000) / 16_000, random.uniform(200, 800)
    tone = np.sin(2 * np.pi * hertz * seconds)
    noise = random.normal(size=len(seconds))
    played = (tone, tone * (np.sin(12 * seconds) > 0), noise, np.sign(tone))[kind]
    return (played * random.uniform(0.1, 0.6)).astype(np.float32)
