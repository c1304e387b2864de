"""Training on planted data: it learns what was planted, repeats to the byte, and every knob counts."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from contracts import params as parameters
from contracts import place
from contracts.errors import InputError
from contracts.model_params import Rerank, Train
from contracts.place import PROJECT, Night
from models.alignment import farthest
from models.bundle import load_bundle
from models.ranking import HEADS, PRIOR
from models.scoring import Scorer, behaviour_logits
from models.training import People
from tasks import align, tracking, train
from tasks.pinned import Pinned
from tasks.space import served
from tests.snapshots import NIGHT, plant

RERANK = Rerank(
    candidates=20,
    complete=0.5,
    like=0.5,
    comment=0.0,
    share=0.0,
    follow=0.0,
    skip=-0.5,
    negative_comments=0.0,
)
SMALL = Train(
    model="interest",
    fusion="user",
    encoder="transformer",
    layers=2,
    heads=2,
    dropout=0.1,
    positions=True,
    profile=True,
    contexts=("device",),
    video_numbers=("synchrony",),
    max_length=20,
    epochs=2,
    patience=1,
    batch_size=32,
    batch_of="people",
    learning_rate=0.003,
    weight_decay=0.01,
    clip_norm=1.0,
    ranking_weight=0.3,
    align_weight=0.1,
    anchor_weight=1.0,
    walk=0.0,
    rerank=RERANK,
    negatives=0,
    skip_below=0.2,
    id_dropout=0.2,
    horizon=5,
    half_life_days=2.0,
    warmup_epochs=0,
    device="auto",
    precision="auto",
    seed=1,
)
CHANGES: dict[str, Any] = {
    "model": "sasrec",
    "fusion": "late",
    "encoder": "lstm",
    "layers": 1,
    "heads": 1,
    "dropout": 0.3,
    "positions": False,
    "profile": False,
    "contexts": (),
    "video_numbers": ("synchrony", "comments"),
    "max_length": 5,
    "epochs": 3,
    "batch_size": 16,
    "batch_of": "events",
    "learning_rate": 0.001,
    "weight_decay": 0.5,
    "clip_norm": 0.01,
    "ranking_weight": 0.0,
    "align_weight": 0.0,
    "walk": 1.0,
    "rerank": replace(RERANK, skip=-1.0),
    "negatives": 16,
    "skip_below": 0.4,
    "id_dropout": 0.6,
    "horizon": 1,
    "half_life_days": 0.5,
    "warmup_epochs": 1,
    "precision": "bf16",
    "seed": 2,
}


@pytest.fixture(autouse=True)
def _no_tracking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests are not about MLflow, whose first database takes seconds to make."""
    if "tracked" not in request.fixturenames:
        monkeypatch.setattr(tracking, "log_run", lambda *_: "not logged")


@pytest.fixture
def tracked() -> None:
    """Asked for by the test that is about MLflow."""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return aligned(plant(tmp_path_factory.mktemp("night"), users=60, videos=50))


def aligned(night: Night) -> Night:
    params = replace(parameters.load(PROJECT / "params.yaml").align, width=16, epochs=5)
    align.run(params, night)
    return night


def copied(night: Night, folder: Path) -> Night:
    shutil.copytree(night.workspace, folder)
    return Night(NIGHT, folder)


def test_the_same_inputs_give_the_same_bytes_and_each_knob_changes_the_model(night: Night) -> None:
    first = train.run(SMALL, night).digests
    assert sorted(first) == ["curve.json", "model.json", "model.safetensors"]
    torch.set_num_threads(1)
    assert train.run(SMALL, night).digests == first
    assert {*CHANGES, "patience", "anchor_weight", "device"} == {field.name for field in fields(Train)}
    same = [
        name
        for name, value in CHANGES.items()
        if _model(train.run(replace(SMALL, **{name: value}), night).digests) == _model(first)
    ]
    assert same == []


def _model(digests: Mapping[str, str]) -> tuple[str, str]:
    """What is served, without the curve."""
    return digests["model.json"], digests["model.safetensors"]


def test_heads_begin_with_what_the_training_days_tell_of_each_video(night: Night) -> None:
    pinned = Pinned(night)
    spec = train.describe(SMALL, pinned, 16)
    heads, like = train.prepare(SMALL, pinned, spec).scorer.model.ranking, HEADS.index("like")
    past, video = pinned.histories("train"), len(spec.video_ids) - 1
    row = pinned.videos["video_id"].to_pylist().index(spec.video_ids[video])
    liked_E = past.did_EA[:, spec.behaviours.index("liked")].double()
    rate = (liked_E.sum() + 1) / (len(liked_E) + 2)
    mine_E = liked_E[past.video_E == row]
    expected = (mine_E.sum() + PRIOR * rate) / (len(mine_E) + PRIOR)
    found = (heads.logits.bias[like] + heads.odds.weight[video, like]).sigmoid()
    assert found.item() == pytest.approx(float(expected), abs=1e-5)
    assert found.item() != pytest.approx(float(rate), abs=1e-3)


