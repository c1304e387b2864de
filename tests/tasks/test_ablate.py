"""Ablations on planted data: each variant is what its name says, and what is told can be computed again."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from contracts import params as parameters
from contracts.params import Align, Params, Train
from contracts.place import PROJECT, Night
from models.metrics import bootstrap
from tasks import ablate, evaluate
from tasks.ablate import FULL, Variant, variants
from tasks.pinned import Pinned
from tests.snapshots import plant

MODALITIES = ("visual", "text", "audio")
SOME = ("history hidden", "no profile", "IDs only")


def params(**changes: object) -> Params:
    """A small model, trained for a moment."""
    whole = parameters.load(PROJECT / "params.yaml")
    train = {"epochs": 4, "warmup_epochs": 1, "layers": 1, "max_length": 20, **changes}
    return replace(
        whole,
        align=replace(whole.align, width=16, epochs=3),
        train=replace(whole.train, **train),  # type: ignore[arg-type]
        evaluate=replace(whole.evaluate, bootstrap_samples=300),
    )


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A night after its snapshot, with some variants measured."""
    night = plant(tmp_path_factory.mktemp("night"), users=150, videos=90, seed=2)
    (night.folder("snapshot") / "champion").mkdir()
    ablate.run(params(), night, 2, SOME)
    return night


@pytest.fixture
def found(night: Night) -> dict:
    return json.loads((night.workspace / "ablate" / "ablations.json").read_text())


def test_what_is_asked_for_is_measured_beside_the_full_model(found: dict) -> None:
    assert list(found["variants"]) == sorted([FULL, *SOME])
    assert (found["measure"], found["seeds"]) == ("ndcg@10", 2)
    told = found["variants"][FULL]
    assert told["everybody"]["difference"]["mean"] == 0.0
    assert len(set(told["everybody"]["by_seed"])) == 2, "another seed must give another model"


def test_every_variant_recommends_otherwise_and_hiding_histories_does_only_to_who_has_one(
    night: Night,
) -> None:
    table = pq.read_table(night.workspace / "ablate" / "per_user.parquet").to_pandas().set_index("user_id")
    pinned = Pinned(night)
    ids, lengths = pinned.users["user_id"].to_pylist(), pinned.histories("test").lengths.tolist()
    length = dict(zip(ids, lengths, strict=True))
    has_past = np.array([bool(length[user]) for user in table.index])
    for name in SOME:
        changed = (table[f"{name}, seed 1"] != table[f"{FULL}, seed 1"]).to_numpy()
        assert changed[has_past].mean() > 0.05, name
        if name == "history hidden":
            assert not changed[~has_past].any()


def test_every_figure_can_be_computed_again_from_the_table_of_people(night: Night, found: dict) -> None:
    table = pq.read_table(night.workspace / "ablate" / "per_user.parquet").to_pandas()
    cold = Pinned(night).histories("test").lengths.numpy() < 5
    ids = Pinned(night).users["user_id"].to_numpy(zero_copy_only=False)[cold]
    for part, rows in (("everybody", table), ("cold_users", table[table["user_id"].isin(ids)])):
        ours, full = (
            np.stack([rows[f"{name}, seed {seed}"] for seed in (1, 2)]) for name in ("no profile", FULL)
        )
        told = found["variants"]["no profile"][part]
        assert told["ndcg"] == pytest.approx(ours.mean())
        assert told["difference"] == pytest.approx(bootstrap(ours - full, 300, 1))
        assert told["difference"]["users"] == len(rows) > 1


def test_the_table_and_the_plot_tell_every_variant(night: Night, found: dict) -> None:
    table, plot = ((night.workspace / "ablate" / f"ablations.{kind}").read_text() for kind in ("md", "svg"))
    for name, told in found["variants"].items():
        assert f"| {name} | {told['what']} | {told['everybody']['ndcg']:.4f} |" in table
        assert name in plot
        assert told["everybody"]["meaning"] in table
    assert "var(--" not in plot


def test_a_night_that_is_ablated_again_gives_the_same_bytes(night: Night) -> None:
    files = sorted((night.workspace / "ablate").iterdir())
    before = [path.read_bytes() for path in files]
    ablate.run(params(), night, 2, SOME)
    assert [path.read_bytes() for path in files] == before


