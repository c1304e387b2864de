import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_model

from models.encoders import build_image_encoder, build_text_encoder
from models.encoders.clip import ClipImageEncoder
from tests.support.encoder_inputs import CPU, make_inputs

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def tiny_open_clip(folder: Path) -> tuple[Path, Path]:
    """Save a tiny CLIP in the formats of open_clip: a folder with its configuration, and a checkpoint."""
    folder.mkdir()
    torch.manual_seed(3)
    model = open_clip.CLIP(32, CLIPVisionCfg(**TINY["vision_cfg"]), CLIPTextCfg(**TINY["text_cfg"]))  # type: ignore[arg-type]
    checkpoint = folder / "open_clip_model.safetensors"
    save_model(model, str(checkpoint))
    config = {
        "model_cfg": TINY,
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder, checkpoint


def test_open_clip_loads_from_a_folder(tmp_path: Path) -> None:
    folder, _ = tiny_open_clip(tmp_path / "clip")
    visual = build_image_encoder(f"open_clip:local-dir:{folder}", CPU)
    text = build_text_encoder(f"open_clip:local-dir:{folder}", CPU)
    assert (visual.image_size, visual.resize_mode, visual.width, text.width) == (32, "squash", 32, 32)
    image = np.zeros((32, 32, 3), np.uint8)
    assert visual.encode([image]).shape == text.encode(["a cat"]).shape == (1, 32)


def test_open_clip_loads_a_checkpoint_of_a_known_model(tmp_path: Path) -> None:
    folder, checkpoint = tiny_open_clip(tmp_path / "clip")
    (tmp_path / "tiny-test.json").write_text(json.dumps(TINY), encoding="utf-8")
    open_clip.add_model_config(tmp_path)
    encoder = build_image_encoder(f"open_clip:tiny-test:{checkpoint}", CPU)
    same = build_image_encoder(f"open_clip:local-dir:{folder}", CPU)
    assert encoder.weights_sha256 == same.weights_sha256
    assert encoder.fingerprint({}) != same.fingerprint({})  # the images are normalised differently


def test_preprocessing_agrees_with_open_clip() -> None:
    """Our preprocessing and open_clip's transform give the same vector, except for the resampling."""
    encoder = build_image_encoder("default", CPU)
    items: Sequence[np.ndarray] = make_inputs("visual", 3)[0]
    transform = image_transform_v2(PreprocessCfg(**encoder.model.visual.preprocess_cfg), is_train=False)
    with torch.inference_mode():
        expected = encoder.model.encode_image(
            torch.stack([transform(Image.fromarray(item)) for item in items])
        )
    assert encoder.encode(items) == pytest.approx(torch.nn.functional.normalize(expected).numpy(), abs=1e-4)


def test_a_broken_checkpoint_is_a_one_line_error(tmp_path: Path) -> None:
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(ValueError, match="cannot be loaded"):
            build_image_encoder(f"open_clip:RN50:{tmp_path / name}", CPU)


def test_bf16_weights_keep_the_direction_of_vit_b_32_vectors() -> None:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32")
    exact = ClipImageEncoder("vit", model, CPU)
    pictures = [np.random.default_rng(n).integers(0, 256, (224, 224, 3), np.uint8) for n in range(2)]
    expected = exact.encode(pictures)
    assert (ClipImageEncoder("vit", model.to(torch.bfloat16), CPU).encode(pictures) * expected).sum(
        1
    ).min() > 0.999
