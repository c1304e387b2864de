from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from models.encoders import build_audio_encoder
from tests.support.encoder_inputs import CPU


def tiny_clap(folder: Path, fused: bool) -> Path:
    """Save a tiny CLAP with its text half, in the format of transformers."""
    audio = {
        "num_mel_bins": 16, "spec_size": 32, "patch_embeds_hidden_size": 8, "depths": [1, 1],
        "num_attention_heads": [1, 1], "hidden_size": 16, "window_size": 4, "enable_fusion": fused,
    }  # fmt: skip
    text = {
        "vocab_size": 50,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    }
    torch.manual_seed(3)
    ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=12)).save_pretrained(folder)
    extractor = ClapFeatureExtractor(
        feature_size=16, sampling_rate=8000, hop_length=160, max_length_s=1, fft_window_size=256,
        frequency_max=4000, truncation="fusion" if fused else "rand_trunc",
    )  # fmt: skip
    extractor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("fused", [False, True])
def test_clap_loads_from_a_folder(tmp_path: Path, fused: bool) -> None:
    encoder = build_audio_encoder(f"clap:{tiny_clap(tmp_path / 'clap', fused)}", CPU)
    assert (encoder.sample_rate, encoder.width) == (8000, 12)
    clips = [np.sin(np.arange(n) / 7).astype(np.float32) for n in (500, 8000, 20_000)]
    vectors = encoder.encode(clips)
    assert vectors.shape == (3, 12)
    assert encoder.encode(clips) == pytest.approx(vectors)


def test_a_model_without_audio_projection_is_refused(tmp_path: Path) -> None:
    folder = tiny_clap(tmp_path / "clap", fused=False)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if not k.startswith("audio_projection")},
        folder / "model.safetensors",
    )
    with pytest.raises(ValueError, match="lacks the weights audio_projection"):
        build_audio_encoder(f"clap:{folder}", CPU)


def test_audio_of_any_length_has_a_vector_of_its_centre() -> None:
    encoder = build_audio_encoder("default", CPU)
    tone = np.sin(np.arange(5 * 16_000) / 5).astype(np.float32)
    padded = np.concatenate([np.zeros(16_000, np.float32), tone, np.zeros(16_000, np.float32)])
    long, exact = encoder.encode([padded, tone])
    assert long == pytest.approx(exact, abs=1e-5)
    assert np.isfinite(encoder.encode([tone[:1], tone[:300]])).all()
