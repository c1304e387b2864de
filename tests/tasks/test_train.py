"""Training on planted data is reproducible, and every parameter has an effect."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from core import config as parameters
from core import paths
from core.config.model_half import FederatedTrainingConfig, PrivateTrainingConfig, TrainConfig
from core.config.models import (
    AnyModelConfig,
    InterestModelConfig,
    ObjectiveConfig,
    RerankConfig,
    TransformerConfig,
)
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.schema import replace_nested
from models.bundle import load_bundle
from models.data.labels import COMPLETE_WATCH_RATIO
from models.data.targets import BEHAVIOUR_HEADS
from models.evaluation.embedding_drift import max_p95_drift
from models.evaluation.scoring import Scorer, behaviour_logits
from models.interest_model import InterestModel
from models.ranking.heads import PRIOR_INTERACTIONS
from registry import tracking
from snapshots.champion_space import read_champion_space
from snapshots.reader import SnapshotReader
from tasks import align, train
from tests.support.snapshots import NIGHT, plant
from training import interest
from training.model_config import build_model_config
from training.setup import build_training_setup

RERANK = RerankConfig(
    candidates=20,
    complete=0.5,
    like=0.5,
    comment=0.0,
    share=0.0,
    follow=0.0,
    skip=-0.5,
    negative_comments=0.0,
)
SMALL = TrainConfig(
    model=InterestModelConfig(
        name="interest",
        fusion="user",
        normalisation="fixed",
        reliability=False,
        encoder="transformer",
        layers=2,
        heads=2,
        dropout=0.1,
        positions=True,
        profile=True,
        contexts=("device",),
        playback_signals=False,
        request_contexts=(),
        item_features=("comments",),
        item_attributes=("creator", "category"),
        max_length=20,
        token_budget=0,
        skip_watch_ratio=0.2,
        warmup_epochs=0,
        sources=("trending", "item_cf", "creator_affinity"),
        rerank=RERANK,
        objective=ObjectiveConfig(
            ranking_weight=0.3,
            align_weight=0.1,
            anchor_weight=1.0,
            num_negatives=0,
            id_dropout=0.2,
            horizon=5,
            recency_half_life_days=2.0,
        ),
    ),
    epochs=2,
    patience=1,
    batch_size=32,
    batch_by="users",
    learning_rate=0.003,
    weight_decay=0.01,
    clip_norm=1.0,
    device="auto",
    precision="auto",
    seed=1,
)
SASREC = TransformerConfig(
    "sasrec", layers=2, heads=2, dropout=0.1, max_length=20, num_negatives=0, share_negatives=True
)
CHANGES: dict[str, Any] = {
    "model": SASREC,
    "model.fusion": "late",
    "model.normalisation": "adaptive",
    "model.reliability": True,
    "model.encoder": "lstm",
    "model.layers": 1,
    "model.heads": 1,
    "model.dropout": 0.3,
    "model.positions": False,
    "model.profile": False,
    "model.contexts": (),
    "model.playback_signals": True,
    "model.request_contexts": ("hour", "depth"),
    "model.item_features": ("comments", "duration_ms"),
    "model.item_attributes": (),
    "model.max_length": 5,
    "model.token_budget": 3,
    "model.skip_watch_ratio": 0.4,
    "model.warmup_epochs": 1,
    "model.sources": ("trending",),
    "model.rerank.skip": -1.0,
    "model.objective.ranking_weight": 0.0,
    "model.objective.align_weight": 0.0,
    "model.objective.num_negatives": 16,
    "model.objective.id_dropout": 0.6,
    "model.objective.horizon": 1,
    "model.objective.recency_half_life_days": 0.5,
    "epochs": 3,
    "batch_size": 16,
    "batch_by": "events",
    "learning_rate": 0.001,
    "weight_decay": 0.5,
    "clip_norm": 0.01,
    "precision": "bf16",
    "seed": 2,
    "privacy": PrivateTrainingConfig(noise_multiplier=1.0, delta=1e-3),
    "federated": FederatedTrainingConfig(clients=3, local_epochs=1),
}
# Without effect on the model of `night`, which has no champion.
WITHOUT_EFFECT = {"patience", "device", "model.name", "model.objective.anchor_weight"}


@pytest.fixture(autouse=True)
def _no_tracking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log nothing to MLflow, whose first database takes seconds to create, except in tests that need it."""
    if "tracked" not in request.fixturenames:
        monkeypatch.setattr(tracking, "log_run", lambda *_: "not logged")


@pytest.fixture
def tracked() -> None:
    """Requested by the test that needs MLflow."""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return aligned(plant(tmp_path_factory.mktemp("night"), users=60, videos=50))


def aligned(night: Night) -> Night:
    params = replace(parameters.load_params(PROJECT_ROOT / "params.yaml").align, width=16, epochs=5)
    align.run(params, night)
    return night


