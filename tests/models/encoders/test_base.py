from collections.abc import Mapping

import numpy as np
import pytest
import torch

from models.encoders import Encoder, image_encoder, pick_devices, text_encoder, weights_digest
from models.encoders.base import pick_dtype
from models.encoders.default import default_clap, default_clip
from tests.models.encoders.things import CPU, MAKERS, things


def test_pictures_and_text_of_one_name_share_one_model() -> None:
    assert image_encoder("default", CPU).model is text_encoder("default", CPU).model


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
def test_the_fingerprint_changes_with_weights_preprocessing_and_sampling(modality: str) -> None:
    def changed(change: str) -> str:
        default_clip.cache_clear()
        default_clap.cache_clear()
        encoder: Encoder = MAKERS[modality]("default", CPU, "bf16" if change == "precision" else "fp32")
        if change == "weights":
            with torch.no_grad():
                next(iter(encoder.model.parameters())).view(-1)[0] += 1e-3
            encoder.weights = weights_digest(encoder.model)
        if change == "preprocessing":
            encoder.preprocessing = {**encoder.preprocessing, "mean": 0.5}
        return encoder.fingerprint({"max_segments": 3 if change == "sampling" else 40})

    prints = [changed(what) for what in ("nothing", "weights", "preprocessing", "sampling", "precision")]
    assert len(set(prints)) == 5
    assert all(len(text) == 16 for text in prints)


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_devices("auto") == [CPU]
    with pytest.raises(ValueError, match="no GPU"):
        pick_devices("cuda")


@pytest.mark.parametrize(
    ("able", "dtype"),
    [
        ({"avx2": True, "avx512_f": True}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
    ],
)
def test_auto_is_bf16_where_the_processor_computes_with_it(
    able: Mapping[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert pick_dtype("auto", CPU) == dtype
    assert pick_dtype("fp32", CPU) == torch.float32
    assert pick_dtype("bf16", CPU) == torch.bfloat16


@pytest.mark.parametrize("modality", MAKERS)
def test_bf16_vectors_are_unit_vectors_nearly_the_same_as_those_of_fp32(modality: str) -> None:
    items, _ = things(modality, 16)
    exact, rough = (
        MAKERS[modality]("default", CPU, precision).encode(items) for precision in ("fp32", "bf16")
    )
    assert rough.dtype == np.float32
    assert np.linalg.norm(rough, axis=1) == pytest.approx(1, abs=1e-5)
    assert (exact * rough).sum(1).min() > 0.999
    assert not np.array_equal(exact, rough)
