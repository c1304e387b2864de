import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file, save_model
from sklearn.linear_model import LogisticRegression
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from models import encoders
from models.default_encoders import default_clip
from models.encoders import Encoder, image_encoder, pick_device, sound_encoder, text_encoder

CPU = torch.device("cpu")
MAKERS = {"visual": image_encoder, "text": text_encoder, "audio": sound_encoder}
TINY = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the variable is read once, at import
    encoders._clip.cache_clear()
    encoders._pretrained_clap.cache_clear()


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


@pytest.mark.parametrize("modality", MAKERS)
def test_the_default_gives_unit_vectors_of_its_width(modality: str) -> None:
    encoder = MAKERS[modality]("default", CPU)
    vectors = encoder.encode(things(modality, 5)[0])
    assert vectors.shape == (5, encoder.width)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("modality", MAKERS)
def test_the_default_tells_kinds_of_things_apart(modality: str) -> None:
    """A linear probe on four kinds whose colours, words and pitches vary: far above the 25 % of chance."""
    encoder = MAKERS[modality]("default", CPU)
    items, kinds = things(modality, 280)
    vectors = np.concatenate([encoder.encode(items[start : start + 70]) for start in range(0, 280, 70)])
    standard = (vectors - vectors[:200].mean(0)) / vectors[:200].std(0)
    probe = LogisticRegression(max_iter=2000, C=0.3).fit(standard[:200], kinds[:200])
    assert probe.score(standard[200:], kinds[200:]) > 0.5


@pytest.mark.parametrize("modality", MAKERS)
def test_a_vector_does_not_depend_on_its_batch_nor_on_chance(modality: str) -> None:
    encoder = MAKERS[modality]("default", CPU)
    items, _ = things(modality, 4)
    together = encoder.encode(items)
    np.random.seed(1)
    torch.manual_seed(1)
    alone = np.concatenate([encoder.encode([item]) for item in items])
    assert alone == pytest.approx(together, abs=1e-5)


@pytest.mark.parametrize("modality", MAKERS)
def test_the_default_is_the_same_everywhere_and_leaves_the_random_state_alone(modality: str) -> None:
    before = torch.random.get_rng_state()
    first = MAKERS[modality]("default", CPU)
    assert torch.equal(before, torch.random.get_rng_state())
    encoders._clip.cache_clear()
    assert MAKERS[modality]("default", CPU).fingerprint({}) == first.fingerprint({})


@pytest.mark.parametrize("modality", MAKERS)
def test_the_fingerprint_changes_with_weights_preprocessing_and_sampling(modality: str) -> None:
    def changed(change: str) -> str:
        encoders._clip.cache_clear()
        encoder: Encoder = MAKERS[modality]("default", CPU)
        if change == "weights":
            with torch.no_grad():
                next(iter(encoder.model.parameters())).view(-1)[0] += 1e-3
            encoder.weights = encoders.weights_digest(encoder.model)
        if change == "preprocessing":
            encoder.preprocessing = {**encoder.preprocessing, "mean": 0.5}
        return encoder.fingerprint({"max_segments": 3 if change == "sampling" else 40})

    prints = [changed(what) for what in ("nothing", "weights", "preprocessing", "sampling")]
    assert len(set(prints)) == 4
    assert all(len(text) == 16 for text in prints)


def test_pictures_and_text_of_one_name_share_one_model() -> None:
    assert image_encoder("default", CPU).model is text_encoder("default", CPU).model


def test_a_long_text_and_an_empty_one_have_vectors() -> None:
    assert np.isfinite(text_encoder("default", CPU).encode(["word " * 5000, "", "日本語 🎉"])).all()


def test_sound_of_any_length_has_a_vector_and_of_a_long_one_the_middle_counts() -> None:
    encoder = sound_encoder("default", CPU)
    tone = np.sin(np.arange(5 * 16_000) / 5).astype(np.float32)
    padded = np.concatenate([np.zeros(16_000, np.float32), tone, np.zeros(16_000, np.float32)])
    long, exact = encoder.encode([padded, tone])
    assert long == pytest.approx(exact, abs=1e-5)
    assert np.isfinite(encoder.encode([tone[:1], tone[:300]])).all()


