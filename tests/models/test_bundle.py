"""A saved model keeps its scores and bytes. A broken bundle is refused."""

from pathlib import Path

import pytest
import torch

from models.bundle import FORMAT_VERSION, load_bundle, save_bundle
from models.sources import count_sources
from tests.support.model_inputs import all_users, make_item_table, make_model, make_profiles, make_sequences


def test_a_saved_model_keeps_its_scores_and_bytes(tmp_path: Path) -> None:
    model, sequences = make_model(), make_sequences()
    save_bundle(tmp_path, model)
    loaded = load_bundle(tmp_path)
    assert loaded.config == model.config
    batch = sequences.padded_batch(all_users(sequences), 8)
    scores = []
    for each in (model, loaded):
        items = each.encode_items(make_item_table())
        scores.append(each.score_items(each.encode_user(batch, make_profiles(), items), items)[0])
    assert torch.equal(*scores)
    second_folder = tmp_path / "other"
    second_folder.mkdir()
    save_bundle(second_folder, loaded)
    for name in ("model.safetensors", "model.json"):
        assert (second_folder / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_saved_model_keeps_its_sources_and_its_final_ranker(tmp_path: Path) -> None:
    model, sequences = make_model(sources=["trending", "item_cf", "content_kernel"]), make_sequences()
    count_sources(model.sources, sequences, make_item_table())
    for name in ("weight_S", "activity_weight_GS", "age_weight_HS", "age_bias_H"):
        torch.nn.init.normal_(getattr(model.final_ranker, name))
    torch.nn.init.normal_(model.average_z_2D)
    model.final_ranker.is_fitted.fill_(True)
    save_bundle(tmp_path, model)
    loaded = load_bundle(tmp_path)
    assert loaded.config == model.config
    batch = sequences.padded_batch(all_users(sequences), 8)
    score_BV = torch.randn(4, 12)
    table = make_item_table()
    final = [
        each.final_scores(score_BV, each.encode_items(table), batch, table, None) for each in (model, loaded)
    ]
    assert torch.equal(*final)
    assert (final[0].argsort(1) != score_BV.argsort(1)).any()


def test_broken_bundles_are_refused(tmp_path: Path) -> None:
    save_bundle(tmp_path, make_model())
    config_path = tmp_path / "model.json"
    text = config_path.read_text()
    config_path.write_text(text.replace('"layers": 2', '"layers": 1'))
    with pytest.raises(ValueError, match=r"model\.safetensors does not match model\.json"):
        load_bundle(tmp_path)
    config_path.write_text(text.replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 1'))
    with pytest.raises(ValueError, match=f"does not have format {FORMAT_VERSION}"):
        load_bundle(tmp_path)
    config_path.write_text(text.replace('"sources": []', '"sources": "trending"'))
    with pytest.raises(ValueError, match=r"sources must be a list, not 'trending'"):
        load_bundle(tmp_path)
    config_path.write_text(text.replace('"sources": []', '"sources": ["astrology"]'))
    with pytest.raises(ValueError, match="unknown sources astrology"):
        load_bundle(tmp_path)
    config_path.write_text(text)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"model\.safetensors does not match model\.json"):
        load_bundle(tmp_path)
    config_path.unlink()
    with pytest.raises(ValueError, match=r"model\.json is missing"):
        load_bundle(tmp_path)


def test_a_model_with_nan_is_refused(tmp_path: Path) -> None:
    model = make_model()
    model.average_z_2D[0, 0] = torch.nan
    save_bundle(tmp_path, model)
    with pytest.raises(ValueError, match=r"model\.safetensors: average_z_2D holds NaN"):
        load_bundle(tmp_path)
