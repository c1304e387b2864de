import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from contracts.digests import of_file
from models.encoders import default, text_encoder
from tests.models.encoders.things import CPU, MAKERS, things


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
def test_the_default_is_the_same_everywhere_and_leaves_the_random_state_alone(modality: str) -> None:
    before = torch.random.get_rng_state()
    first = MAKERS[modality]("default", CPU)
    assert torch.equal(before, torch.random.get_rng_state())
    default.default_clip.cache_clear()
    default.default_clap.cache_clear()
    assert MAKERS[modality]("default", CPU).fingerprint({}) == first.fingerprint({})


def test_a_long_text_and_an_empty_one_have_vectors() -> None:
    assert np.isfinite(text_encoder("default", CPU).encode(["word " * 5000, "", "日本語 🎉"])).all()


@pytest.mark.parametrize("modality", MAKERS)
def test_the_untrained_ones_are_there_to_compare_with(modality: str) -> None:
    trained, untrained = (MAKERS[modality](spec, CPU) for spec in ("default", "untrained"))
    assert trained.name == untrained.name
    assert trained.weights != untrained.weights


def test_the_default_is_fp32_everywhere_unless_bf16_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    found = {
        precision: text_encoder("default", CPU, precision).dtype for precision in ("auto", "fp32", "bf16")
    }
    assert found == {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}


def test_the_weights_are_a_few_megabytes_and_the_card_names_their_bytes() -> None:
    card = json.loads((default.WEIGHTS / "card.json").read_text(encoding="utf-8"))
    assert set(card["digests"]) == {default.CLIP_FILE, default.CLAP_FILE}
    for file, digest in card["digests"].items():
        assert of_file(default.WEIGHTS / file) == digest
    assert sum((default.WEIGHTS / file).stat().st_size for file in card["digests"]) < 5 << 20


def test_weights_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    model = default.untrained_clap()
    kept = default.stored(model)
    for wrong in ({**kept, "more": torch.zeros(1)}, dict(list(kept.items())[1:])):
        save_file(wrong, tmp_path / "weights.safetensors")
        with pytest.raises(RuntimeError, match=r"more|Missing"):
            default.load(model, "weights.safetensors", tmp_path)


def test_rare_words_are_told_by_their_parts_and_nothing_leaves_the_vocabulary() -> None:
    tokens = default.SmallTokenizer()(["zyzzyva 日本語 🎉 <end_of_text> <start_of_text>", "cat"])
    assert int(tokens.max()) < default.VOCABULARY
    assert int((tokens[1] > 0).sum()) == 3


def test_texts_of_words_never_met_in_training_are_nearer_the_more_words_they_share() -> None:
    texts = [
        "democratic parliament votes on railway budget",
        "railway budget: parliament votes",
        "violin sonata in minor",
    ]
    one, near, far = text_encoder("default", CPU).encode(texts)
    assert one @ near > one @ far + 0.2
