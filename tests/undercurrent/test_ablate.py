"""Ablations on planted data: variants change what their name says, and results follow from the files."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core import config as parameters
from core.config import AlignConfig, Params
from core.config.models import PopularityConfig
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.schema import replace_nested
from models.evaluation.metrics import paired_bootstrap
from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel
from snapshots.reader import SnapshotReader
from tests.support.command_line import undercurrent
from tests.support.snapshots import plant
from training.model_config import build_model_config
from undercurrent import ablate
from undercurrent.ablation_variants import FULL, Variant, variants

MODALITIES = ("visual", "text", "audio")
SELECTED = ("sequence hidden", "no profile", "IDs only")


def params(**changes: object) -> Params:
    """Return the parameters of a small model with a short training."""
    base = parameters.load_params(PROJECT_ROOT / "params.yaml")
    model = {"model.warmup_epochs": 1, "model.layers": 1, "model.max_length": 20}
    model["model.sources"] = ("trending",)  # stronger sources hide what a variant changes
    return replace(
        base,
        align=replace(base.align, width=16, epochs=3),
        train=replace_nested(base.train, {"epochs": 4, **model, **changes}),
        evaluate=replace(base.evaluate, bootstrap_samples=300),
    )


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Return a night after its snapshot, with some variants measured."""
    night = plant(tmp_path_factory.mktemp("night"), users=150, videos=90, seed=2)
    (night.folder("snapshot") / "champion").mkdir()
    ablate.run(params(), night, 2, SELECTED)
    return night


@pytest.fixture
def results(night: Night) -> dict:
    return json.loads((night.workspace / "ablate" / "ablations.json").read_text())


def test_selected_variants_and_the_full_model_are_measured(results: dict) -> None:
    assert list(results["variants"]) == sorted([FULL, *SELECTED])
    assert (results["metric"], results["seeds"]) == ("ndcg@10", 2)
    summary = results["variants"][FULL]
    assert summary["all_users"]["difference"]["mean"] == 0.0
    assert len(set(summary["all_users"]["by_seed"])) == 2, "another seed must give another model"


def test_every_variant_changes_the_metrics(night: Night) -> None:
    table = pq.read_table(night.workspace / "ablate" / "per_user.parquet").to_pandas().set_index("user_id")
    snapshot = SnapshotReader(night)
    ids, lengths = (
        snapshot.user_ids.to_pylist(),
        snapshot.sequences("test").lengths.tolist(),
    )
    length = dict(zip(ids, lengths, strict=True))
    has_sequence = np.array([bool(length[user]) for user in table.index])
    for name in SELECTED:
        changed = (table[f"{name}, seed 1"] != table[f"{FULL}, seed 1"]).to_numpy()
        assert changed[has_sequence].mean() > 0.05, name
        if name == "sequence hidden":
            assert not changed[~has_sequence].any()


def test_metrics_follow_from_the_per_user_table(night: Night, results: dict) -> None:
    table = pq.read_table(night.workspace / "ablate" / "per_user.parquet").to_pandas()
    cold = SnapshotReader(night).sequences("test").lengths.numpy() < 5
    ids = SnapshotReader(night).user_ids.to_numpy(zero_copy_only=False)[cold]
    for part, rows in (("all_users", table), ("cold_users", table[table["user_id"].isin(ids)])):
        variant_ndcg, full = (
            np.stack([rows[f"{name}, seed {seed}"] for seed in (1, 2)]) for name in ("no profile", FULL)
        )
        summary = results["variants"]["no profile"][part]
        assert summary["ndcg"] == pytest.approx(variant_ndcg.mean())
        assert summary["difference"] == pytest.approx(paired_bootstrap(variant_ndcg - full, 300, 1))
        assert summary["difference"]["num_users"] == len(rows) > 1


def test_the_table_and_the_plot_show_every_variant(night: Night, results: dict) -> None:
    table, plot = (
        (night.workspace / "ablate" / f"ablations.{suffix}").read_text() for suffix in ("md", "svg")
    )
    for name, summary in results["variants"].items():
        assert f"| {name} | {summary['description']} | {summary['all_users']['ndcg']:.4f} |" in table
        assert name in plot
        assert summary["all_users"]["significance"] in table
    assert "var(--" not in plot


def test_ablations_are_reproducible(night: Night) -> None:
    files = sorted((night.workspace / "ablate").iterdir())
    before = [path.read_bytes() for path in files]
    ablate.run(params(), night, 2, SELECTED)
    assert [path.read_bytes() for path in files] == before


def test_the_files_of_the_night_are_unchanged(night: Night) -> None:
    assert not (night.workspace / "train").exists()
    assert not (night.workspace / "align").exists()


