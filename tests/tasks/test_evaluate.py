"""The evaluation on planted data: metrics agree with the files, and models can be compared."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from core import config as parameters
from core.baselines import BASELINE_LABELS
from core.config.model_half import EvaluateConfig
from core.errors import InputError
from core.hashing import hash_bundle
from core.paths import PROJECT_ROOT, Night
from core.schema import replace_nested
from evaluation import sampled_users
from evaluation.explained_users import MIN_SHIFT_EVENTS
from evaluation.gate_inputs import MIN_SLICE_USERS
from evaluation.ranking import load_scorer
from models.bundle import save_bundle
from models.evaluation.metrics import paired_bootstrap
from models.evaluation.scoring import average_users
from models.interest_model import InterestModel
from models.retrieval import full_ranking
from registry import tracking
from snapshots.compared_features import COMPARED_FEATURES
from snapshots.reader import SnapshotReader
from tasks import align, evaluate, train
from tests.support.snapshots import NIGHT, plant

PARAMS = EvaluateConfig(
    k=10, cutoffs=(5, 10, 20), cold_events=5, recency_half_life_days=1.0, bootstrap_samples=400, seed=1
)

MAX_LENGTH = 100  # of train.model


@pytest.fixture(scope="module", autouse=True)
def _no_tracking() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "log_run", lambda *_: "not logged")
        yield


def trained(night: Night, **changes: object) -> Night:
    params = parameters.load_params(PROJECT_ROOT / "params.yaml")
    align.run(replace(params.align, width=32), night)
    item_features = ("comment_sentiment", "comments")
    settings = {"epochs": 20, "learning_rate": 0.003, "model.item_features": item_features}
    train.run(replace_nested(params.train, settings | changes), night)
    return night


def run_evaluate(night: Night, params: EvaluateConfig = PARAMS) -> dict:
    evaluate.run(params, night)
    return json.loads((night.folder("evaluate") / "details.json").read_text())


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Return a trained night on planted data."""
    return trained(plant(tmp_path_factory.mktemp("night"), users=240, videos=120, seed=2))


@pytest.fixture(scope="module")
def metrics(night: Night) -> dict:
    return run_evaluate(night)


@pytest.fixture
def copy(night: Night, tmp_path: Path) -> Night:
    """Return the trained night in a folder that a test may change."""
    shutil.copytree(night.workspace, tmp_path / "night")
    return Night(NIGHT, tmp_path / "night")


def make_champion(night: Night, name: str = "champion") -> Path:
    """Copy the model of the night as its champion or incumbent."""
    folder = night.workspace / "snapshot" / name
    shutil.copytree(night.workspace / "train", folder)
    return folder


def test_the_model_beats_every_baseline_on_planted_data(metrics: dict) -> None:
    assert set(metrics["models"]) == {"challenger", *BASELINE_LABELS}
    assert all(metrics["differences"][name]["ndcg@10"]["low"] > 0 for name in BASELINE_LABELS)
    assert metrics["models"]["challenger"]["auc"] > 0.6
    assert metrics["models"]["challenger"]["calibration_error"] < 0.15


def test_shuffled_content_is_worse(tmp_path: Path) -> None:
    """Sources and attributes are left out: the planted category is the topic of the content."""
    results, without = {}, {"model.sources": (), "model.item_attributes": ()}
    for shuffled in (False, True):
        night = plant(tmp_path / str(shuffled), users=240, videos=120, seed=2, shuffled=shuffled)
        results[shuffled] = run_evaluate(trained(night, **without))["models"]
    challenger, other = (results[shuffled]["challenger"] for shuffled in (False, True))
    assert results[False]["popularity"] == results[True]["popularity"]
    assert challenger["recall@20"] > other["recall@20"] + 0.02
    assert challenger["auc"] > other["auc"] + 0.03


def test_the_same_inputs_give_the_same_bytes(night: Night) -> None:
    first = evaluate.run(PARAMS, night).digests
    assert sorted(first) == [
        "details.json",
        "explanations/item_map.parquet",
        "explanations/users.parquet",
        "metrics.json",
        "per_user.parquet",
        "plots/calibration.json",
        "plots/modality_weights.json",
        "plots/slices.json",
        "recommendations.parquet",
    ]
    assert evaluate.run(PARAMS, night).digests == first


