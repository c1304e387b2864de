"""Export of a saved model: the files describe it, and a reader without torch ranks as the model does."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from core.errors import DONE, REFUSED_INPUT
from core.hashing import hash_bundle, hash_file
from core.paths import PROJECT_ROOT, Night
from models.bundle import load_bundle, save_bundle
from models.interest_model import InterestModel
from registry.served_model import _user_profiles
from tests.support.command_line import undercurrent
from tests.support.served_model import load_recommender
from tests.support.workspaces import sample_night

PAGE = PROJECT_ROOT / "docs" / "how-to" / "export-the-model.md"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A night whose model is quick to export."""
    night = sample_night(tmp_path_factory.mktemp("night"), champion=None)
    save_changed(night, encoder="mean", fusion="uniform")
    return night


def save_changed(night: Night, **changes: object) -> None:
    """Replace the model of the night by an untrained one with other settings."""
    config = load_bundle(night.workspace / "train").config
    torch.manual_seed(1)
    save_bundle(night.workspace / "train", InterestModel(replace(config, **changes)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exported(night: Night, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "exported"
    assert run(night, folder) == DONE
    return folder


def run(night: Night, out: Path, *options: str) -> int:
    workspace = str(night.workspace)
    return undercurrent(
        "export", "--night", str(night.day), "--workspace", workspace, "--out", str(out), *options
    )


def test_the_scores_of_real_sequences_are_those_of_the_model(night: Night, exported: Path) -> None:
    recommender, rows = load_recommender(night), request(night)
    sequences, profiles = recommender._sequences(rows), _user_profiles(rows, recommender.model.config)
    batch = sequences.padded_batch(torch.arange(len(rows)), 8)
    index_BT = sequences.offsets[:-1, None] + torch.arange(batch.mask_BT.shape[1])
    feeds = {
        "video": batch.video_BT.masked_fill(~batch.mask_BT, -1),
        "started_at": sequences.timestamp_E[index_BT.clamp(max=len(sequences.video_E) - 1)],
        "hour": batch.hour_BT,
        "watch_ratio": torch.where(batch.watch_ratio_known_BT, batch.watch_ratio_BT, torch.nan),
        "behaviours": batch.behaviour_BTA,
        "comment_sentiment": torch.full_like(batch.watch_ratio_BT, torch.nan),
        "contexts": batch.context_BTJ,
        "profile_categories": profiles.category_BJ,
        "profile_numbers": torch.full((len(rows), 1), torch.nan),
    }
    session = onnxruntime.InferenceSession(exported / "user.onnx")
    (vector_BF,) = session.run(None, {name: tensor.numpy() for name, tensor in feeds.items()})
    items = np.load(exported / "items.npz")
    with torch.no_grad():
        state = recommender.model.encode_user(batch, profiles, recommender.items)
        expected_BV, _ = recommender.model.score_items(state, recommender.items)
    assert np.abs(vector_BF @ items["vectors"].T - expected_BV.numpy()).max() < 1e-4
    assert items["video_ids"].tolist() == [f"v{i:03d}" for i in range(40)]
    assert (items["available_from"] == recommender.item_table.upload_day_V.numpy()).all()


def request(night: Night) -> pd.DataFrame:
    """Return the sequences of the night's users as a caller would send them."""
    table = pq.read_table(night.workspace / "snapshot" / "sequences_test.parquet").to_pylist()
    return pd.DataFrame(
        {
            "video_ids": [[f"v{row:03d}" for row in user["video_rows"]] for user in table],
            "started_at_ms": [[int(at.timestamp() * 1000) for at in user["started_at"]] for user in table],
            "watch_ratios": [user["watch_ratios"] for user in table],
            "devices": [user["devices"] for user in table],
            "utc_offset_minutes": 60,
            "age_band": "25-34",
        }
    )


def test_the_manifest_describes_the_model(night: Night, exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    bundle = hash_bundle(night.workspace / "train")
    assert manifest["model"] == {"night": str(night.day), "version": None, "bundle_digest": bundle}
    assert manifest["profile_categories"] == {"age_band": ["18-24", "25-34"]}
    assert manifest["contexts"] == {"device": ["phone"]}
    assert manifest["encoder_fingerprints"]["text"] == "text-f1"
    assert manifest["not_exported"] == {"sources": [], "final_ranker": False, "rerank": True}
    assert manifest["digests"] == {name: hash_file(exported / name) for name in ("user.onnx", "items.npz")}
    session = onnxruntime.InferenceSession(exported / "user.onnx")
    assert [spec["name"] for spec in manifest["inputs"]] == [spec.name for spec in session.get_inputs()]


def test_the_same_model_gives_the_same_bytes_without_source_paths(
    night: Night, exported: Path, tmp_path: Path
) -> None:
    assert run(night, tmp_path) == DONE
    for path in exported.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    assert b".py" not in (exported / "user.onnx").read_bytes()


def test_the_documented_example_runs(exported: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = code.replace('["v1", "v2"]', '["v001", "v002"]')
    completed = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['torch'] = None\n{code}"],
        cwd=exported.parent,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count("v0") == 10
    assert "v001" not in completed.stdout


@pytest.mark.parametrize("options", [(), ("--night", "2026-03-12", "--champion")])
def test_exactly_one_model_must_be_named(options: tuple[str, ...], tmp_path: Path, capsys) -> None:
    assert undercurrent("export", "--out", str(tmp_path), *options) == REFUSED_INPUT
    assert "name one model: --night YYYY-MM-DD or --champion" in capsys.readouterr().err


def test_a_model_without_inner_products_is_refused(tmp_path: Path, capsys) -> None:
    night = sample_night(tmp_path / "night", champion=None)
    save_changed(night, fusion="late")
    assert run(night, tmp_path / "out") == REFUSED_INPUT
    assert "train.model.fusion is late" in capsys.readouterr().err