def test_the_nights_own_files_are_left_alone(night: Night) -> None:
    assert not (night.workspace / "train").exists()
    assert not (night.workspace / "align").exists()


@pytest.mark.parametrize("name", list(variants(MODALITIES, params().train.fusion)))
def test_each_variant_changes_something_and_only_what_params_yaml_knows(name: str) -> None:
    whole = params()
    variant, own = variants(MODALITIES, whole.train.fusion)[name], f"fusion {whole.train.fusion}"
    assert set(variant.train) <= {field.name for field in fields(Train)}
    assert set(variant.align) <= {field.name for field in fields(Align)}
    same = replace(whole.train, **variant.train) == whole.train and not variant.align  # type: ignore[arg-type]
    unchanged = same and variant.content is None and not variant.hidden
    assert unchanged == (name in (FULL, own))
    assert (variant.model == FULL) == (name in ("history hidden", own))


def snapshot(night: Night, variant: Variant, folder: Path) -> Pinned:
    mine = Night(night.day, folder)
    ablate._snapshot(Pinned(night), mine, variant, 1)
    return Pinned(mine)


def test_a_modality_that_is_left_out_is_nowhere_and_the_champion_stays_behind(
    night: Night, tmp_path: Path
) -> None:
    changed = snapshot(night, variants(MODALITIES, "attention")["no text"], tmp_path)
    assert changed.modalities == ["visual", "audio"]
    assert torch.equal(changed.features["visual"], Pinned(night).features["visual"])
    assert not (tmp_path / "snapshot" / "champion").exists()
    nothing = snapshot(night, variants(MODALITIES, "attention")["IDs only"], tmp_path / "ids")
    assert nothing.modalities == []


def test_shuffled_content_goes_whole_to_another_video(night: Night, tmp_path: Path) -> None:
    before = Pinned(night).features
    after = snapshot(night, variants(MODALITIES, "attention")["shuffled content"], tmp_path).features
    gap_VV = torch.cdist(after["visual"], before["visual"])
    from_V = gap_VV.argmin(1)
    assert sorted(from_V.tolist()) == list(range(90))
    assert (from_V != torch.arange(90)).float().mean() > 0.9
    assert all(torch.equal(after[name], before[name][from_V]) for name in before)


def test_whose_history_is_hidden_is_told_what_a_new_user_is(night: Night) -> None:
    pinned = Pinned(night)
    spec = ablate.train.describe(params().train, pinned, 16)
    past = pinned.histories("test", spec.contexts)
    people = evaluate.People(past, pinned.profiles(spec, "test"), pinned.seen("test"))
    model = ablate.train.InterestModel(spec).eval()
    catalogue = pinned.catalogue(spec.modalities, spec.video_ids, spec.video_numbers)
    hidden = ablate._without_histories(evaluate.Scorer(model, catalogue, people))
    everybody = torch.arange(pinned.users.num_rows)
    with torch.no_grad():
        z_BD = hidden.read(everybody, model.items(catalogue)).z_ND
    same = torch.unique(torch.cat([people.profiles.category_BC.float(), people.profiles.number_BP], 1), dim=0)
    assert len(torch.unique(z_BD.round(decimals=4), dim=0)) <= len(same) < len(everybody)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "1"], "--seeds is 1; give at least 2"),
        (["--variants", "no music"], "there is no 'no music'; choose from full, no sequence,"),
        (["--workspace", "nowhere"], "run `python -m tasks.snapshot"),
    ],
)
def test_input_that_is_refused_says_what_to_do(
    night: Night, capsys: pytest.CaptureFixture, arguments: list[str], said: str
) -> None:
    given = ["--night", str(night.day), "--workspace", str(night.workspace), *arguments]
    assert ablate.main(given) == 2
    assert said in capsys.readouterr().err


def test_a_data_set_without_content_has_no_modality_to_leave_out() -> None:
    assert not [name for name in variants((), "attention") if name in ("no visual", "no text", "no audio")]
    assert asdict(variants((), "late")["fusion late"])["model"] == FULL