def test_a_large_day_is_measured_on_a_sample_of_its_users(
    night: Night, copy: Night, metrics: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled_users, "MAX_TEST_USERS", 40)
    sampled = run_evaluate(copy)
    assert sampled["num_users"] == 40 < metrics["num_users"]
    every, some = (
        pd.read_parquet(n.folder("evaluate") / "per_user.parquet").set_index("user_id") for n in (night, copy)
    )
    assert len(some) == 40
    heads, all_heads = (m["ranking_heads"]["challenger"]["skip"] for m in (sampled, metrics))
    assert 40 <= heads["num_interactions"] < all_heads["num_interactions"]
    pd.testing.assert_frame_equal(some, every.loc[some.index])


def test_the_chunk_size_does_not_change_the_metrics(
    night: Night, metrics: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_ranking, "CHUNK_SCORES", 7 * 120)
    small = run_evaluate(night)
    for name, figures in metrics["models"].items():
        assert small["models"][name]["ndcg@10"] == pytest.approx(figures["ndcg@10"], abs=1e-6)


def test_metrics_follow_from_the_written_files(night: Night) -> None:
    results = run_evaluate(night)
    recommended = pq.read_table(night.folder("evaluate") / "recommendations.parquet").to_pandas()
    per_user = pq.read_table(night.folder("evaluate") / "per_user.parquet").to_pandas()
    targets, seen = naive_targets(night)
    assert per_user["user_id"].tolist() == sorted(targets)
    expected = []
    for user, group in recommended.groupby("user_id"):
        rows = group.sort_values("rank")["video_row"].tolist()
        assert len(rows) == len(set(rows)) == 20
        assert not set(rows) & seen.get(user, set())
        gain = sum(1 / math.log2(i + 2) for i, row in enumerate(rows[:10]) if row in targets[user])
        expected.append(gain / sum(1 / math.log2(i + 2) for i in range(min(10, len(targets[user])))))
    assert per_user["ndcg_challenger"].tolist() == pytest.approx(expected)
    assert results["models"]["challenger"]["ndcg@10"] == pytest.approx(np.mean(expected))
    difference = per_user["ndcg_challenger"] - per_user["ndcg_popularity"]
    assert results["differences"]["popularity"]["ndcg@10"]["mean"] == pytest.approx(difference.mean())
    assert results["num_users"] == len(targets)
    alpha = per_user[["alpha_visual", "alpha_text", "alpha_audio"]]
    assert alpha.sum(axis=1).tolist() == pytest.approx([1.0] * len(alpha), abs=1e-5)
    assert results["modality_weights"]["mean"]["visual"] == pytest.approx(
        alpha["alpha_visual"].mean(), abs=1e-6
    )
    assert (
        0
        < results["modality_weights"]["entropy"]
        < results["modality_weights"]["max_entropy"]
        == pytest.approx(math.log(3))
    )