def test_heads_are_calibrated_on_the_validation_day(night: Night) -> None:
    """Untrained heads call everything even; calibrated ones know how often each happens."""
    train.run(replace(SMALL, learning_rate=1e-9, epochs=1), night)
    pinned, model = Pinned(night), load_bundle(night.folder("train"))
    people = People(
        pinned.histories("train", model.spec.contexts),
        pinned.profiles(model.spec, "train"),
        pinned.seen("train"),
    )
    spec, views = model.spec, pinned.views("valid")
    catalogue = pinned.catalogue(spec.modalities, spec.video_ids, spec.video_numbers)
    p_NH = torch.sigmoid(behaviour_logits(Scorer(model, catalogue, people), views.user_N, views.row_N))
    complete_N = (views.ratio_N >= 0.95)[~views.ratio_N.isnan()]
    told = float(p_NH[~views.ratio_N.isnan(), HEADS.index("complete")].mean())
    assert told == pytest.approx(float(complete_N.float().mean()), abs=0.02)


def test_a_second_stage_that_weighs_comments_must_read_them(night: Night) -> None:
    weighing = replace(SMALL, rerank=replace(RERANK, negative_comments=-1.0))
    with pytest.raises(InputError, match="negative_comments asks for comment_sentiment"):
        train.run(weighing, night)


def test_the_anchor_holds_the_space_that_the_champion_has(night: Night, tmp_path: Path) -> None:
    train.run(SMALL, night)
    second = copied(night, tmp_path / "night")
    champion = second.workspace / "snapshot" / "champion"
    shutil.copytree(second.workspace / "train", champion)
    path = second.output("snapshot", "valid_views.parquet")
    pq.write_table(pq.read_table(path).slice(0, 0), path)  # the last epoch is kept
    moved = []
    for weight in (0.0, 10.0):
        train.run(replace(SMALL, anchor_weight=weight, epochs=8, learning_rate=0.01), second)
        heads = load_bundle(second.folder("train")).fusion.project
        moved.append(farthest(served(Pinned(second), heads.width).drift(heads)))
    assert 0 < moved[1] < 0.7 * moved[0]


def test_people_are_read_in_the_space_that_the_first_champion_was_aligned_in(
    night: Night, tmp_path: Path
) -> None:
    train.run(replace(SMALL, learning_rate=0.01), night)
    first = load_bundle(night.folder("train")).fusion
    before = [head.linear.weight.clone() for head in first.aligned.heads.values()]
    assert not any(map(torch.equal, before, (head.linear.weight for head in first.project.heads.values())))
    second = copied(night, tmp_path / "night")
    shutil.copytree(second.workspace / "train", second.workspace / "snapshot" / "champion")
    aligned(second)  # starts from what training made of the champion's space
    train.run(SMALL, second)
    after = load_bundle(second.folder("train")).fusion.aligned.heads.values()
    assert all(map(torch.equal, before, (head.linear.weight for head in after)))


def test_a_number_that_the_catalogue_has_not_is_refused_in_a_sentence(night: Night) -> None:
    for name in ("loudness", "caption"):
        with pytest.raises(InputError, match=rf"train\.video_numbers has '{name}'.*choose from .*comments"):
            train.run(replace(SMALL, video_numbers=(name,)), night)


def test_only_how_the_numbers_it_reads_were_made_binds_a_model(night: Night) -> None:
    for names, bound in ((("comments",), False), (("comments", "synchrony"), True)):
        train.run(replace(SMALL, video_numbers=names), night)
        spec = load_bundle(night.folder("train")).spec
        assert list(spec.video_numbers) == list(names)
        assert ("synchrony" in spec.fingerprints) is bound


def test_patience_decides_how_long_a_worsening_model_is_trained(night: Night) -> None:
    worse = replace(SMALL, learning_rate=0.3, epochs=12, warmup_epochs=0)
    epochs = [train.run(replace(worse, patience=p), night).facts["epochs"] for p in (1, 4)]
    assert epochs[0] < epochs[1]


def test_the_model_kept_is_the_best_of_the_curve(night: Night) -> None:
    receipt = train.run(replace(SMALL, epochs=6, patience=6), night)
    curve = json.loads((night.folder("train") / "curve.json").read_text())
    best = max(row["ndcg@10"] for row in curve)
    assert receipt.facts["best_ndcg@10"] == best
    assert {"retrieval", "ranking", "align", "total", "gradient_norm", "learning_rate"} <= set(curve[0])


