import pytest
from huggingface_hub import constants

from models.encoders import clap, clip, default, siglip


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set offline mode, and clear models that another test may have changed."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the variable is read only once, at import
    loaders = (clip.load_open_clip, clap.load_clap, siglip.load_siglip)
    for cached in (*loaders, default.load_default_clip, default.load_default_clap):
        cached.cache_clear()
