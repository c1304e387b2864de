"""The evaluation on planted data: it finds what was planted, its files agree, and models can be compared."""

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
import torch
from safetensors.torch import load_file, save_file

from contracts import params as parameters
from contracts.digests import of_bundle
from contracts.errors import InputError
from contracts.model_params import Evaluate
from contracts.place import PROJECT, Night
from models import ranks
from models.metrics import bootstrap
from tasks import align, evaluate, tracking, train
from tasks.changes import LEAST_VIEWINGS
from tasks.evidence import SLICE_USERS
from tests.snapshots import NIGHT, plant

PARAMS = Evaluate(k=10, cutoffs=(5, 10, 20), cold_events=5, half_life_days=1.0, bootstrap_samples=400, seed=1)


@pytest.fixture(scope="module", autouse=True)
def _no_tracking() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "log_run", lambda *_: "not logged")
        yield


def trained(night: Night, **changes: object) -> Night:
    params = parameters.load(PROJECT / "params.yaml")
    align.run(replace(params.align, width=32), night)
    numbers = ("comment_sentiment", "comments", "synchrony")
    ours = {"epochs": 20, "learning_rate": 0.003, "video_numbers": numbers}
    train.run(replace(params.train, **ours | changes), night)  # type: ignore[arg-type]
    return night


def judged(night: Night, params: Evaluate = PARAMS) -> dict:
    evaluate.run(params, night)
    return json.loads((night.folder("evaluate") / "metrics.json").read_text())


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A trained night on planted data."""
    return trained(plant(tmp_path_factory.mktemp("night"), users=240, videos=120, seed=2))


@pytest.fixture(scope="module")
def metrics(night: Night) -> dict:
    return judged(night)


@pytest.fixture
def copy(night: Night, tmp_path: Path) -> Night:
    """The trained night in a folder that a test may change."""
    shutil.copytree(night.workspace, tmp_path / "night")
    return Night(NIGHT, tmp_path / "night")


def crown(night: Night, name: str = "champion") -> Path:
    """Make the night's own model its champion."""
    folder = night.workspace / "snapshot" / name
    shutil.copytree(night.workspace / "train", folder)
    return folder


def test_on_planted_data_the_model_beats_popularity_clearly(metrics: dict) -> None:
    assert metrics["differences"]["popularity"]["ndcg@10"]["low"] > 0
    assert metrics["models"]["challenger"]["auc"] > 0.65
    assert metrics["models"]["challenger"]["calibration_error"] < 0.15


def test_content_of_other_videos_is_worse_than_their_own(metrics: dict, tmp_path: Path) -> None:
    shuffled = judged(trained(plant(tmp_path, users=240, videos=120, seed=2, shuffled=True)))
    ours, theirs = metrics["models"]["challenger"], shuffled["models"]["challenger"]
    assert shuffled["models"]["popularity"] == metrics["models"]["popularity"]
    assert ours["ndcg@10"] > theirs["ndcg@10"] + 0.02
    assert ours["auc"] > theirs["auc"] + 0.03


def test_the_same_inputs_give_the_same_bytes(night: Night) -> None:
    first = evaluate.run(PARAMS, night).digests
    assert sorted(first) == ["metrics.json", "per_user.parquet", "recommendations.parquet"]
    assert evaluate.run(PARAMS, night).digests == first


def test_chunk_size_only_decides_how_much_memory_is_used(
    night: Night, metrics: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "CHUNK_SCORES", 7 * 120)
    small = judged(night)
    for name, figures in metrics["models"].items():
        assert small["models"][name]["ndcg@10"] == pytest.approx(figures["ndcg@10"], abs=1e-6)


def test_the_figures_can_be_computed_again_from_the_files(night: Night) -> None:
    found = judged(night)
    recommended = pq.read_table(night.folder("evaluate") / "recommendations.parquet").to_pandas()
    per_user = pq.read_table(night.folder("evaluate") / "per_user.parquet").to_pandas()
    aims, seen = naive_targets(night)
    assert per_user["user_id"].tolist() == sorted(aims)
    expected = []
    for user, mine in recommended.groupby("user_id"):
        rows = mine.sort_values("rank")["video_row"].tolist()
        assert len(rows) == len(set(rows)) == 20
        assert not set(rows) & seen.get(user, set())
        gain = sum(1 / math.log2(i + 2) for i, row in enumerate(rows[:10]) if row in aims[user])
        expected.append(gain / sum(1 / math.log2(i + 2) for i in range(min(10, len(aims[user])))))
    assert per_user["ndcg_challenger"].tolist() == pytest.approx(expected)
    assert found["models"]["challenger"]["ndcg@10"] == pytest.approx(np.mean(expected))
    gap = per_user["ndcg_challenger"] - per_user["ndcg_popularity"]
    assert found["differences"]["popularity"]["ndcg@10"]["mean"] == pytest.approx(gap.mean())
    assert found["users"] == len(aims)
    alpha = per_user[["alpha_visual", "alpha_text", "alpha_audio"]]
    assert alpha.sum(axis=1).tolist() == pytest.approx([1.0] * len(alpha), abs=1e-5)
    assert found["alpha"]["mean"]["visual"] == pytest.approx(alpha["alpha_visual"].mean(), abs=1e-6)
    assert 0 < found["alpha"]["entropy"] < found["alpha"]["max_entropy"] == pytest.approx(math.log(3))