def test_vocabularies_come_from_training_days_only(night: Night, tmp_path: Path) -> None:
    other = copied(night, tmp_path / "night")
    path = other.output("snapshot", "users_train.parquet")
    users, trained = pq.read_table(path), pq.read_table(other.output("snapshot", "train.parquet"))
    late = [user for user in users["user_id"].to_pylist() if user not in set(trained["user_id"].to_pylist())]
    assert late
    tiers = [
        "brand new" if user in late else tier
        for user, tier in zip(users["user_id"].to_pylist(), users["city_tier"].to_pylist(), strict=True)
    ]
    pq.write_table(
        users.set_column(users.schema.get_field_index("city_tier"), "city_tier", pa.array(tiers)), path
    )
    train.run(SMALL, other)
    spec = load_bundle(other.folder("train")).spec
    views = pq.read_table(other.output("snapshot", "catalogue.parquet"))
    assert "brand new" not in spec.categories["city_tier"]
    assert len(spec.video_ids) == int((views["train_views"].to_numpy() > 0).sum()) < views.num_rows


def test_the_test_day_cannot_reach_the_model(night: Night, tmp_path: Path) -> None:
    other = copied(night, tmp_path / "night")
    for name in ("test", "test_views", "seen_test"):
        other.output("snapshot", f"{name}.parquet").unlink()
    assert train.run(SMALL, other).digests == train.run(SMALL, night).digests


def test_a_loss_that_is_not_finite_stops_training_and_says_where(night: Night) -> None:
    with pytest.raises(FloatingPointError, match=r"at epoch \d+, step \d of 2 \(batch of user rows \[\d+, "):
        train.run(replace(SMALL, learning_rate=1e30, clip_norm=1e30, warmup_epochs=0, patience=50), night)


@pytest.mark.parametrize("change", [{"heads": 3}, {"heads": 3, "model": "sasrec"}])
def test_heads_that_do_not_divide_the_width_are_refused(change: dict[str, Any], night: Night) -> None:
    with pytest.raises(InputError, match=r"train\.heads is 3; align\.width is 16: choose a divisor"):
        train.run(replace(SMALL, **change), night)


def test_a_killed_run_is_another_one_where_the_snapshot_changed(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, other = [], copied(night, tmp_path / "night")
    monkeypatch.setattr(train, "fit", lambda *parts: found.append(parts[-1].identity) or [{"epoch": 1.0}])
    for changed in (False, False, True):
        path = other.output("snapshot", "train.parquet")
        if changed:
            pq.write_table(pq.read_table(path).slice(1), path)
        train.run(SMALL, other)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("name", "other"), [("of_code", lambda: ["edited"]), ("choose_device", lambda _: torch.device("cuda"))]
)
def test_a_killed_run_is_another_one_where_code_or_device_is_another(
    name: str, other: Callable[..., Any], night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    monkeypatch.setattr(train, "fit", lambda *parts: found.append(parts[-1].identity) or [{"epoch": 1.0}])
    train.run(SMALL, night)
    monkeypatch.setattr(train, name, other)
    train.run(SMALL, night)
    assert found[0] != found[1]


def test_the_code_of_a_run_is_known_by_what_its_files_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train.of_code() == train.of_code()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "losses.py").write_text("a = 1")
    monkeypatch.setattr(train, "PROJECT", tmp_path)
    before = train.of_code()
    (tmp_path / "models" / "losses.py").write_text("a = 2")
    assert len(before) == 1
    assert train.of_code() != before


@pytest.mark.parametrize("modalities", [(), ("text",)])
def test_data_without_some_or_any_modality_trains(tmp_path: Path, modalities: tuple[str, ...]) -> None:
    night = aligned(plant(tmp_path, users=40, videos=40, modalities=modalities))
    assert train.run(SMALL, night).facts["best_ndcg@10"] > 0


def test_without_anybody_to_validate_on_all_epochs_are_trained(night: Night, tmp_path: Path) -> None:
    other = copied(night, tmp_path / "night")
    path = other.output("snapshot", "valid_views.parquet")
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    receipt = train.run(SMALL, other)
    assert receipt.facts["epochs"] == receipt.facts["best_epoch"] == SMALL.epochs
    assert receipt.facts["validation_users"] == 0


@pytest.mark.usefixtures("tracked")
def test_the_run_is_written_down_in_mlflow(night: Night) -> None:
    receipt = train.run(SMALL, night)
    client = mlflow.MlflowClient(place.tracking_uri())
    run = client.get_run(receipt.facts["mlflow_run"])
    assert run.data.params["learning_rate"] == "0.003"
    assert run.data.metrics["final_best_ndcg_at_10"] == pytest.approx(receipt.facts["best_ndcg@10"])
    assert len(client.get_metric_history(run.info.run_id, "retrieval")) == receipt.facts["epochs"]
    assert run.info.status == "FINISHED"
