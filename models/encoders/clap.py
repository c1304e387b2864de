"""Audio encoders: the audio half of a CLAP (transformers), from the hub or a folder."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import AutoFeatureExtractor, ClapAudioModelWithProjection, ClapFeatureExtractor

from models.encoders.base import Encoder, load_weights, loading

CLAP_PREFIX = "clap:"


class AudioEncoder(Encoder):
    """Encodes mono audio [samples] float32 at `sample_rate`. Of a long clip it reads the middle."""

    def __init__(
        self,
        name: str,
        model: ClapAudioModelWithProjection,
        feature_extractor: ClapFeatureExtractor,
        device: torch.device,
    ) -> None:
        super().__init__(model, device)
        self.name = name
        self._feature_extractor = feature_extractor
        self.sample_rate: int = feature_extractor.sampling_rate
        self.preprocessing = {
            key: value
            for key, value in feature_extractor.to_dict().items()
            if isinstance(value, int | float | str)
        }
        self.width = self.encode([np.zeros(self.sample_rate, np.float32)]).shape[1]

    def forward(self, batch: Sequence[np.ndarray]) -> Tensor:
        return self.encode_spectrograms(self.spectrograms(batch))

    def spectrograms(self, batch: Sequence[np.ndarray]) -> Tensor:
        """Return the model's input: log-mel levels in decibel, [B, 1 (4 with fusion), frames, bands]."""
        clips = [_centre_crop(clip, self._feature_extractor.nb_max_samples) for clip in batch]
        inputs = self._feature_extractor(clips, sampling_rate=self.sample_rate, return_tensors="pt")
        return inputs["input_features"].float()

    def encode_spectrograms(self, spectrograms: Tensor) -> Tensor:
        """Return the model's vectors [B, D]."""
        # The extractor marks a random clip as long if none is. Vectors must not depend on chance.
        longer_B1 = torch.zeros(len(spectrograms), 1, dtype=torch.bool, device=self.device)
        return self.model(
            input_features=spectrograms.to(self.device, self.dtype), is_longer=longer_B1
        ).audio_embeds


class _ClapAudioTower(ClapAudioModelWithProjection):
    """The audio half. The text half of the weights is left out on purpose, without a warning."""

    _keys_to_ignore_on_load_unexpected = [r"^text_", r"^logit_scale"]  # noqa: RUF012


@lru_cache(maxsize=1)
def load_clap(
    encoder_name: str, dtype: torch.dtype
) -> tuple[ClapAudioModelWithProjection, ClapFeatureExtractor]:
    """Load the audio half and the feature extractor of `clap:<hub name or folder>`.

    Raises:
        ValueError: The model cannot be loaded, or it is not a CLAP.
    """
    name = encoder_name.removeprefix(CLAP_PREFIX)
    model = load_weights(_ClapAudioTower, encoder_name, name, dtype)
    with loading(encoder_name):
        return model, AutoFeatureExtractor.from_pretrained(name)


def _centre_crop(samples: np.ndarray, length: int) -> np.ndarray:
    """Return the middle of the samples, at most `length` of them."""
    start = max(0, len(samples) - length) // 2
    return samples[start : start + length]
