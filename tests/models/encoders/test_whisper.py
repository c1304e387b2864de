from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from models.encoders import WhisperReader, build_transcript_reader, whisper
from tests.support.encoder_inputs import CPU
from tests.support.tiny_pretrained import tiny_whisper

RATE = 16_000


@pytest.fixture(autouse=True)
def random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with random weights writes loops. They are kept, but short."""
    monkeypatch.setattr(whisper, "MAX_COMPRESSION", np.inf)
    monkeypatch.setattr(whisper, "MAX_TOKENS", 12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_whisper(tmp_path / "whisper")


def read(folder: Path, rate: int = RATE) -> WhisperReader:
    return build_transcript_reader(f"whisper:{folder}", CPU, "fp32", rate)


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=round(seconds * rate))).astype(np.float32)


def test_a_window_has_the_text_of_transformers(folder: Path) -> None:
    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    inputs = processor([noise(2)], sampling_rate=RATE, return_tensors="pt")
    ids = model.generate(inputs["input_features"], do_sample=False, num_beams=1, max_new_tokens=12)
    (expected,) = processor.batch_decode(ids, skip_special_tokens=True)
    assert expected
    assert read(folder).encode([noise(2)]).tolist() == [expected]


def test_silence_and_windows_without_speech_have_no_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = read(folder)
    silent = np.full(RATE, 0.0005, np.float32)
    alone, *rest = reader.encode([noise(1), silent, np.zeros(0, np.float32)])
    assert alone
    assert rest == ["", ""]
    probabilities = []
    softmax = torch.Tensor.softmax

    def no_speech(logits: torch.Tensor, dim: int) -> torch.Tensor:
        probabilities.append(softmax(logits, dim)[:, 258])  # of <|nospeech|>
        certain = torch.zeros_like(logits)
        certain[0, 258] = 1  # only in the first window
        return certain

    monkeypatch.setattr(torch.Tensor, "softmax", no_speech)
    texts = reader.encode([noise(1, seed=1), noise(1)]).tolist()
    assert texts == ["", alone]
    assert (probabilities[0] < whisper.MAX_NO_SPEECH).all()


def test_a_loop_is_no_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "MAX_COMPRESSION", 0.5)
    assert read(folder).encode([noise(2)]).tolist() == [""]
    assert whisper.compression("la la la " * 20) > 2.4 > whisper.compression("the kitten naps on a red sofa")


def test_a_text_does_not_depend_on_its_batch(folder: Path) -> None:
    reader, windows = read(folder), [noise(n / 2, seed=n) for n in (1, 2, 4)]
    assert reader.encode(windows).tolist() == [reader.encode([window])[0] for window in windows]


def test_audio_is_split_into_windows(folder: Path) -> None:
    samples = noise(4.5, 8000)
    windows = read(folder, 8000).split(samples)
    assert [len(window) for window in windows] == [16_000, 16_000, 4000]
    assert np.array_equal(np.concatenate(windows), samples)


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_audio_of_another_rate_is_resampled(rate: int) -> None:
    tone, expected = (np.sin(2 * np.pi * 440 * np.arange(r) / r) for r in (rate, RATE))
    assert whisper.resample(tone, rate)[200:-200] == pytest.approx(expected[200:-200], abs=0.01)


def test_the_fingerprint_follows_weights_and_input(folder: Path, tmp_path: Path) -> None:
    first, again, resampled = (read(folder, rate).fingerprint({}) for rate in (RATE, RATE, 48_000))
    other = read(tiny_whisper(tmp_path / "other", seed=4)).fingerprint({})
    assert first == again
    assert len({first, resampled, other, read(folder).fingerprint({"max_segments": 3})}) == 4


def test_an_old_checkpoint_is_refused(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    with pytest.raises(ValueError, match="lacks no_timestamps_token_id"):
        read(folder)
