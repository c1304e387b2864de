import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from models.encoders import EncoderReplicas, build_screen_text_reader

IMAGES = [np.full((20, 30, 3), level, np.uint8) for level in (0, 200)]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's module with the function `read`, which returns the brightness."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_reader", raising=False)
    path = tmp_path / "own_reader.py"
    path.write_text("def read(image):\n    return f'level {image.max()}'\n")
    importlib.invalidate_caches()
    return path


def test_a_function_reads_each_image(module: Path) -> None:
    reader = build_screen_text_reader("own_reader:read")
    assert reader.encode(IMAGES).tolist() == ["level 0", "level 200"]
    replicas = EncoderReplicas(reader, [torch.device("cuda", 0), torch.device("cuda", 1)])
    assert replicas.encode(IMAGES).tolist() == ["level 0", "level 200"]
    assert replicas.gpu_seconds is None


def test_an_edited_function_has_another_fingerprint(module: Path) -> None:
    before = build_screen_text_reader("own_reader:read")
    module.write_text("def read(image):\n    return 'other'\n")
    after = build_screen_text_reader("own_reader:read")
    assert before.fingerprint({}) != after.fingerprint({})
    assert before.fingerprint({}) != before.fingerprint({"stills_per_video": 2})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_reader:gone", "has no function 'gone'; write its name"),
        ("own_reader", "has no function ''; write its name"),
        ("no_such_module:read", r"No module named 'no_such_module'.*write the <module>:<function>"),
    ],
)
def test_a_function_that_does_not_exist_is_refused(module: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_screen_text_reader(name)


def test_rapidocr_reads_large_letters() -> None:
    pytest.importorskip("rapidocr")
    picture = Image.new("RGB", (320, 180), (20, 40, 90))
    font = ImageFont.load_default(30)
    ImageDraw.Draw(picture).text((30, 60), "HELLO WORLD 42", fill=(255, 255, 255), font=font)
    reader = build_screen_text_reader("rapidocr")
    assert reader.encode([np.asarray(picture), IMAGES[0]]).tolist() == ["HELLO WORLD 42", ""]
