from collections.abc import Mapping

import numpy as np
import pytest
import torch

from models.encoders import Encoder, build_image_encoder, build_text_encoder, hash_weights, select_devices
from models.encoders.base import select_dtype
from models.encoders.default import load_default_clap, load_default_clip
from tests.support.encoder_inputs import CPU, ENCODER_BUILDERS, make_inputs


def test_image_and_text_encoders_share_one_model() -> None:
    assert build_image_encoder("default", CPU).model is build_text_encoder("default", CPU).model


@pytest.mark.parametrize("modality", ENCODER_BUILDERS)
def test_a_vector_depends_on_neither_batch_nor_seed(modality: str) -> None:
    encoder = ENCODER_BUILDERS[modality]("default", CPU)
    items, _ = make_inputs(modality, 4)
    together = encoder.encode(items)
    np.random.seed(1)
    torch.manual_seed(1)
    alone = np.concatenate([encoder.encode([item]) for item in items])
    assert alone == pytest.approx(together, abs=1e-5)


@pytest.mark.parametrize("modality", ENCODER_BUILDERS)
def test_the_fingerprint_covers_weights_preprocessing_and_sampling(modality: str) -> None:
    def changed(change: str) -> str:
        load_default_clip.cache_clear()
        load_default_clap.cache_clear()
        encoder: Encoder = ENCODER_BUILDERS[modality](
            "default", CPU, "bf16" if change == "precision" else "fp32"
        )
        if change == "weights":
            with torch.no_grad():
                next(iter(encoder.model.parameters())).view(-1)[0] += 1e-3
            encoder.weights_sha256 = hash_weights(encoder.model)
        if change == "preprocessing":
            encoder.preprocessing = {**encoder.preprocessing, "mean": 0.5}
        return encoder.fingerprint({"max_segments": 3 if change == "sampling" else 40})

    changes = ("nothing", "weights", "preprocessing", "sampling", "precision")
    fingerprints = [changed(change) for change in changes]
    assert len(set(fingerprints)) == 5
    assert all(len(fingerprint) == 16 for fingerprint in fingerprints)


def test_a_missing_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_devices("auto") == [CPU]
    with pytest.raises(ValueError, match="no GPU"):
        select_devices("cuda")


@pytest.mark.parametrize(
    ("able", "dtype"),
    [
        ({"avx2": True, "avx512_f": True}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
    ],
)
def test_auto_is_bf16_where_the_cpu_supports_it(
    able: Mapping[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert select_dtype("auto", CPU) == dtype
    assert select_dtype("fp32", CPU) == torch.float32
    assert select_dtype("bf16", CPU) == torch.bfloat16


@pytest.mark.parametrize("modality", ENCODER_BUILDERS)
def test_bf16_vectors_approximate_fp32_vectors(modality: str) -> None:
    items, _ = make_inputs(modality, 16)
    exact, rough = (
        ENCODER_BUILDERS[modality]("default", CPU, precision).encode(items) for precision in ("fp32", "bf16")
    )
    assert rough.dtype == np.float32
    assert np.linalg.norm(rough, axis=1) == pytest.approx(1, abs=1e-5)
    assert (exact * rough).sum(1).min() > 0.999
    assert not np.array_equal(exact, rough)
