"""A fold knows everything before its day, and nothing later."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from core.config import load_params
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.tables import BEHAVIOURS
from core.time_split import TimeSplit
from models.data.sequences import SeenItems
from models.data.targets import Targets
from snapshots.reader import Interactions, SnapshotReader, unseen_positives
from tests.support.snapshots import NIGHT, plant, read_table, replace_columns
from tests.support.torch_operations import TorchOperations
from training.model_config import build_model_config

FOLDS = {"valid_1": NIGHT - timedelta(2), "valid_2": NIGHT - timedelta(1), "test": NIGHT}
MODEL = load_params(PROJECT_ROOT / "params.yaml").train.model


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return plant(tmp_path / "night", users=30, videos=50)


def pairs(targets: Targets) -> set[tuple[int, int]]:
    return set(zip(targets.user_P.tolist(), targets.row_P.tolist(), strict=True))


def test_the_folds_are_those_of_the_manifest(night: Night) -> None:
    snapshot = SnapshotReader(night)
    assert snapshot.split.folds == FOLDS
    assert snapshot.validation_folds == ["valid_1", "valid_2"]
    assert date(1970, 1, 1) + timedelta(snapshot.day("valid_2")) == FOLDS["valid_2"]


def test_a_short_history_has_one_validation_fold(night: Night) -> None:
    path = night.require_output("snapshot", "manifest.json")
    folds = TimeSplit((FOLDS["valid_1"],), NIGHT).to_json()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"folds": folds}))
    assert SnapshotReader(night).validation_folds == ["valid_1"]


def test_a_snapshot_of_an_older_version_is_refused(night: Night) -> None:
    path = night.require_output("snapshot", "manifest.json")
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "folds"})
    )
    with pytest.raises(InputError, match=r"'folds' is missing; run `python -m tasks\.snapshot` again"):
        _ = SnapshotReader(night).validation_folds


@pytest.mark.parametrize("fold", FOLDS)
def test_seen_items_are_those_first_watched_before_the_day(night: Night, fold: str) -> None:
    snapshot = SnapshotReader(night)
    seen, users = snapshot.seen_items(fold), snapshot.user_ids.to_pylist()
    first_days = {row["user_id"]: row for row in read_table(night, "seen_items").to_pylist()}
    for user, user_id in enumerate(users):
        row = first_days.get(user_id, {"video_rows": [], "first_days": []})
        pairs_of_user = zip(row["video_rows"], row["first_days"], strict=True)
        expected = [video for video, first_day in pairs_of_user if first_day < FOLDS[fold]]
        assert seen.row_E[seen.offsets[user] : seen.offsets[user + 1]].tolist() == expected
    # Sequences are complete here, so they hold the same videos.
    sequences = snapshot.sequences(fold)
    user_E = torch.arange(len(users)).repeat_interleave(sequences.lengths)
    watched = set(zip(user_E.tolist(), sequences.video_E.tolist(), strict=True))
    user_E, row_E = seen.user_item_pairs(torch.arange(len(users)))
    assert set(zip(user_E.tolist(), row_E.tolist(), strict=True)) == watched


def test_a_video_that_is_watched_again_stays_seen(night: Night) -> None:
    """The first day decides, not the last."""
    seen = read_table(night, "seen_items")
    user = seen["user_id"][0].as_py()
    snapshot = SnapshotReader(night)
    row = snapshot.user_ids.to_pylist().index(user)
    counts = {fold: int(snapshot.seen_items(fold).offsets.diff()[row]) for fold in FOLDS}
    days = pa.array(
        [[NIGHT - timedelta(1)] * len(days) for days in seen["first_days"].to_pylist()],
        pa.list_(pa.date32()),
    )
    replace_columns(night, "seen_items", first_days=days)
    late = SnapshotReader(night)
    assert 0 < counts["valid_1"] < counts["valid_2"] <= counts["test"]
    assert [int(late.seen_items(fold).offsets.diff()[row]) for fold in FOLDS] == [0, 0, counts["test"]]


@pytest.mark.parametrize("fold", FOLDS)
def test_a_fold_knows_the_events_and_statistics_before_its_day(night: Night, fold: str) -> None:
    for factor, name in enumerate(FOLDS, 1):
        replace_columns(
            night, f"item_statistics_{name}", comments=pa.array([factor * row for row in range(50)])
        )
    snapshot = SnapshotReader(night)
    config = build_model_config(MODEL, snapshot, fold, 16)
    inputs = snapshot.fold(fold, config)
    assert inputs.day == snapshot.day(fold) == inputs.users.sequences.last_day + 1
    assert torch.equal(inputs.users.seen.row_E, snapshot.seen_items(fold).row_E)
    statistics = read_table(night, f"item_statistics_{fold}")
    known_V = torch.from_numpy(statistics["num_interactions"].to_numpy() > 0)
    assert torch.equal(inputs.item_table.id_row_V >= 0, known_V)
    mean, std = config.item_features["comments"]
    column = list(config.item_features).index("comments")
    comments_V = torch.tensor(statistics["comments"].to_pylist())
    stored_V = inputs.item_table.item_features_VQ[:, column] * std + mean
    assert torch.allclose(stored_V, comments_V.float(), atol=1e-3)


def test_profiles_are_those_of_the_fold(night: Night) -> None:
    ages = read_table(night, "users_test")["days_registered"]
    replace_columns(night, "users_valid_1", days_registered=pc.subtract(ages, 2))
    snapshot = SnapshotReader(night)
    config = build_model_config(MODEL, snapshot, "test", 16)
    number_UQ = {fold: snapshot.fold(fold, config).users.profiles.number_BQ for fold in FOLDS}
    column = list(config.user_numerical_features).index("days_registered")
    _, std = config.user_numerical_features["days_registered"]
    difference_U = (number_UQ["test"] - number_UQ["valid_1"])[:, column]
    assert torch.allclose(difference_U, torch.full_like(difference_U, 2 / std))
    assert torch.equal(number_UQ["test"][:, column], number_UQ["valid_2"][:, column])


@pytest.mark.parametrize("fold", FOLDS)
def test_the_content_fold_has_all_content_and_no_profile(night: Night, fold: str) -> None:
    snapshot = SnapshotReader(night)
    content, full = (
        snapshot.content_fold(fold),
        snapshot.fold(fold, build_model_config(MODEL, snapshot, fold, 16)),
    )
    assert content.day == full.day
    assert list(content.item_table.modality_features) == ["visual", "text", "audio"]
    assert torch.equal(content.item_table.has_VM, full.item_table.has_VM)
    assert torch.equal(content.item_table.id_row_V, full.item_table.id_row_V)
    assert torch.equal(content.item_table.upload_day_V, full.item_table.upload_day_V)
    assert pairs(content.targets) == pairs(full.targets) != set()
    assert torch.equal(content.users.sequences.video_E, full.users.sequences.video_E)
    assert torch.equal(content.users.seen.row_E, full.users.seen.row_E)
    users = len(snapshot.user_ids)
    assert content.users.profiles.category_BJ.shape == content.users.profiles.number_BQ.shape == (users, 0)
    assert content.item_table.item_features_VQ.shape == (50, 0)


@pytest.mark.parametrize("fold", FOLDS)
def test_targets_are_new_positives_of_the_day(night: Night, fold: str) -> None:
    snapshot = SnapshotReader(night)
    users = snapshot.user_ids.to_pylist()
    seen = {
        (row["user_id"], video)
        for row in read_table(night, "seen_items").to_pylist()
        for video, first_day in zip(row["video_rows"], row["first_days"], strict=True)
        if first_day < FOLDS[fold]
    }
    day = [row for row in read_table(night, f"interactions_{fold}").to_pylist() if row["positive"]]
    positives = {(row["user_id"], row["video_row"]) for row in day}
    expected = {(users.index(user), video) for user, video in positives - seen}
    assert positives & seen, "some positives must be repeated"
    assert pairs(snapshot.content_fold(fold).targets) == expected


def test_unavailable_targets_are_left_out(night: Night) -> None:
    before = {fold: pairs(SnapshotReader(night).content_fold(fold).targets) for fold in FOLDS}
    (_, early), (_, late) = sorted(before["valid_2"], key=lambda pair: pair[1])[:: len(before["valid_2"]) - 1]
    upload_days = read_table(night, "catalogue")["upload_day"].to_pylist()
    upload_days[late] = NIGHT
    replace_columns(
        night,
        "catalogue",
        upload_day=pa.array(upload_days, pa.date32()),
        available_until=pa.array(
            [FOLDS["valid_1"] if row == early else None for row in range(50)], pa.date32()
        ),
    )
    after = {fold: pairs(SnapshotReader(night).content_fold(fold).targets) for fold in FOLDS}
    gone = {"valid_1": {late}, "valid_2": {early, late}, "test": {early}}
    for fold, videos in gone.items():
        assert after[fold] == {pair for pair in before[fold] if pair[1] not in videos}
    assert after["valid_2"] < before["valid_2"]


def test_targets_read_the_seen_videos_of_the_users_of_the_day_only() -> None:
    seen = SeenItems(
        torch.tensor([0, 10_000, 10_002]), torch.cat([torch.arange(10_000), torch.tensor([0, 3])])
    )
    liked = torch.tensor([True, True])
    behaviour_NA = torch.ones(2, len(BEHAVIOURS), dtype=torch.bool)
    day = Interactions(torch.tensor([1, 1]), torch.tensor([2, 3]), liked, torch.ones(2), behaviour_NA)
    with TorchOperations() as operations:
        targets = unseen_positives(day, seen, torch.ones(5, dtype=torch.bool))
    assert pairs(targets) == {(1, 2)}
    assert operations.largest < 10


def test_alignment_is_trained_on_videos_of_the_first_fold(night: Night) -> None:
    snapshot = SnapshotReader(night)
    known_V = snapshot.num_interactions("valid_1") > 0
    assert known_V[snapshot.alignment_rows].all()
    assert (snapshot.num_interactions("test") > 0).sum() > known_V.sum()
    rows = torch.cat([snapshot.alignment_rows, snapshot.held_out_rows])
    assert rows.sort().values.tolist() == list(range(50))


def test_requests_have_the_context_that_is_known_when_they_are_served(night: Night) -> None:
    """The planted interactions of a day start two hours apart, so each is a session of its own."""
    snapshot, names = SnapshotReader(night), ("hour", "device", "depth", "city_tier")
    config = build_model_config(replace(MODEL, request_contexts=names), snapshot, "test", 16)
    assert list(config.request_contexts) == list(names)
    day, tiers = read_table(night, "interactions_test").to_pylist(), snapshot.users("test")["city_tier"]
    request_NJ = snapshot.request_contexts("test", config)
    values = [config.request_contexts[name] for name in names]
    user_N = snapshot.interactions("test").user_N.tolist()
    for row, user, codes in zip(day, user_N, request_NJ.tolist(), strict=True):
        hour = (row["started_at"].hour * 60 + row["started_at"].minute + row["utc_offset_minutes"]) // 60 % 24
        expected = (str(hour), row["device"], "1", tiers[user].as_py())
        assert codes == [1 + known.index(value) for known, value in zip(values, expected, strict=True)]
    users = snapshot.fold("test", config).users
    first = user_N.index(user_N[-1])
    assert users.request_UJ is not None
    assert users.request_UJ[user_N[-1]].tolist() == request_NJ[first].tolist()
    absent = set(range(len(users.request_UJ))) - set(user_N)
    assert all(users.request_UJ[user].tolist() == [0, 0, 0, 0] for user in absent)


def test_the_contexts_of_past_requests_are_those_of_their_interactions(night: Night) -> None:
    snapshot = SnapshotReader(night)
    config = build_model_config(replace(MODEL, request_contexts=("hour", "device")), snapshot, "test", 16)
    sequences = snapshot.fold("test", config).users.sequences
    assert sequences.request_EJ is not None
    assert sequences.context_EJ is not None
    assert torch.equal(sequences.request_EJ[:, 0], 1 + sequences.hour_E)
    assert torch.equal(sequences.request_EJ[:, 1], sequences.context_EJ[:, 0])
    assert snapshot.fold("test", replace(config, request_contexts={})).users.sequences.request_EJ is None


def test_an_unknown_request_context_is_refused(night: Night) -> None:
    model = replace(MODEL, request_contexts=("weather",))
    with pytest.raises(InputError, match=r"request_contexts has 'weather'; choose from age_band, .*, hour"):
        build_model_config(model, SnapshotReader(night), "test", 16)
