import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from core.hashing import hash_file
from models.encoders import build_text_encoder, default
from tests.support.encoder_inputs import CPU, ENCODER_BUILDERS, make_inputs


@pytest.mark.parametrize("modality", ENCODER_BUILDERS)
def test_the_default_gives_unit_vectors_of_its_width(modality: str) -> None:
    encoder = ENCODER_BUILDERS[modality]("default", CPU)
    vectors = encoder.encode(make_inputs(modality, 5)[0])
    assert vectors.shape == (5, encoder.width)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("modality", ENCODER_BUILDERS)
def test_the_default_separates_classes(modality: str) -> None:
    """A linear probe on four classes of varying colour, word and pitch is far above the 25 % of chance."""
    encoder = ENCODER_BUILDERS[modality]("default", CPU)
    items, labels = make_inputs(modality, 280)
    vectors = np.concatenate([encoder.encode(items[start : start + 70]) for start in range(0, 280, 70)])
    standard = (vectors - vectors[:200].mean(0)) / vectors[:200].std(0)
    probe = LogisticRegression(max_iter=2000, C=0.3).fit(standard[:200], labels[:200])
    assert probe.score(standard[200:], labels[200:]) > 0.5


@pytest.mark.parametrize("modality", ENCODER_BUILDERS)
def test_the_default_is_deterministic(modality: str) -> None:
    before = torch.random.get_rng_state()
    first = ENCODER_BUILDERS[modality]("default", CPU)
    assert torch.equal(before, torch.random.get_rng_state())
    default.load_default_clip.cache_clear()
    default.load_default_clap.cache_clear()
    assert ENCODER_BUILDERS[modality]("default", CPU).fingerprint({}) == first.fingerprint({})


def test_long_and_empty_texts_have_vectors() -> None:
    assert np.isfinite(build_text_encoder("default", CPU).encode(["word " * 5000, "", "日本語 🎉"])).all()


@pytest.mark.parametrize("modality", ENCODER_BUILDERS)
def test_untrained_encoders_have_other_weights(modality: str) -> None:
    trained, untrained = (ENCODER_BUILDERS[modality](name, CPU) for name in ("default", "untrained"))
    assert trained.name == untrained.name
    assert trained.weights_sha256 != untrained.weights_sha256


def test_the_default_is_fp32_unless_bf16_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    dtype_by_precision = {
        precision: build_text_encoder("default", CPU, precision).dtype
        for precision in ("auto", "fp32", "bf16")
    }
    assert dtype_by_precision == {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}


def test_the_card_holds_the_digests_of_the_weights() -> None:
    card = json.loads((default.WEIGHTS_FOLDER / "card.json").read_text(encoding="utf-8"))
    assert set(card["digests"]) == {default.CLIP_FILE, default.CLAP_FILE}
    for file, digest in card["digests"].items():
        assert hash_file(default.WEIGHTS_FOLDER / file) == digest
    assert sum((default.WEIGHTS_FOLDER / file).stat().st_size for file in card["digests"]) < 5 << 20


def test_weights_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    model = default.init_clap()
    kept = default.floating_point_state(model)
    for wrong in ({**kept, "more": torch.zeros(1)}, dict(list(kept.items())[1:])):
        save_file(wrong, tmp_path / "weights.safetensors")
        with pytest.raises(RuntimeError, match=r"more|Missing"):
            default.load_floating_point_state(model, "weights.safetensors", tmp_path)


def test_rare_words_are_split_into_known_tokens() -> None:
    tokens = default.SmallTokenizer()(["zyzzyva 日本語 🎉 <end_of_text> <start_of_text>", "cat"])
    assert int(tokens.max()) < default.VOCABULARY_SIZE
    assert int((tokens[1] > 0).sum()) == 3


def test_texts_of_unseen_words_are_nearer_when_they_share_words() -> None:
    texts = [
        "democratic parliament votes on railway budget",
        "railway budget: parliament votes",
        "violin sonata in minor",
    ]
    anchor, near, far = build_text_encoder("default", CPU).encode(texts)
    assert anchor @ near > anchor @ far + 0.2
