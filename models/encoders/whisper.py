"""Speech to text by Whisper (transformers), from a folder.

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision".
"""

import zlib
from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

from models.encoders.base import (
    LOCAL,
    PretrainedReader,
    describe_architecture,
    hash_tokenizer,
    load_weights,
    loading,
)

WHISPER_PREFIX = "whisper:"
SAMPLE_RATE = 16_000  # Hz, of all Whisper models
MIN_AMPLITUDE = 0.001  # of full scale: -60 dB. Whisper invents words for silence.
MAX_NO_SPEECH = 0.6  # the paper's bound of the probability of no speech, section 4.5
MAX_COMPRESSION = 2.4  # the paper's bound of zlib's ratio, section 4.5: a loop of the same words is no speech
MAX_TOKENS = 224  # of a window, half of the decoder's context as in the paper


class WhisperReader(PretrainedReader):
    """Transcribes mono audio [samples] float32 at `input_rate`, at most `window_seconds` long.

    Decoding is greedy. A window has an empty text if it is silent, holds no speech, or the decoder loops.

    Attributes:
        window_seconds: The model's context. It reads nothing beyond it.
    """

    def __init__(
        self,
        model: Any,
        extractor: Any,
        tokenizer: Any,
        input_rate: int,
        device: torch.device,
    ) -> None:
        super().__init__(model, device)
        self.name = f"whisper {describe_architecture(model.config)}"
        self._extractor, self._tokenizer, self._input_rate = extractor, tokenizer, input_rate
        self.window_seconds = extractor.chunk_length
        self.preprocessing = {
            "rate": input_rate,
            "bands": extractor.feature_size,
            "seconds": extractor.chunk_length,
            "generation": describe_architecture(model.generation_config),
            "tokenizer": hash_tokenizer(tokenizer),
            "bounds": [MIN_AMPLITUDE, MAX_NO_SPEECH, MAX_COMPRESSION, MAX_TOKENS],
        }

    def split(self, samples: np.ndarray) -> list[np.ndarray]:
        """Split audio into windows."""
        window = self.window_seconds * self._input_rate
        return [samples[start : start + window] for start in range(0, len(samples), window)]

    def forward(self, batch: Sequence[np.ndarray]) -> list[str]:
        texts = [""] * len(batch)
        loud = [n for n, samples in enumerate(batch) if np.abs(samples).max(initial=0) > MIN_AMPLITUDE]
        if not loud:
            return texts
        features = self._features([batch[n] for n in loud])
        speaks_B = self._speaks(features)
        if speaks_B.any():
            spoken = [n for n, speaks in zip(loud, speaks_B.tolist(), strict=True) if speaks]
            for n, text in zip(spoken, self._transcribe(features[speaks_B]), strict=True):
                texts[n] = text if compression(text) <= MAX_COMPRESSION else ""
        return texts

    def _transcribe(self, features: Tensor) -> list[str]:
        ids_BT = self.model.generate(features, do_sample=False, num_beams=1, max_new_tokens=MAX_TOKENS)
        return self._tokenizer.batch_decode(ids_BT, skip_special_tokens=True)

    def _features(self, batch: Sequence[np.ndarray]) -> Tensor:
        """Return the model's input: log-mel levels [B, bands, frames]."""
        audio = [resample(samples, self._input_rate) for samples in batch]
        features = self._extractor(audio, sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_features"]
        return features.to(self.device, self.dtype)

    def _speaks(self, features: Tensor) -> Tensor:
        """Return whether somebody speaks in each window [B], by the decoder's first token."""
        start = self.model.generation_config.decoder_start_token_id
        no_speech = self.model.generation_config.no_timestamps_token_id - 1  # in every vocabulary of Whisper
        first_B1 = torch.full((len(features), 1), start, device=self.device)
        logits_BV = self.model(features, decoder_input_ids=first_B1).logits[:, 0].float()
        return logits_BV.softmax(-1)[:, no_speech] <= MAX_NO_SPEECH


def compression(text: str) -> float:
    """Return how many times smaller zlib makes a text."""
    content = text.encode()
    return len(content) / len(zlib.compress(content))


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return audio at SAMPLE_RATE."""
    if rate == SAMPLE_RATE:
        return samples
    from scipy.signal import resample_poly  # importing takes .4 s

    factor = gcd(SAMPLE_RATE, rate)
    return resample_poly(samples, SAMPLE_RATE // factor, rate // factor)


def build_whisper_reader(
    encoder_name: str, dtype: torch.dtype, input_rate: int, device: torch.device
) -> WhisperReader:
    """Build the reader of `whisper:<folder>`.

    Raises:
        ValueError: The model cannot be loaded, or it is not a Whisper.
    """
    folder = encoder_name.removeprefix(WHISPER_PREFIX)
    model: Any = load_weights(WhisperForConditionalGeneration, encoder_name, folder, dtype, **LOCAL)
    with loading(encoder_name):
        if not hasattr(model.generation_config, "no_timestamps_token_id"):
            raise ValueError("generation_config.json lacks no_timestamps_token_id")
        extractor = WhisperFeatureExtractor.from_pretrained(folder, **LOCAL)
        tokenizer = WhisperTokenizer.from_pretrained(folder, **LOCAL)
    return WhisperReader(model, extractor, tokenizer, input_rate, device)
