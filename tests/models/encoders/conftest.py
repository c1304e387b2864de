import pytest
from huggingface_hub import constants

from models.encoders import clap, clip, default


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No internet, and no model that another test may have touched."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the variable is read once, at import
    for cached in (clip.open_clip_model, clap.clap_model, default.default_clip, default.default_clap):
        cached.cache_clear()