def copy_night(night: Night, folder: Path) -> Night:
    shutil.copytree(night.workspace, folder)
    return Night(NIGHT, folder)


def test_same_inputs_same_bytes_and_each_parameter_changes_the_model(night: Night) -> None:
    first = train.run(SMALL, night).digests
    assert sorted(first) == ["curve.json", "model.json", "model.safetensors"]
    torch.set_num_threads(1)
    assert train.run(SMALL, night).digests == first
    other_weights = {f"model.rerank.{name}" for name in asdict(RERANK)} - {*CHANGES}
    assert {*CHANGES, *WITHOUT_EFFECT, *other_weights} == {"model", *_paths(asdict(SMALL))}
    same = [
        name
        for name, value in CHANGES.items()
        if _model(train.run(replace_nested(SMALL, {name: value}), night).digests) == _model(first)
    ]
    assert same == []


def _paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted path of every value in nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _model(digests: Mapping[str, str]) -> tuple[str, str]:
    """Return the digests of the bundle, without the curve."""
    return digests["model.json"], digests["model.safetensors"]


def test_token_fusion_reads_the_words_of_the_captions(night: Night) -> None:
    snapshot = SnapshotReader(night)
    config = build_model_config(replace(SMALL.model, fusion="tokens"), snapshot, "valid_1", 16)  # type: ignore[type-var]
    assert {"about", "topic", "video"} <= set(config.words)
    setup = build_training_setup(SMALL.model.objective, snapshot, config, "valid_1")
    word_VX = setup.scorer.item_table.word_VX
    assert word_VX is not None
    assert [config.words[code - 1] for code in word_VX[0, :3]] == ["video", "about", "topic"]
    assert setup.model.item_fusion.early_fusion is not None
    assert build_model_config(SMALL.model, snapshot, "valid_1", 16).words == []


def test_heads_are_initialised_from_item_statistics(night: Night) -> None:
    snapshot = SnapshotReader(night)
    config = build_model_config(SMALL.model, snapshot, "valid_1", 16)
    heads = build_training_setup(SMALL.model.objective, snapshot, config, "valid_1").model.ranking_heads
    like = BEHAVIOUR_HEADS.index("like")
    sequences, video = snapshot.sequences("valid_1"), len(config.video_ids) - 1
    row = snapshot.videos["video_id"].to_pylist().index(config.video_ids[video])
    liked_E = sequences.behaviour_EA[:, config.behaviours.index("liked")].double()
    rate = (liked_E.sum() + 1) / (len(liked_E) + 2)
    video_liked_E = liked_E[sequences.video_E == row]
    expected = (video_liked_E.sum() + PRIOR_INTERACTIONS * rate) / (len(video_liked_E) + PRIOR_INTERACTIONS)
    initial = (heads.logits.bias[like] + heads.item_log_odds.weight[video, like]).sigmoid()
    assert initial.item() == pytest.approx(float(expected), abs=1e-5)
    assert initial.item() != pytest.approx(float(rate), abs=1e-3)


