"""Sound by the sound half of a CLAP (transformers), from the hub or a folder."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoFeatureExtractor, ClapAudioModelWithProjection, ClapFeatureExtractor

from models.encoders.base import LOAD_ERRORS, OFFLINE, Encoder, first_line

CLAP = "clap:"


class SoundEncoder(Encoder):
    """Encodes mono sound [samples] float32 at `sample_rate`; of a long one the middle that fits."""

    def __init__(
        self,
        name: str,
        model: ClapAudioModelWithProjection,
        extractor: ClapFeatureExtractor,
        device: torch.device,
    ) -> None:
        super().__init__(model, device)
        self.name = name
        self._extractor = extractor
        self.sample_rate: int = extractor.sampling_rate
        self.preprocessing = {
            key: value for key, value in extractor.to_dict().items() if isinstance(value, int | float | str)
        }
        self.width = self.encode([np.zeros(self.sample_rate, np.float32)]).shape[1]

    def forward(self, batch: Sequence[np.ndarray]) -> Tensor:
        return self.of_spectrograms(self.spectrograms(batch))

    def spectrograms(self, batch: Sequence[np.ndarray]) -> Tensor:
        """What the model reads of sounds: log-mel levels [B, 1 (4 with fusion), frames, bands] in decibel."""
        clips = [_middle(clip, self._extractor.nb_max_samples) for clip in batch]
        inputs = self._extractor(clips, sampling_rate=self.sample_rate, return_tensors="pt")
        return inputs["input_features"].float()

    def of_spectrograms(self, levels: Tensor) -> Tensor:
        """The model's vectors [B, D]."""
        # The extractor calls a random clip long when none is: vectors must not depend on chance.
        longer_B1 = torch.zeros(len(levels), 1, dtype=torch.bool, device=self.device)
        return self.model(input_features=levels.to(self.device, self.dtype), is_longer=longer_B1).audio_embeds


class _SoundHalf(ClapAudioModelWithProjection):
    """Of a whole CLAP the text half is left out on purpose, which is not worth a warning."""

    _keys_to_ignore_on_load_unexpected = [r"^text_", r"^logit_scale"]  # noqa: RUF012


@lru_cache(maxsize=1)
def clap_model(spec: str, dtype: torch.dtype) -> tuple[ClapAudioModelWithProjection, ClapFeatureExtractor]:
    """The sound half of `clap:<hub name or folder>`, and its feature extractor.

    Raises:
        ValueError: it cannot be had, or is no CLAP; one sentence.
    """
    name = spec.removeprefix(CLAP)
    try:
        loaded: Any = _SoundHalf.from_pretrained(name, dtype=dtype, output_loading_info=True)
        extractor = AutoFeatureExtractor.from_pretrained(name)
    except LOAD_ERRORS as error:
        raise ValueError(f"{spec}: the model cannot be loaded ({first_line(error)}){OFFLINE}") from None
    model, loading = loaded
    if loading["missing_keys"]:
        raise ValueError(f"{spec}: no CLAP, its weights lack {sorted(loading['missing_keys'])[0]}")
    return model, extractor


def _middle(samples: np.ndarray, length: int) -> np.ndarray:
    start = max(0, len(samples) - length) // 2
    return samples[start : start + length]
