"""A saved model is the same model, bytes included; a broken one is refused in a sentence."""

from pathlib import Path

import pytest
import torch

from models.bundle import FORMAT, load_bundle, save_bundle
from tests.models.worlds import catalogue, everybody, histories, model, profiles


def test_a_saved_model_scores_as_before_and_saves_to_the_same_bytes(tmp_path: Path) -> None:
    made, past = model(), histories()
    save_bundle(tmp_path, made)
    again = load_bundle(tmp_path)
    assert again.spec == made.spec
    batch = past.batch(everybody(past), 8)
    scores = []
    for one in (made, again):
        items = one.items(catalogue())
        scores.append(one.scores(one.newest(batch, profiles(), items), items)[0])
    assert torch.equal(*scores)
    other = tmp_path / "other"
    other.mkdir()
    save_bundle(other, again)
    for name in ("model.safetensors", "model.json"):
        assert (other / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_missing_file_another_format_and_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_bundle(tmp_path, model())
    description = tmp_path / "model.json"
    text = description.read_text()
    description.write_text(text.replace('"layers": 2', '"layers": 1'))
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit model\.json"):
        load_bundle(tmp_path)
    description.write_text(text.replace(f'"format": {FORMAT}', '"format": 1'))
    with pytest.raises(ValueError, match=f"is not of format {FORMAT}"):
        load_bundle(tmp_path)
    description.write_text(text)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit model\.json"):
        load_bundle(tmp_path)
    description.unlink()
    with pytest.raises(ValueError, match=r"model\.json is missing"):
        load_bundle(tmp_path)
