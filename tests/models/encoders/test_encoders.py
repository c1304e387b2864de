import pytest

from tests.models.encoders.things import CPU, MAKERS


@pytest.mark.parametrize(
    ("modality", "spec", "words"),
    [
        ("visual", "defualt", "write default or open_clip"),
        ("text", "clap:x", "write default, open_clip.* or sentence"),
        ("audio", "open_clip:ViT-B-32:openai", "write default or clap"),
        ("visual", "open_clip:ViT-B-33:openai", "did you mean ViT-B-32"),
        ("visual", "open_clip:ViT-B-32:laion2b", "no file and no pretrained tag of ViT-B-32"),
        ("visual", "open_clip:ViT-B-32:/gone/weights.pt", "no file and no pretrained tag"),
        ("visual", "open_clip:ViT-B-32:laion2b_s34b_b79k", "without the internet"),
        ("visual", "open_clip:local-dir:/gone", "cannot be loaded"),
        ("text", "sentence:/gone", "cannot be loaded"),
        ("text", "sentence:sentence-transformers/all-MiniLM-L6-v2", "without the internet"),
        ("audio", "clap:/gone", "cannot be loaded"),
        ("audio", "clap:laion/clap-htsat-unfused", "without the internet"),
    ],
)
def test_an_encoder_that_cannot_be_had_is_one_sentence(modality: str, spec: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        MAKERS[modality](spec, CPU)
    assert "\n" not in str(caught.value)