def tiny_open_clip(folder: Path) -> tuple[Path, Path]:
    """A tiny CLIP as open_clip keeps one: a folder with its configuration, and a checkpoint file."""
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
    visual = image_encoder(f"open_clip:local-dir:{folder}", CPU)
    text = text_encoder(f"open_clip:local-dir:{folder}", CPU)
    assert (visual.image_size, visual.image_fit, visual.width, text.width) == (32, "squash", 32, 32)
    picture = np.zeros((32, 32, 3), np.uint8)
    assert visual.encode([picture]).shape == text.encode(["a cat"]).shape == (1, 32)


def test_open_clip_loads_a_checkpoint_file_of_a_model_it_knows(tmp_path: Path) -> None:
    folder, checkpoint = tiny_open_clip(tmp_path / "clip")
    (tmp_path / "tiny-test.json").write_text(json.dumps(TINY), encoding="utf-8")
    open_clip.add_model_config(tmp_path)
    encoder = image_encoder(f"open_clip:tiny-test:{checkpoint}", CPU)
    same = image_encoder(f"open_clip:local-dir:{folder}", CPU)
    assert encoder.weights == same.weights
    assert encoder.fingerprint({}) != same.fingerprint({})  # another normalisation of the pictures


def test_our_pictures_give_open_clips_own_vectors() -> None:
    """Scaled and normalised by us or by open_clip's transform: the same vector, but for the resampling."""
    encoder = image_encoder("default", CPU)
    items: Sequence[np.ndarray] = things("visual", 3)[0]
    transform = image_transform_v2(PreprocessCfg(**default_clip()[0].visual.preprocess_cfg), is_train=False)
    with torch.inference_mode():
        theirs = encoder.model.encode_image(torch.stack([transform(Image.fromarray(item)) for item in items]))
    assert encoder.encode(items) == pytest.approx(torch.nn.functional.normalize(theirs).numpy(), abs=1e-4)


def tiny_clap(folder: Path, fused: bool) -> Path:
    """A tiny CLAP, text half included, as transformers keeps one."""
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
    encoder = sound_encoder(f"clap:{tiny_clap(tmp_path / 'clap', fused)}", CPU)
    assert (encoder.sample_rate, encoder.width) == (8000, 12)
    clips = [np.sin(np.arange(n) / 7).astype(np.float32) for n in (500, 8000, 20_000)]
    vectors = encoder.encode(clips)
    assert vectors.shape == (3, 12)
    assert encoder.encode(clips) == pytest.approx(vectors)


@pytest.mark.parametrize(
    ("modality", "spec", "words"),
    [
        ("visual", "defualt", "write default or open_clip"),
        ("text", "clap:x", "write default or open_clip"),
        ("audio", "open_clip:ViT-B-32:openai", "write default or clap"),
        ("visual", "open_clip:ViT-B-33:openai", "did you mean ViT-B-32"),
        ("visual", "open_clip:ViT-B-32:laion2b", "no file and no pretrained tag of ViT-B-32"),
        ("visual", "open_clip:ViT-B-32:/gone/weights.pt", "no file and no pretrained tag"),
        ("visual", "open_clip:ViT-B-32:laion2b_s34b_b79k", "without the internet"),
        ("visual", "open_clip:local-dir:/gone", "cannot be loaded"),
        ("audio", "clap:/gone", "cannot be loaded"),
        ("audio", "clap:laion/clap-htsat-unfused", "without the internet"),
    ],
)
def test_an_encoder_that_cannot_be_had_is_one_sentence(modality: str, spec: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        MAKERS[modality](spec, CPU)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(ValueError, match="cannot be loaded"):
            image_encoder(f"open_clip:RN50:{tmp_path / name}", CPU)


def test_a_model_that_is_no_clap_is_refused(tmp_path: Path) -> None:
    folder = tiny_clap(tmp_path / "clap", fused=False)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if not k.startswith("audio_projection")},
        folder / "model.safetensors",
    )
    with pytest.raises(ValueError, match="its weights lack audio_projection"):
        sound_encoder(f"clap:{folder}", CPU)


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(ValueError, match="no GPU"):
        pick_device("cuda")
