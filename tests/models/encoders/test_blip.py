from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BlipForConditionalGeneration, BlipImageProcessor

from models.encoders import build_description_reader
from tests.support.encoder_inputs import CPU
from tests.support.tiny_pretrained import SPECIAL, VOCABULARY, tiny_blip, tiny_siglip

IMAGES = [np.full((48, 20, 3), 255, np.uint8), np.zeros((30, 64, 3), np.uint8)]


def test_a_description_is_that_of_transformers(tmp_path: Path) -> None:
    folder = tiny_blip(tmp_path / "blip")
    pixels = BlipImageProcessor.from_pretrained(folder)(IMAGES, return_tensors="pt")["pixel_values"]
    ids = BlipForConditionalGeneration.from_pretrained(folder).generate(
        pixels, do_sample=False, num_beams=1, max_new_tokens=40
    )
    expected = [" ".join(VOCABULARY[i] for i in row if i >= len(SPECIAL)) for row in ids.tolist()]
    assert all(expected)
    assert build_description_reader(f"blip:{folder}", CPU).encode(IMAGES).tolist() == expected


def test_each_image_has_its_own_description(tmp_path: Path) -> None:
    reader = build_description_reader(f"blip:{tiny_blip(tmp_path / 'blip')}", CPU)

    def brightness(pixels: torch.Tensor, **options: Any) -> torch.Tensor:
        return torch.stack([torch.tensor([1, 4 + bool(image.mean() > 0), 2]) for image in pixels])

    reader.model.generate = brightness
    assert reader.encode(IMAGES).tolist() == ["the", "a"]


def test_the_fingerprint_follows_weights_and_precision(tmp_path: Path) -> None:
    folders = [tiny_blip(tmp_path / name, seed) for name, seed in (("a", 1), ("moved", 1), ("other", 2))]
    first, moved, other = (build_description_reader(f"blip:{f}", CPU).fingerprint({}) for f in folders)
    assert first == moved
    bf16 = build_description_reader(f"blip:{folders[0]}", CPU, "bf16").fingerprint({})
    assert len({first, other, bf16}) == 3


def test_another_model_or_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"blip:.* (lacks the weights|cannot be loaded)"):
        build_description_reader(f"blip:{tiny_siglip(tmp_path / 'siglip')}", CPU)
    with pytest.raises(ValueError, match="'llava:x' describes no images; write none or blip"):
        build_description_reader("llava:x", CPU)
