import pytest

from tests.support.encoder_inputs import CPU, ENCODER_BUILDERS


@pytest.mark.parametrize(
    ("modality", "encoder_name", "message"),
    [
        ("visual", "defualt", "write default, open_clip.* or siglip"),
        ("text", "clap:x", "write default, open_clip.* or sentence"),
        ("audio", "open_clip:ViT-B-32:openai", "write default or clap"),
        ("visual", "open_clip:ViT-B-33:openai", "did you mean ViT-B-32"),
        ("visual", "open_clip:ViT-B-32:laion2b", "neither a file nor a pretrained tag of ViT-B-32"),
        ("visual", "open_clip:ViT-B-32:/gone/weights.pt", "neither a file nor a pretrained tag"),
        ("visual", "open_clip:ViT-B-32:laion2b_s34b_b79k", "without the internet"),
        ("visual", "open_clip:local-dir:/gone", "cannot be loaded"),
        ("visual", "siglip:/gone", "cannot be loaded"),
        ("text", "siglip:google/siglip2-base-patch16-224", "without the internet"),
        ("text", "sentence:/gone", "cannot be loaded"),
        ("text", "sentence:sentence-transformers/all-MiniLM-L6-v2", "without the internet"),
        ("audio", "clap:/gone", "cannot be loaded"),
        ("audio", "clap:laion/clap-htsat-unfused", "without the internet"),
    ],
)
def test_an_unavailable_encoder_is_a_one_line_error(modality: str, encoder_name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ENCODER_BUILDERS[modality](encoder_name, CPU)
    assert "\n" not in str(caught.value)