@pytest.mark.parametrize("name", list(variants(MODALITIES, params().train.model.fusion)))
def test_each_variant_changes_known_parameters(name: str) -> None:
    base = params()
    variant = variants(MODALITIES, base.train.model.fusion)[name]
    present_fusion = f"fusion {base.train.model.fusion}"
    assert set(variant.align) <= {field.name for field in fields(AlignConfig)}
    same = replace_nested(base.train, variant.train) == base.train and not variant.align
    unchanged = same and variant.transform_features is None and not variant.hide_sequences
    assert unchanged == (name in (FULL, present_fusion))
    assert (variant.reuse_model == FULL) == (name in ("sequence hidden", present_fusion))


def variant_snapshot(night: Night, variant: Variant, folder: Path) -> SnapshotReader:
    variant_night = Night(night.day, folder)
    ablate._write_snapshot(SnapshotReader(night), variant_night, variant, 1)
    return SnapshotReader(variant_night)


def test_a_dropped_modality_and_the_champion_are_not_in_the_snapshot(night: Night, tmp_path: Path) -> None:
    changed = variant_snapshot(night, variants(MODALITIES, "attention")["no text"], tmp_path)
    assert changed.modalities == ["visual", "audio"]
    assert torch.equal(changed.features["visual"], SnapshotReader(night).features["visual"])
    assert not (tmp_path / "snapshot" / "champion").exists()
    nothing = variant_snapshot(night, variants(MODALITIES, "attention")["IDs only"], tmp_path / "ids")
    assert nothing.modalities == []


def test_shuffled_content_belongs_to_another_video(night: Night, tmp_path: Path) -> None:
    before = SnapshotReader(night).features
    after = variant_snapshot(night, variants(MODALITIES, "attention")["shuffled content"], tmp_path).features
    gap_VV = torch.cdist(after["visual"], before["visual"])
    from_V = gap_VV.argmin(1)
    assert sorted(from_V.tolist()) == list(range(90))
    assert (from_V != torch.arange(90)).float().mean() > 0.9
    assert all(torch.equal(after[name], before[name][from_V]) for name in before)


def test_changed_content_has_no_vectors_of_segments() -> None:
    features = {
        "segments.milliseconds": torch.tensor([5000]),
        "visual": torch.rand(3, 2),
        "visual.mask": torch.ones(3).bool(),
        "visual.segments": torch.rand(5, 2),
        "visual.segment_rows": torch.zeros(5, 2).int(),
    }
    kept = {
        "no visual": {"segments.milliseconds"},
        "IDs only": {"segments.milliseconds"},
        "shuffled content": {"segments.milliseconds", "visual", "visual.mask"},
    }
    for name, names in kept.items():
        transform = variants(MODALITIES, "attention")[name].transform_features
        assert transform is not None
        assert transform(features).keys() == names


def test_a_user_with_a_hidden_sequence_is_a_new_user(night: Night) -> None:
    snapshot = SnapshotReader(night)
    config = build_model_config(params().train.model, snapshot, "test", 16)
    model, fold = InterestModel(config).eval(), snapshot.fold("test", config)
    hidden = ablate._hide_sequences(Scorer(model, fold.item_table, fold.users, fold.day))
    users = torch.arange(len(snapshot.user_ids))
    with torch.no_grad():
        z_BD = hidden.encode_user(users, model.encode_items(fold.item_table)).z_ND
    profiles = fold.users.profiles
    same = torch.unique(torch.cat([profiles.category_BJ.float(), profiles.number_BQ], 1), dim=0)
    assert len(torch.unique(z_BD.round(decimals=4), dim=0)) <= len(same) < len(users)


def test_a_baseline_has_no_parts_to_leave_out(night: Night) -> None:
    baseline = params(model=PopularityConfig("popularity"))
    with pytest.raises(InputError, match=r"train\.model\.name is popularity, but ablate leaves out parts"):
        ablate.run(baseline, night, 2, SELECTED)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1"], "--seeds is 1; give at least 2"),
        (["--variant", "no music"], "there is no variant 'no music'; choose from full, no sequence,"),
        (["--workspace", "nowhere"], "run `python -m tasks.snapshot"),
    ],
)
def test_refused_input_names_the_remedy(
    night: Night, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    given = ["--night", str(night.day), "--workspace", str(night.workspace), *arguments]
    assert undercurrent("ablate", *given) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("modalities", [("text",), ("visual", "text"), MODALITIES])
def test_every_variant_of_an_adaptive_model_can_be_built(modalities: tuple[str, ...], tmp_path: Path) -> None:
    night = plant(tmp_path / "night", users=20, videos=20, new_videos=2, modalities=modalities)
    adaptive = {"model.normalisation": "adaptive", "model.reliability": len(modalities) > 1}
    base = params(**adaptive).train
    for name, variant in variants(modalities, base.model.fusion).items():
        snapshot = variant_snapshot(night, variant, tmp_path / name)
        model = replace_nested(base, variant.train).model
        assert build_model_config(model, snapshot, "valid_1", 16).width == 16


def test_variants_without_modalities() -> None:
    assert not [name for name in variants((), "attention") if name in ("no visual", "no text", "no audio")]
    assert asdict(variants((), "late")["fusion late"])["reuse_model"] == FULL