def test_heads_are_calibrated_on_the_validation_day(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heads of an untrained model are off. Calibrated ones predict the mean frequency."""
    selected: list[InterestModel] = []
    add_scores = interest.add_sequence_scores

    def recorded(model: InterestModel, *rest: Any) -> Any:
        selected.append(copy.deepcopy(model).eval())
        return add_scores(model, *rest)

    monkeypatch.setattr(interest, "add_sequence_scores", recorded)
    train.run(replace(SMALL, learning_rate=1e-9, epochs=1), night)
    snapshot, model = SnapshotReader(night), selected[0]
    fold, interactions = snapshot.fold("valid_1", model.config), snapshot.interactions("valid_1")
    p_NH = torch.sigmoid(
        behaviour_logits(
            Scorer(model, fold.item_table, fold.users), interactions.user_N, interactions.video_N
        )
    )
    complete_N = (interactions.watch_ratio_N >= COMPLETE_WATCH_RATIO)[~interactions.watch_ratio_N.isnan()]
    predicted = float(p_NH[~interactions.watch_ratio_N.isnan(), BEHAVIOUR_HEADS.index("complete")].mean())
    assert predicted == pytest.approx(float(complete_N.float().mean()), abs=0.02)
    saved = load_bundle(night.folder("train")).ranking_heads
    for name in ("scale_H", "shift_H"):
        assert torch.equal(getattr(saved, name), getattr(model.ranking_heads, name))
    assert not torch.equal(saved.shift_H, torch.zeros_like(saved.shift_H))


def empty_interactions(night: Night, *folds: str) -> None:
    """Leave no interactions on the days of these folds."""
    for fold in folds:
        path = night.require_output("snapshot", f"interactions_{fold}.parquet")
        pq.write_table(pq.read_table(path).slice(0, 0), path)


def test_reranking_by_comments_needs_their_sentiment(night: Night) -> None:
    params = replace_nested(SMALL, {"model.rerank.negative_comments": -1.0})
    with pytest.raises(InputError, match="negative_comments needs comment_sentiment"):
        train.run(params, night)


def test_the_anchor_reduces_embedding_drift(night: Night, tmp_path: Path) -> None:
    train.run(SMALL, night)
    second = copy_night(night, tmp_path / "night")
    champion = second.workspace / "snapshot" / "champion"
    shutil.copytree(second.workspace / "train", champion)
    empty_interactions(second, "valid_1", "valid_2")  # the last epoch is kept
    moved, changes = [], {"epochs": 8, "learning_rate": 0.01}
    for weight in (0.0, 10.0):
        train.run(replace_nested(SMALL, changes | {"model.objective.anchor_weight": weight}), second)
        heads = load_bundle(second.folder("train")).item_fusion.projections
        moved.append(
            max_p95_drift(read_champion_space(SnapshotReader(second), heads.width).embedding_drift(heads))
        )
    assert 0 < moved[1] < 0.7 * moved[0]


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("sources", ("trending", "ease", "trending")),
        ("contexts", ("device", "device")),
        ("request_contexts", ("hour", "hour")),
        ("item_features", ("comments", "comments")),
        ("item_attributes", ("creator", "category", "creator")),
    ],
)
def test_a_repeated_name_is_refused(key: str, names: tuple[str, ...], night: Night) -> None:
    with pytest.raises(InputError, match=rf"train\.model\.{key} names {names[0]} twice"):
        train.run(replace_nested(SMALL, {f"model.{key}": names}), night)


def test_an_unknown_item_feature_is_refused(night: Night) -> None:
    for name in ("loudness", "caption"):
        with pytest.raises(
            InputError, match=rf"train\.model\.item_features has '{name}'.*choose from .*comments"
        ):
            train.run(replace_nested(SMALL, {"model.item_features": (name,)}), night)


def test_patience_limits_the_epochs(night: Night) -> None:
    worse = replace(SMALL, learning_rate=0.3, epochs=12)
    epochs = [train.run(replace(worse, patience=p), night).facts["num_epochs"] for p in (1, 4)]
    assert epochs[0] < epochs[1]


def test_the_best_epoch_is_kept(night: Night) -> None:
    run_manifest = train.run(replace(SMALL, epochs=6, patience=6), night)
    curve = json.loads((night.folder("train") / "curve.json").read_text())
    best = max(row["choice_log_likelihood"] for row in curve)
    assert run_manifest.facts["best_choice_log_likelihood"] == best
    assert {"retrieval", "ranking", "alignment", "total", "gradient_norm", "learning_rate"} <= set(curve[0])


def test_vocabularies_are_of_users_and_videos_before_the_test_day(night: Night, tmp_path: Path) -> None:
    other = copy_night(night, tmp_path / "night")
    for fold in ("valid_1", "test"):
        path = other.require_output("snapshot", f"sequences_{fold}.parquet")
        known = pq.read_table(path).slice(3)  # the first users have no sequence
        pq.write_table(known, path)
        path = other.require_output("snapshot", f"users_{fold}.parquet")
        users = pq.read_table(path)
        is_known = pc.is_in(users["user_id"], known["user_id"].combine_chunks())
        tiers = pc.if_else(is_known, users["city_tier"], "brand new")
        pq.write_table(users.set_column(users.schema.get_field_index("city_tier"), "city_tier", tiers), path)
    train.run(SMALL, other)
    config = load_bundle(other.folder("train")).config
    assert "brand new" not in config.user_categorical_features["city_tier"]
    counts = {
        fold: pq.read_table(other.require_output("snapshot", f"item_statistics_{fold}.parquet"))
        for fold in ("valid_1", "test")
    }
    num_known = {fold: int((t["num_interactions"].to_numpy() > 0).sum()) for fold, t in counts.items()}
    assert num_known["valid_1"] < num_known["test"] == len(config.video_ids)


def test_the_test_day_does_not_change_the_model(night: Night, tmp_path: Path) -> None:
    other = copy_night(night, tmp_path / "night")
    path = other.require_output("snapshot", "interactions_test.parquet")
    interactions = pq.read_table(path)
    changed = {
        "video_row": pc.subtract(49, interactions["video_row"]).cast(pa.int32()),
        "positive": pc.invert(interactions["positive"]),
        "liked": pc.invert(interactions["liked"]),
    }
    for name, column in changed.items():
        interactions = interactions.set_column(interactions.schema.get_field_index(name), name, column)
    pq.write_table(interactions, path)
    assert train.run(SMALL, other).digests == train.run(SMALL, night).digests


def test_a_loss_that_is_not_finite_stops_training(night: Night) -> None:
    with pytest.raises(FloatingPointError, match=r"at epoch \d+, step \d of 2 \(batch of user rows \[\d+, "):
        train.run(replace(SMALL, learning_rate=1e30, clip_norm=1e30, patience=50), night)


def test_a_validation_metric_that_is_nan_stops_training(night: Night) -> None:
    """The only step of the epoch has a finite loss, and makes weights without finite scores."""
    params = replace(SMALL, learning_rate=1e30, epochs=1, batch_size=1000)
    with pytest.raises(FloatingPointError, match=r"is NaN after epoch 1; lower train\.learning_rate"):
        train.run(params, night)


def test_a_validation_score_that_is_nan_stops_training(night: Night) -> None:
    """The losses of both steps are finite. The last step makes weights without finite scores."""
    params = replace(SMALL, model=SASREC, learning_rate=1e4)
    with pytest.raises(FloatingPointError, match=r"^a score is NaN after epoch 1; lower train\."):
        train.run(params, night)


@pytest.mark.parametrize("model", [SMALL.model, SASREC])
def test_heads_that_do_not_divide_the_width_are_refused(model: AnyModelConfig, night: Night) -> None:
    with pytest.raises(
        InputError, match=r"train\.model\.heads is 3, but must divide align\.width, which is 16"
    ):
        train.run(replace_nested(SMALL, {"model": model, "model.heads": 3}), night)


def collect_identities(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Train nothing, and return the list that the identity of each phase's checkpoint is added to."""
    identities: list[str] = []
    monkeypatch.setattr(
        interest,
        "fit_interest_model",
        lambda *parts: identities.append(parts[-1][0].identity) or [{"epoch": 1.0}],
    )
    return identities


def test_a_changed_snapshot_is_another_run(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities, other = collect_identities(monkeypatch), copy_night(night, tmp_path / "night")
    for changed in (False, False, True):
        path = other.require_output("snapshot", "sequences_valid_1.parquet")
        if changed:
            pq.write_table(pq.read_table(path).slice(1), path)
        train.run(SMALL, other)
    first, second, third = identities[::2]
    assert identities[1::2] == [first, second, third]  # both phases of a run
    assert first == second != third


@pytest.mark.parametrize(
    ("name", "other"),
    [("code_digests", lambda: ["edited"]), ("choose_device", lambda _: torch.device("cuda"))],
)
def test_changed_code_or_device_is_another_run(
    name: str, other: Callable[..., Any], night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = collect_identities(monkeypatch)
    train.run(SMALL, night)
    monkeypatch.setattr(interest, name, other)
    train.run(SMALL, night)
    first, _, second, _ = identities
    assert first != second


def test_code_digests_depend_on_file_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert interest.code_digests() == interest.code_digests()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "losses.py").write_text("a = 1")
    monkeypatch.setattr(interest, "PROJECT_ROOT", tmp_path)
    before = interest.code_digests()
    (tmp_path / "models" / "losses.py").write_text("a = 2")
    assert len(before) == 1
    assert interest.code_digests() != before


@pytest.mark.parametrize("modalities", [(), ("text",)])
def test_training_with_few_or_no_modalities(tmp_path: Path, modalities: tuple[str, ...]) -> None:
    night = aligned(plant(tmp_path, users=40, videos=40, modalities=modalities))
    assert train.run(SMALL, night).facts["best_choice_log_likelihood"] < 0


def test_without_validation_users_all_epochs_are_trained(night: Night, tmp_path: Path) -> None:
    other = copy_night(night, tmp_path / "night")
    empty_interactions(other, "valid_1", "valid_2")
    run_manifest = train.run(SMALL, other)
    assert run_manifest.facts["num_epochs"] == run_manifest.facts["best_epoch"] == SMALL.epochs
    assert run_manifest.facts["num_validation_users"] == 0


@pytest.mark.usefixtures("tracked")
def test_the_run_is_logged_to_mlflow(night: Night) -> None:
    run_manifest = train.run(SMALL, night)
    client = mlflow.MlflowClient(paths.tracking_uri())
    run = client.get_run(run_manifest.facts["mlflow_run"])
    assert run.data.params["learning_rate"] == "0.003"
    assert run.data.params["model.name"] == "interest"
    assert run.data.params["model.rerank.skip"] == "-0.5"
    assert run.data.metrics["final_best_choice_log_likelihood"] == pytest.approx(
        run_manifest.facts["best_choice_log_likelihood"]
    )
    assert len(client.get_metric_history(run.info.run_id, "retrieval")) == run_manifest.facts["num_epochs"]
    assert run.info.status == "FINISHED"