def naive_targets(night: Night) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Compute targets and seen videos with pandas alone."""
    table = pd.read_parquet(night.require_output("snapshot", "seen_items.parquet"))
    seen = {user: set(rows) for user, rows in zip(table["user_id"], table["video_rows"], strict=True)}
    interactions = pd.read_parquet(night.require_output("snapshot", "interactions_test.parquet"))
    targets: dict[str, set[int]] = {}
    for row in interactions[interactions["positive"]].itertuples():
        if row.video_row not in seen.get(row.user_id, set()):
            targets.setdefault(row.user_id, set()).add(row.video_row)
    return targets, seen


def test_every_cutoff_follows_from_the_recommendations(night: Night) -> None:
    figures = run_evaluate(night)["models"]["challenger"]
    recommended = pq.read_table(night.folder("evaluate") / "recommendations.parquet").to_pandas()
    statistics = pd.read_parquet(night.require_output("snapshot", "item_statistics_test.parquet"))
    count_V = statistics["num_interactions"]
    tail = set(count_V.sort_values(ascending=False, kind="stable").index[math.ceil(0.2 * len(count_V)) :])
    targets, _ = naive_targets(night)
    for k in PARAMS.cutoffs:
        best = recommended[recommended["rank"] <= k]
        hits = [
            user_row[1] in targets[user_row[0]]
            for user_row in zip(best["user_id"], best["video_row"], strict=True)
        ]
        hits_by_user = best.assign(hit=hits).groupby("user_id")["hit"].sum()
        recalled = [hits_by_user[user] / len(rows) for user, rows in targets.items()]
        assert figures[f"recall@{k}"] == pytest.approx(np.mean(recalled))
        assert figures[f"coverage@{k}"] == best["video_row"].nunique() / len(count_V)
        assert figures[f"tail_share@{k}"] == pytest.approx(best["video_row"].isin(tail).mean())
        new = set(count_V.index[count_V == 0])
        assert figures[f"new_share@{k}"] == pytest.approx(best["video_row"].isin(new).mean())


def test_a_primary_cutoff_outside_the_cutoffs_is_refused(night: Night) -> None:
    with pytest.raises(
        InputError, match=r"evaluate\.k is 7, which is not among evaluate\.cutoffs \(5, 10, 20\)"
    ):
        run_evaluate(night, replace(PARAMS, k=7))


def test_slices_hold_the_users_and_videos_of_their_name(night: Night, metrics: dict) -> None:
    slices, (targets, _) = metrics["slices"], naive_targets(night)
    users = pd.read_parquet(night.require_output("snapshot", "users_test.parquet")).set_index("user_id")
    sequences = pd.read_parquet(night.require_output("snapshot", "sequences_test.parquet")).set_index(
        "user_id"
    )["video_rows"]
    videos = pd.concat(
        [
            pd.read_parquet(night.require_output("snapshot", f"{name}.parquet"))
            for name in ("catalogue", "item_statistics_test")
        ],
        axis=1,
    )
    length = {user: len(sequences.get(user, ())) for user in targets}

    def count_users(of: object) -> int:
        return len({user for user, rows in targets.items() for row in rows if of(user, videos.loc[row])})  # type: ignore[operator]

    assert slices.get("new_users", {"num_users": 0})["num_users"] == count_users(
        lambda user, _: length[user] == 0
    )
    assert slices["cold_users"]["num_users"] == count_users(lambda user, _: length[user] < 5)
    assert slices["warm_users"]["num_users"] == count_users(lambda user, _: length[user] >= 5)
    assert slices["new_videos"]["num_users"] == count_users(lambda _, video: video["num_interactions"] == 0)
    assert slices["10_to_20_s"]["num_users"] == count_users(
        lambda _, video: 10_000 <= video["duration_ms"] < 20_000
    )
    for tier in users["city_tier"].unique():
        num_users = count_users(lambda user, _, tier=tier: users.loc[user, "city_tier"] == tier)
        assert slices[f"city_tier={tier}"]["num_users"] == num_users >= MIN_SLICE_USERS
    assert "missing_visual" not in slices
    assert all("champion" not in slice_metrics for slice_metrics in slices.values())


def test_a_small_user_segment_is_no_slice(copy: Night) -> None:
    path = copy.require_output("snapshot", "users_test.parquet")
    users = pq.read_table(path).drop_columns("city_tier")
    few = ["village" if row < 5 else "town" for row in range(len(users))]
    pq.write_table(users.append_column("city_tier", pa.array(few)), path)
    results = run_evaluate(copy)["slices"]
    assert "city_tier=town" in results
    assert "city_tier=village" not in results


def test_intervals_of_slices_are_joint(copy: Night) -> None:
    champion = make_champion(copy)
    weights = load_file(champion / "model.safetensors")
    weights["static_gate.linear.weight"] *= 0.5
    save_file(weights, champion / "model.safetensors")
    results = run_evaluate(copy)
    per_user = pq.read_table(copy.folder("evaluate") / "per_user.parquet").to_pandas()
    warm = per_user[per_user["sequence_length"] >= 5]
    difference = (warm["ndcg_challenger"] - warm["ndcg_champion"]).to_numpy()
    alone, together = paired_bootstrap(difference, 400, 1), results["slices"]["warm_users"]["difference"]
    assert together["mean"] == pytest.approx(alone["mean"])
    assert together["low"] < alone["low"] < alone["high"] < together["high"]


def test_modality_weights_by_user_segment_and_category(night: Night) -> None:
    results = run_evaluate(night)["modality_weights"]
    per_user = pq.read_table(night.folder("evaluate") / "per_user.parquet").to_pandas()
    users = pd.read_parquet(night.require_output("snapshot", "users_test.parquet"))
    joined = per_user.merge(users, on="user_id")
    for name, weights in results["by_user_segment"].items():
        column, value = name.split("=")
        users_of_segment = joined[joined[column] == value]
        assert weights["count"] == len(users_of_segment)
        for key, quantile in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9)):
            assert weights[key]["text"] == pytest.approx(
                users_of_segment["alpha_text"].quantile(quantile), abs=1e-6
            )
    assert set(results["by_user_segment"]) >= {"age_band=16-24", "city_tier=tier0"}
    assert results["users"]["count"] == len(per_user)
    num_videos = sum(weights["count"] for weights in results["by_category"].values())
    assert num_videos == 120 - 5  # five have no audio


def test_the_gain_of_the_modality_weights_is_the_difference_from_uniform_fusion(copy: Night) -> None:
    champion = make_champion(copy)
    weights = load_file(champion / "model.safetensors")
    shared = {name: value for name, value in weights.items() if not name.startswith("modality_preference.")}
    save_file(shared, champion / "model.safetensors")
    description = json.loads((champion / "model.json").read_text())
    (champion / "model.json").write_text(json.dumps(description | {"fusion": "uniform"}))
    scorer = load_scorer(champion, SnapshotReader(copy))
    assert isinstance(scorer.model, InterestModel)
    scorer.model.set_average_users(average_users(scorer))
    save_bundle(champion, scorer.model)
    results = run_evaluate(copy)
    assert len(shared) < len(weights)
    assert results["modality_weights"]["gain"] == results["differences"]["champion"]["ndcg@10"]
    assert results["modality_weights"]["gain"]["mean"] != 0
    assert results["modality_weights"]["is_informative"] is (results["modality_weights"]["gain"]["low"] > 0)


def test_every_recommendation_has_its_explanation(night: Night) -> None:
    run_evaluate(night)
    table = pq.read_table(night.folder("evaluate") / "recommendations.parquet").to_pandas()
    explanations = [f"{kind}_{m}" for kind in ("alpha", "contribution") for m in ("visual", "text", "audio")]
    assert list(table) == ["user_id", "rank", "video_row", "score", *explanations, "top_modality"]
    contributions = table[["contribution_visual", "contribution_text", "contribution_audio"]]
    most = contributions.idxmax(axis=1).str.removeprefix("contribution_").where(contributions.max(axis=1) > 0)
    assert table["top_modality"].fillna("nothing").equals(most.fillna("nothing"))
    assert table.groupby("user_id")["top_modality"].nunique().max() > 1  # videos of one user differ


def test_a_champion_equal_to_the_challenger_has_no_difference(copy: Night, metrics: dict) -> None:
    make_champion(copy)
    results = run_evaluate(copy)
    assert results["models"]["champion"] == results["models"]["challenger"] == metrics["models"]["challenger"]
    difference = results["differences"]["champion"]["ndcg@10"]
    assert difference["mean"] == difference["low"] == difference["high"] == 0.0
    for slice_metrics in results["slices"].values():
        assert ("difference" in slice_metrics) == (slice_metrics["num_users"] >= MIN_SLICE_USERS)
        assert slice_metrics.get("difference", {"mean": 0.0})["mean"] == 0.0
    per_user = pq.read_table(copy.folder("evaluate") / "per_user.parquet")
    assert per_user["ndcg_champion"] == per_user["ndcg_challenger"]


def test_the_incumbent_is_scored(copy: Night) -> None:
    incumbent = make_champion(copy, "incumbent")
    weights = load_file(incumbent / "model.safetensors")
    weights["final_ranker.weight_S"] *= -1
    save_file(weights, incumbent / "model.safetensors")
    results = run_evaluate(copy)
    challenger, other = (results["models"][name]["ndcg@10"] for name in ("challenger", "incumbent"))
    difference = results["differences"]["incumbent"]["ndcg@10"]
    assert challenger > other
    assert difference["mean"] == pytest.approx(challenger - other)
    assert difference["low"] < difference["mean"] < difference["high"]
    assert results["bundle_digests"] == {
        "challenger": hash_bundle(copy.workspace / "train"),
        "incumbent": hash_bundle(incumbent),
    }


def test_an_incumbent_equal_to_the_challenger_is_not_scored(copy: Night, metrics: dict) -> None:
    make_champion(copy, "incumbent")
    results = run_evaluate(copy)
    assert results["bundle_digests"]["incumbent"] == results["bundle_digests"]["challenger"]
    assert "incumbent" not in results["models"]
    assert {**results, "bundle_digests": metrics["bundle_digests"]} == metrics


def test_embedding_drift_is_measured_against_the_champion(copy: Night, metrics: dict) -> None:
    assert metrics["embedding_drift"] == {
        "compared_with": "there is no champion yet",
        "modalities": {},
        "max_p95_drift": None,
    }
    champion = make_champion(copy)
    assert run_evaluate(copy)["embedding_drift"]["max_p95_drift"] == pytest.approx(0.0, abs=1e-6)
    weights = load_file(champion / "model.safetensors")
    weights["item_fusion.projections.heads.text.linear.weight"] *= -1
    save_file(weights, champion / "model.safetensors")
    moved = run_evaluate(copy)["embedding_drift"]["modalities"]
    assert moved["text"]["mean"] > 1
    assert moved["visual"]["p95"] == pytest.approx(0.0, abs=1e-6)


def test_an_older_champion_scores_new_videos_and_profile_values(copy: Night) -> None:
    champion = make_champion(copy)
    description = json.loads((champion / "model.json").read_text())
    description["video_ids"][3] = "a video that is gone"
    description["user_categorical_features"]["city_tier"][0] = "a tier that is gone"
    (champion / "model.json").write_text(json.dumps(description))
    path = copy.require_output("snapshot", "users_test.parquet")
    users = pq.read_table(path)
    pq.write_table(
        users.drop_columns("age_band").append_column("hobby", pa.array(["chess"] * len(users))), path
    )
    results = run_evaluate(copy)
    assert results["models"]["champion"]["ndcg@10"] > 0.1


def rename_encoder(folder: Path) -> None:
    """Let a model say that it was trained on vectors of another visual encoder."""
    path = folder / "model.json"
    path.write_text(path.read_text().replace("planted-visual", "another-encoder"))


def test_a_challenger_of_other_encoders_is_refused(copy: Night) -> None:
    rename_encoder(copy.folder("train"))
    reason = r"visual was trained on features of encoder another-encoder.* train again"
    with pytest.raises(InputError, match=reason):
        run_evaluate(copy)


def test_a_champion_reads_the_vectors_of_the_encoder_that_it_was_trained_on(copy: Night) -> None:
    champion = make_champion(copy)
    expected = run_evaluate(copy)["models"]
    rename_encoder(champion)
    without_vectors = run_evaluate(copy)["models"]
    vectors = load_file(copy.require_output("snapshot", "features.safetensors"))
    own = {"visual.another-encoder": vectors["visual"], "visual.another-encoder.mask": vectors["visual.mask"]}
    save_file(own, copy.folder("snapshot") / COMPARED_FEATURES)
    assert run_evaluate(copy)["models"] == expected
    assert without_vectors["challenger"] == expected["challenger"]
    assert without_vectors["champion"] != expected["champion"]


def test_a_missing_item_feature_is_unknown(copy: Night) -> None:
    make_champion(copy)
    statistics = copy.require_output("snapshot", "item_statistics_test.parquet")
    pq.write_table(pq.read_table(statistics).drop_columns("comments"), statistics)
    assert run_evaluate(copy)["ranking_heads"]["champion"]["complete"]["auc"] > 0.5


def test_a_broken_champion_and_a_night_without_targets_are_refused(copy: Night) -> None:
    champion = make_champion(copy)
    (champion / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        run_evaluate(copy)
    shutil.rmtree(champion)
    path = copy.require_output("snapshot", "interactions_test.parquet")
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(InputError, match="no user has a positive interaction with a new video"):
        run_evaluate(copy)


def test_evaluation_before_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run `python -m tasks\.train"):
        run_evaluate(plant(tmp_path))


@pytest.mark.parametrize("modalities", [(), ("text",)])
def test_data_with_few_or_no_modalities_is_evaluated(tmp_path: Path, modalities: tuple[str, ...]) -> None:
    night = trained(
        plant(tmp_path, users=60, videos=50, modalities=modalities), **{"epochs": 3, "model.encoder": "lstm"}
    )
    results = run_evaluate(night)
    assert list(results["modality_weights"]["mean"]) == list(modalities)
    assert results["modality_weights"]["gain"] is None
    columns = pq.read_table(night.folder("evaluate") / "per_user.parquet").schema.names
    assert [name for name in columns if name.startswith("alpha_")] == [f"alpha_{m}" for m in modalities]


def test_each_parameter_changes_the_metrics(night: Night) -> None:
    first = evaluate.run(PARAMS, night).digests["details.json"]
    changes = {"k": 5, "cutoffs": (10, 20), "cold_events": 30, "bootstrap_samples": 100, "seed": 2}
    changes["recency_half_life_days"] = 4.0
    for name, value in changes.items():
        assert evaluate.run(replace(PARAMS, **{name: value}), night).digests["details.json"] != first


def test_the_users_with_explanations_have_the_categories_of_both_halves(night: Night) -> None:
    run_evaluate(night)
    folder = night.folder("evaluate")
    explained = pq.read_table(folder / "explanations/users.parquet").to_pylist()
    lengths = {
        row["user_id"]: row["sequence_length"]
        for row in pq.read_table(folder / "per_user.parquet").to_pylist()
    }
    assert [lengths[row["user_id"]] for row in explained] == sorted(
        lengths[row["user_id"]] for row in explained
    )
    snapshot = SnapshotReader(night)
    rows = {
        row["user_id"]: row["video_rows"]
        for row in pq.read_table(night.workspace / "snapshot/sequences_test.parquet").to_pylist()
    }
    category = snapshot.videos["category"].to_pylist()
    num_shown = 0
    for user in explained:
        watched = [category[row] or "unknown" for row in rows.get(user["user_id"], [])][-MAX_LENGTH:]
        middle = len(watched) // 2
        for half, part in (("older", watched[:middle]), ("newer", watched[middle:])):
            if len(watched) < MIN_SHIFT_EVENTS:
                assert user[f"{half}_categories"] == user[f"{half}_nearest"] == []
                continue
            num_shown += 1
            shares = dict(zip(user[f"{half}_categories"], user[f"{half}_shares"], strict=True))
            assert shares == {name: part.count(name) / len(part) for name in shares}
            assert max(part.count(name) for name in part) / len(part) == user[f"{half}_shares"][0]
            assert len(set(user[f"{half}_nearest"])) == 3
        assert len(user["attended_rows"]) == min(3, len(watched))
        assert set(user["attended_rows"]) <= set(rows.get(user["user_id"], []))
        assert user["attended_weights"] == sorted(user["attended_weights"], reverse=True)
    assert num_shown > 10


def test_the_evaluation_tests_attention_and_maps_the_videos(metrics: dict) -> None:
    attention, item_map = metrics["attention"], metrics["item_map"]
    assert attention["model"] == "transformer"
    assert set(attention["drop"]) == {"most_attended", "newest", "random", "least_attended"}
    assert set(attention["difference"]) == {"newest", "random", "least_attended"}
    assert attention["is_faithful"] == (attention["difference"]["random"]["low"] > 0)
    assert 0 < item_map["num_videos"] <= 120
    assert item_map["same_category"] > item_map["same_category_by_chance"] + 0.1  # planted topics
    assert "trends" not in metrics