def naive_targets(night: Night) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Targets and what was seen, with pandas alone."""
    table = pd.read_parquet(night.output("snapshot", "seen_test.parquet"))
    seen = {user: set(rows) for user, rows in zip(table["user_id"], table["video_rows"], strict=True)}
    views = pd.read_parquet(night.output("snapshot", "test_views.parquet"))
    aims: dict[str, set[int]] = {}
    for row in views[views["positive"]].itertuples():
        if row.video_row not in seen.get(row.user_id, set()):
            aims.setdefault(row.user_id, set()).add(row.video_row)
    return aims, seen


def test_every_cut_off_can_be_computed_again_from_the_recommendations(night: Night) -> None:
    figures = judged(night)["models"]["challenger"]
    recommended = pq.read_table(night.folder("evaluate") / "recommendations.parquet").to_pandas()
    views_V = pd.read_parquet(night.output("snapshot", "catalogue.parquet"))["train_views"]
    tail = set(views_V.sort_values(ascending=False, kind="stable").index[math.ceil(0.2 * len(views_V)) :])
    aims, _ = naive_targets(night)
    for k in PARAMS.cutoffs:
        best = recommended[recommended["rank"] <= k]
        hits = [
            user_row[1] in aims[user_row[0]]
            for user_row in zip(best["user_id"], best["video_row"], strict=True)
        ]
        found = best.assign(hit=hits).groupby("user_id")["hit"].sum()
        recalled = [found[user] / len(mine) for user, mine in aims.items()]
        assert figures[f"recall@{k}"] == pytest.approx(np.mean(recalled))
        assert figures[f"coverage@{k}"] == best["video_row"].nunique() / len(views_V)
        assert figures[f"tail_share@{k}"] == pytest.approx(best["video_row"].isin(tail).mean())


def test_a_primary_cut_off_that_is_not_told_is_refused(night: Night) -> None:
    with pytest.raises(
        InputError, match=r"evaluate\.k is 7, which is not among evaluate\.cutoffs \(5, 10, 20\)"
    ):
        judged(night, replace(PARAMS, k=7))


def test_slices_hold_the_people_and_videos_of_their_name(night: Night, metrics: dict) -> None:
    slices, (aims, _) = metrics["slices"], naive_targets(night)
    users = pd.read_parquet(night.output("snapshot", "users.parquet")).set_index("user_id")
    past = pd.read_parquet(night.output("snapshot", "test.parquet")).set_index("user_id")["video_rows"]
    videos = pd.read_parquet(night.output("snapshot", "catalogue.parquet"))
    length = {user: len(past.get(user, ())) for user in aims}

    def people(of: object) -> int:
        return len({user for user, rows in aims.items() for row in rows if of(user, videos.loc[row])})  # type: ignore[operator]

    assert slices.get("new_users", {"users": 0})["users"] == people(lambda user, _: length[user] == 0)
    assert slices["cold_users"]["users"] == people(lambda user, _: length[user] < 5)
    assert slices["warm_users"]["users"] == people(lambda user, _: length[user] >= 5)
    assert slices["new_videos"]["users"] == people(lambda _, video: video["train_views"] == 0)
    assert slices["10_to_20_s"]["users"] == people(lambda _, video: 10_000 <= video["duration_ms"] < 20_000)
    for tier in users["city_tier"].unique():
        in_it = people(lambda user, _, tier=tier: users.loc[user, "city_tier"] == tier)
        assert slices[f"city_tier={tier}"]["users"] == in_it >= SLICE_USERS
    assert "missing_visual" not in slices
    assert all("champion" not in found for found in slices.values())


def test_a_segment_of_few_people_is_left_out(copy: Night) -> None:
    path = copy.output("snapshot", "users.parquet")
    users = pq.read_table(path).drop_columns("city_tier")
    few = ["village" if row < 5 else "town" for row in range(len(users))]
    pq.write_table(users.append_column("city_tier", pa.array(few)), path)
    found = judged(copy)["slices"]
    assert "city_tier=town" in found
    assert "city_tier=village" not in found


def test_the_intervals_of_slices_are_wide_enough_to_hold_together(copy: Night) -> None:
    champion = crown(copy)
    weights = load_file(champion / "model.safetensors")
    weights["gate.linear.weight"] *= 0.5
    save_file(weights, champion / "model.safetensors")
    found = judged(copy)
    per_user = pq.read_table(copy.folder("evaluate") / "per_user.parquet").to_pandas()
    warm = per_user[per_user["history_length"] >= 5]
    gap = (warm["ndcg_challenger"] - warm["ndcg_champion"]).to_numpy()
    alone, together = bootstrap(gap, 400, 1), found["slices"]["warm_users"]["difference"]
    assert together["mean"] == pytest.approx(alone["mean"])
    assert together["low"] < alone["low"] < alone["high"] < together["high"]


def test_the_audit_of_the_weights_tells_segments_and_categories(night: Night) -> None:
    found = judged(night)["alpha"]
    per_user = pq.read_table(night.folder("evaluate") / "per_user.parquet").to_pandas()
    users = pd.read_parquet(night.output("snapshot", "users.parquet"))
    joined = per_user.merge(users, on="user_id")
    for name, told in found["by_segment"].items():
        column, value = name.split("=")
        mine = joined[joined[column] == value]
        assert told["count"] == len(mine)
        for key, quantile in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9)):
            assert told[key]["text"] == pytest.approx(mine["alpha_text"].quantile(quantile), abs=1e-6)
    assert set(found["by_segment"]) >= {"age_band=16-24", "city_tier=tier0"}
    assert found["people"]["count"] == len(per_user)
    assert sum(told["count"] for told in found["by_category"].values()) == 120 - 5  # five have no sound


def test_every_recommendation_tells_what_carried_it(night: Night) -> None:
    judged(night)
    table = pq.read_table(night.folder("evaluate") / "recommendations.parquet").to_pandas()
    past = pd.read_parquet(night.output("snapshot", "test.parquet")).set_index("user_id")["video_rows"]
    added = table[["added_visual", "added_text", "added_audio"]]
    most = added.idxmax(axis=1).str.removeprefix("added_").where(added.max(axis=1) > 0)
    assert table["carried_by"].fillna("nothing").equals(most.fillna("nothing"))
    assert table.groupby("user_id")["carried_by"].nunique().max() > 1  # not one answer for all of a person's
    for row in table.drop_duplicates("user_id").itertuples():
        mine = list(past.get(row.user_id, ()))
        assert len(row.history_rows) == len(row.attention) == min(3, len(mine))
        assert set(row.history_rows) <= set(mine)
        assert list(row.attention) == sorted(row.attention, reverse=True)


def test_a_champion_that_is_the_challenger_differs_in_nothing(copy: Night, metrics: dict) -> None:
    crown(copy)
    found = judged(copy)
    assert found["models"]["champion"] == found["models"]["challenger"] == metrics["models"]["challenger"]
    difference = found["differences"]["champion"]["ndcg@10"]
    assert difference["mean"] == difference["low"] == difference["high"] == 0.0
    for one in found["slices"].values():
        assert ("difference" in one) == (one["users"] >= SLICE_USERS)
        assert one.get("difference", {"mean": 0.0})["mean"] == 0.0
    per_user = pq.read_table(copy.folder("evaluate") / "per_user.parquet")
    assert per_user["ndcg_champion"] == per_user["ndcg_challenger"]


def test_the_present_champion_is_scored_too_where_this_night_made_it(copy: Night) -> None:
    present = crown(copy, "incumbent")
    weights = load_file(present / "model.safetensors")
    torch.manual_seed(1)
    noise = {n: torch.randn_like(w) if "encoder" in n else w for n, w in weights.items()}
    save_file(noise, present / "model.safetensors")
    found = judged(copy)
    ours, theirs = (found["models"][name]["ndcg@10"] for name in ("challenger", "incumbent"))
    difference = found["differences"]["incumbent"]["ndcg@10"]
    assert ours > theirs
    assert difference["mean"] == pytest.approx(ours - theirs)
    assert difference["low"] < difference["mean"] < difference["high"]
    assert found["bundles"] == {
        "challenger": of_bundle(copy.workspace / "train"),
        "incumbent": of_bundle(present),
    }


def test_a_present_champion_that_is_the_challenger_is_not_scored_again(copy: Night, metrics: dict) -> None:
    crown(copy, "incumbent")
    found = judged(copy)
    assert found["bundles"]["incumbent"] == found["bundles"]["challenger"]
    assert "incumbent" not in found["models"]
    assert {**found, "bundles": metrics["bundles"]} == metrics


def test_drift_is_measured_against_the_champions_space(copy: Night, metrics: dict) -> None:
    assert metrics["drift"] == {"against": "there is no champion yet", "modalities": {}, "farthest": None}
    champion = crown(copy)
    assert judged(copy)["drift"]["farthest"] == pytest.approx(0.0, abs=1e-6)
    weights = load_file(champion / "model.safetensors")
    weights["fusion.project.heads.text.linear.weight"] *= -1
    save_file(weights, champion / "model.safetensors")
    moved = judged(copy)["drift"]["modalities"]
    assert moved["text"]["mean"] > 1
    assert moved["visual"]["p95"] == pytest.approx(0.0, abs=1e-6)


def test_an_older_champion_meets_new_videos_and_new_profile_values(copy: Night) -> None:
    champion = crown(copy)
    description = json.loads((champion / "model.json").read_text())
    description["video_ids"][3] = "a video that is gone"
    description["categories"]["city_tier"][0] = "a tier that is gone"
    (champion / "model.json").write_text(json.dumps(description))
    path = copy.output("snapshot", "users.parquet")
    users = pq.read_table(path)
    pq.write_table(
        users.drop_columns("age_band").append_column("hobby", pa.array(["chess"] * len(users))), path
    )
    found = judged(copy)
    assert found["models"]["champion"]["ndcg@10"] > 0.1


def test_a_model_of_other_encoders_is_refused_in_a_sentence(copy: Night) -> None:
    champion = crown(copy)
    path = champion / "model.json"
    text = path.read_text()
    for name in ("visual", "synchrony"):
        path.write_text(text.replace(f"planted-{name}", "another-encoder"))
        with pytest.raises(InputError, match=f"{name} was trained on features of encoder another-encoder"):
            judged(copy)


def test_a_number_that_is_no_longer_measured_is_unknown_to_the_model_that_reads_it(copy: Night) -> None:
    crown(copy)
    manifest, catalogue = (
        copy.output("snapshot", "manifest.json"),
        copy.output("snapshot", "catalogue.parquet"),
    )
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"video_numbers": {}}))
    pq.write_table(pq.read_table(catalogue).drop_columns("synchrony"), catalogue)
    assert judged(copy)["heads"]["champion"]["complete"]["auc"] > 0.5


def test_a_broken_champion_and_a_night_without_targets_are_refused(copy: Night) -> None:
    champion = crown(copy)
    (champion / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        judged(copy)
    shutil.rmtree(champion)
    path = copy.output("snapshot", "test_views.parquet")
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(InputError, match="nobody liked a video"):
        judged(copy)


def test_evaluation_before_training_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run `python -m tasks\.train"):
        judged(plant(tmp_path))


@pytest.mark.parametrize("modalities", [(), ("text",)])
def test_data_without_some_or_any_modality_is_judged(tmp_path: Path, modalities: tuple[str, ...]) -> None:
    night = trained(plant(tmp_path, users=60, videos=50, modalities=modalities), epochs=3, encoder="lstm")
    found = judged(night)
    assert list(found["alpha"]["mean"]) == list(modalities)
    columns = pq.read_table(night.folder("evaluate") / "per_user.parquet").schema.names
    assert [name for name in columns if name.startswith("alpha_")] == [f"alpha_{m}" for m in modalities]
    recommended = pq.read_table(night.folder("evaluate") / "recommendations.parquet")
    assert not any(recommended["history_rows"].to_pylist())


def test_each_knob_of_the_evaluation_counts(night: Night) -> None:
    first = evaluate.run(PARAMS, night).digests["metrics.json"]
    changes = {"k": 5, "cutoffs": (10, 20), "cold_events": 30, "bootstrap_samples": 100, "seed": 2}
    for name, value in changes.items():
        assert evaluate.run(replace(PARAMS, **{name: value}), night).digests["metrics.json"] != first


def test_people_whose_interest_changed_are_counted_by_day_and_told_beside_their_figures(
    night: Night, metrics: dict
) -> None:
    told = metrics["changes"]
    table = pq.read_table(night.folder("evaluate") / "per_user.parquet").to_pandas()
    changed = table["changed_on"].dropna()
    assert told["people"] == int((table["history_length"] >= LEAST_VIEWINGS).sum())
    assert told["changed"] == len(changed) == sum(told["by_day"].values())
    assert told["by_day"] == changed.astype(str).value_counts().sort_index().to_dict()
    assert not table[table["history_length"] < LEAST_VIEWINGS]["changed_on"].notna().any()
