from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, SiglipImageProcessor, SiglipModel

from models.encoders import build_image_encoder, build_text_encoder
from tests.support.encoder_inputs import CPU, ENCODER_BUILDERS
from tests.support.tiny_pretrained import tiny_blip, tiny_siglip

IMAGES = [np.random.default_rng(n).integers(0, 256, (32, 32, 3), np.uint8) for n in range(3)]


def test_images_have_the_vectors_of_transformers(tmp_path: Path) -> None:
    folder = tiny_siglip(tmp_path / "siglip")
    encoder = build_image_encoder(f"siglip:{folder}", CPU)
    pixels = SiglipImageProcessor.from_pretrained(folder)(IMAGES, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = SiglipModel.from_pretrained(folder).get_image_features(pixels).pooler_output
    assert (encoder.image_size, encoder.resize_mode, encoder.width) == (32, "squash", 16)
    assert encoder.encode(IMAGES) == pytest.approx(torch.nn.functional.normalize(expected).numpy(), abs=1e-5)


def test_text_is_in_lower_case_and_padded(tmp_path: Path) -> None:
    folder = tiny_siglip(tmp_path / "siglip")
    encoder = build_text_encoder(f"siglip:{folder}", CPU)
    inputs = AutoTokenizer.from_pretrained(folder)(
        ["a red cat"], padding="max_length", max_length=8, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = SiglipModel.from_pretrained(folder).get_text_features(inputs["input_ids"]).pooler_output
    vectors = encoder.encode(["A RED Cat", "a red cat", "my dog", "day " * 100])
    assert vectors[:1] == pytest.approx(torch.nn.functional.normalize(expected).numpy(), abs=1e-5)
    assert (vectors[0] == vectors[1]).all()
    assert not np.allclose(vectors[0], vectors[2], atol=1e-3)


@pytest.mark.parametrize("modality", ["visual", "text"])
def test_the_fingerprint_follows_weights_and_precision(tmp_path: Path, modality: str) -> None:
    build = ENCODER_BUILDERS[modality]
    folders = [tiny_siglip(tmp_path / name, seed) for name, seed in (("a", 1), ("moved", 1), ("other", 2))]
    first, moved, other = (build(f"siglip:{folder}", CPU).fingerprint({}) for folder in folders)
    assert first == moved
    assert len({first, other, build(f"siglip:{folders[0]}", CPU, "bf16").fingerprint({})}) == 3


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = tiny_blip(tmp_path / "blip")
    with pytest.raises(ValueError, match=r"siglip:.* (lacks the weights|cannot be loaded)"):
        build_image_encoder(f"siglip:{folder}", CPU)
