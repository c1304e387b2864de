"""The counted baselines know yesterday and never the test day; blends are fitted on validation days."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from core.baselines import BASELINE_LABELS
from core.config import load_params
from core.paths import PROJECT_ROOT, Night
from evaluation import baselines
from evaluation.baselines import COUNTED_BASELINES, SOURCE_NAMES, fit_weights, rank_counted_baselines
from models.data.targets import Targets
from models.evaluation.scoring import RankingResult
from snapshots.counted_sources import CountedSources
from snapshots.reader import SnapshotReader
from tests.support.snapshots import NIGHT, append_positives, plant, read_table, replace_columns

USERS, VIDEOS, VIDEO = 40, 50, 17
PARAMS = load_params(PROJECT_ROOT / "params.yaml").evaluate
BLENDS = [name for name, sources in COUNTED_BASELINES.items() if len(sources) > 1]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return plant(tmp_path / "night", users=USERS, videos=VIDEOS)


def unseen_by(night: Night, video: int) -> Targets:
    """The video as the target of all users who have not seen it."""
    seen_UV = SnapshotReader(night).seen_items("test").mask(torch.arange(USERS), VIDEOS)
    users = (~seen_UV[:, video]).nonzero().squeeze(1)
    return Targets(users, torch.full_like(users, video))


def rank(night: Night, targets: Targets | None = None, **changes: float) -> dict[str, RankingResult]:
    targets = unseen_by(night, VIDEO) if targets is None else targets
    return rank_counted_baselines(SnapshotReader(night), targets, replace(PARAMS, **changes))


def changed(before: dict[str, RankingResult], after: dict[str, RankingResult]) -> set[str]:
    """The baselines whose scores of the best videos have changed."""
    return {name for name in before if not torch.equal(before[name].score_BK, after[name].score_BK)}


def weights(night: Night, names: tuple[str, ...]) -> dict[str, Tensor]:
    snapshot = SnapshotReader(night)
    validation = [CountedSources(snapshot, fold, SOURCE_NAMES) for fold in snapshot.validation_folds]
    return fit_weights(validation, names, PARAMS.seed).state_dict()


def test_every_baseline_has_a_label() -> None:
    assert list(COUNTED_BASELINES) == list(BASELINE_LABELS)


def test_a_baseline_knows_the_positives_of_yesterday(night: Night) -> None:
    targets = unseen_by(night, VIDEO)
    before = rank(night, targets)
    likers = [f"u{user:04d}" for user in range(USERS) if user not in targets.user_P.tolist()]
    append_positives(night, "test", VIDEO, likers)
    after = rank(night, targets)
    assert len(likers) > 5
    for name in ("popularity", "trending"):
        assert (after[name].rank_P <= before[name].rank_P).all()
        assert (after[name].rank_P < before[name].rank_P).any()
    assert (after["trending"].rank_P == 1).all()
    assert changed(before, after) == set(COUNTED_BASELINES)


def test_a_baseline_never_knows_the_test_day(night: Night) -> None:
    before = rank(night)
    num_rows = len(read_table(night, "interactions_test"))
    replace_columns(
        night,
        "interactions_test",
        positive=pa.array([True] * num_rows),
        video_row=pa.array([VIDEO] * num_rows, pa.int32()),
    )
    after = rank(night)
    assert changed(before, after) == set()
    assert all(torch.equal(before[name].rank_P, after[name].rank_P) for name in before)


@pytest.mark.parametrize("name", BLENDS)
def test_blends_are_fitted_on_the_validation_days_only(night: Night, name: str) -> None:
    names = tuple(COUNTED_BASELINES[name])
    before = weights(night, names)
    for file, must_change in (("interactions_test", False), ("interactions_valid_1", True)):
        num_rows = len(read_table(night, file))
        videos = pa.array([row % 9 for row in range(num_rows)], pa.int32())
        replace_columns(night, file, positive=pa.array([True] * num_rows), video_row=videos)
        after = weights(night, names)
        assert any(not torch.equal(before[key], after[key]) for key in before) == must_change
    append_positives(night, "test", VIDEO, [f"u{user:04d}" for user in range(USERS)])
    assert all(torch.equal(after[key], value) for key, value in weights(night, names).items())


@pytest.mark.parametrize("name", BLENDS)
def test_a_blend_uses_both_sources(night: Night, name: str) -> None:
    weight_S = weights(night, tuple(COUNTED_BASELINES[name]))["weight_S"]
    assert (weight_S > 0.02).all()


def test_seen_and_unavailable_videos_are_not_ranked(night: Night) -> None:
    withdrawn = [3, 4]
    days = [NIGHT if row not in withdrawn else NIGHT.replace(day=NIGHT.day - 1) for row in range(VIDEOS)]
    replace_columns(night, "catalogue", available_until=pa.array(days, pa.date32()))
    targets = unseen_by(night, VIDEO)
    hidden_BV = SnapshotReader(night).seen_items("test").mask(targets.users, VIDEOS)
    hidden_BV[:, withdrawn] = True
    for ranked in rank(night, targets, cutoffs=(VIDEOS,)).values():
        is_ranked_BV = torch.zeros_like(hidden_BV).scatter(1, ranked.top_BK, ranked.score_BK > -torch.inf)
        assert torch.equal(is_ranked_BV, ~hidden_BV)


def test_popularity_orders_videos_of_equal_score(night: Night) -> None:
    """A user without a sequence has no similar videos, so only popularity is left."""
    sequences = read_table(night, "sequences_test")
    pq.write_table(sequences.slice(1), night.require_output("snapshot", "sequences_test.parquet"))
    gone = sequences["user_id"][0].as_py()
    user = SnapshotReader(night).user_ids.to_pylist().index(gone)
    seen_V = SnapshotReader(night).seen_items("test").mask(torch.tensor([user]), VIDEOS)[0]
    targets = Targets(torch.tensor([user]), (~seen_V).nonzero()[:1, 0])
    ranked = rank(night, targets)
    for name in ("itemcf", "ease", "content_kernel"):
        assert torch.equal(ranked[name].top_BK, ranked["popularity"].top_BK)
        assert ranked[name].score_BK.max() <= baselines.POPULARITY_WEIGHT * 10


def test_the_half_life_changes_trending_and_its_blends(night: Night) -> None:
    changes = changed(rank(night), rank(night, recency_half_life_days=9.0))
    assert changes == {"trending", "ease_trending", "creator_trending"}


def test_the_seed_changes_no_baseline_without_samples(night: Night) -> None:
    assert changed(rank(night), rank(night, seed=PARAMS.seed + 1)) == set()


def test_chunks_of_users_do_not_change_the_ranking(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rank(night)
    monkeypatch.setattr(baselines, "users_per_chunk", lambda num_videos: 3)
    after = rank(night)
    assert all(torch.equal(before[name].rank_P, after[name].rank_P) for name in before)
