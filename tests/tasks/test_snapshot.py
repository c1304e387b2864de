from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from core.config import IngestConfig, load_params
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.run_manifests import RunManifest, write_manifest
from core.tables import FEATURES, INTERACTIONS
from lake import audits
from lake.client import Lake
from tasks import clean, ingest, sequences, snapshot
from tests.support.killed_runs import killed
from tests.support.landing_files import DAY, at, event, land, small_platform

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
pytestmark = pytest.mark.usefixtures("keep_spark")


def _vector(video: str, value: float, fingerprint: str = "f", segment: int = -1) -> dict:
    row = {"video_id": video, "modality": "visual", "segment": segment, "start_ms": 0, "vector": [value, 1.0]}
    return row | {"fingerprint": fingerprint, "day": DAY}


def _fill_lake(landing: Path | None, night: Night) -> None:
    ingest.run(IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
    clean.run(PARAMS.clean, night)
    sequences.run(PARAMS.sequences, night)
    write_manifest(
        night.run_manifests,
        "embed",
        RunManifest(facts={"fingerprints": {"visual": "f"}, "synchrony": "s"}),
        {},
    )


@pytest.fixture
def night(landing, tmp_path) -> Night:
    """Fill the lake with four days, the last with a new video and a new user."""
    small_platform(landing)
    land(landing, "videos", DAY, [{"video_id": "a-new-one"}])
    fresh = [
        event(7001, "u0", "a-new-one", "view", at(DAY, 12)),
        event(7002, "new", "v0", "view", at(DAY, 12)),
    ]
    land(landing, "events", DAY, fresh, "more.jsonl")
    night = Night(DAY, tmp_path / "night")
    _fill_lake(landing, night)
    return night


def _read(night: Night, name: str) -> list[dict]:
    return pq.read_table(night.workspace / "snapshot" / f"{name}.parquet").to_pylist()


def test_sequences_end_before_validation_and_test(night):
    snapshot.run(PARAMS.snapshot, night)
    newest = {
        name: max(t.date() for row in _read(night, f"sequences_{name}") for t in row["started_at"])
        for name in ("train", "before_test")
    }
    assert newest == {"train": DAY - timedelta(2), "before_test": DAY - timedelta(1)}
    for name, day in (("valid_interactions", DAY - timedelta(1)), ("test_interactions", DAY)):
        assert {row["started_at"].date() for row in _read(night, name)} == {day}


def test_only_training_interactions_are_counted(night):
    snapshot.run(PARAMS.snapshot, night)
    catalogue = {row["video_id"]: row["num_train_interactions"] for row in _read(night, "catalogue")}
    assert catalogue["a-new-one"] == 0
    assert sum(catalogue.values()) == 6 * 3 * 2  # users × interactions × training days


def test_video_rows_point_into_the_catalogue(night):
    snapshot.run(PARAMS.snapshot, night)
    ids = [row["video_id"] for row in _read(night, "catalogue")]
    assert ids == sorted(ids)
    interactions = _read(night, "test_interactions")
    assert "a-new-one" in {ids[row["video_row"]] for row in interactions if row["user_id"] == "u0"}


def test_seen_items_are_complete_for_short_sequences(night, tmp_path):
    params = PARAMS.sequences.__class__(max_length=2)
    sequences.run(params, night)
    snapshot.run(PARAMS.snapshot, night)
    assert {len(row["video_rows"]) for row in _read(night, "sequences_before_test")} == {2}
    seen = {row["user_id"]: row["video_rows"] for row in _read(night, "seen_items_before_test")}
    assert all(len(rows) > 2 for rows in seen.values())


def test_every_user_has_a_profile_row(night):
    snapshot.run(PARAMS.snapshot, night)
    users = {row["user_id"]: row for row in _read(night, "users_before_test")}
    assert set(users) == {f"u{n}" for n in range(6)} | {"new"}
    assert users["u0"]["age_band"] == "18-24"
    assert users["u0"]["days_registered"] == 2  # when the test day began
    assert users["new"]["age_band"] is None
    assert users["new"]["days_registered"] is None


def test_only_vectors_of_the_current_encoder_are_read(night):
    rows = [_vector("v1", 7.0), _vector("v2", 8.0, "other"), _vector("v3", 9.0, segment=0)]
    Lake().write("features", pa.Table.from_pylist(rows, FEATURES.schema))
    run_manifest = snapshot.run(PARAMS.snapshot, night)
    tensors = load_file(night.workspace / "snapshot" / "features.safetensors")
    ids = [row["video_id"] for row in _read(night, "catalogue")]
    assert np.flatnonzero(tensors["visual.mask"]).tolist() == [ids.index("v1")]
    assert tensors["visual"][ids.index("v1")].tolist() == [7.0, 1.0]
    assert run_manifest.facts["modalities"] == {"visual": {"width": 2, "covered": 1, "fingerprint": "f"}}


def _landed(video: str, vector: list[float], source: str, day: date = DAY) -> dict:
    return _vector(video, 0.0, "landed") | {"vector": vector, "source": source, "day": day}


def _landed_features(night: Night, rows: list[dict]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Land these vectors, and return video ids, vectors and mask of the snapshot."""
    Lake().write("features", pa.Table.from_pylist(rows, FEATURES.schema))
    facts = {"fingerprints": {"visual": "landed"}, "synchrony": None}
    write_manifest(night.run_manifests, "embed", RunManifest(facts=facts), {})
    snapshot.run(PARAMS.snapshot, night)
    tensors = load_file(night.workspace / "snapshot" / "features.safetensors")
    return [row["video_id"] for row in _read(night, "catalogue")], tensors["visual"], tensors["visual.mask"]


def test_the_newest_landed_vector_is_read(night):
    early, late = DAY - timedelta(1), DAY + timedelta(1)
    ids, x_VD, mask_V = _landed_features(
        night,
        [
            _landed("v1", [7.0, 1.0, 2.0], "features/b.jsonl 000000000002"),
            _landed("v1", [6.0, 1.0, 2.0], "features/b.jsonl 000000000001"),
            _landed("v1", [5.0, 1.0, 2.0], "features/a.jsonl 000000000003"),
            _landed("v1", [4.0, 1.0], "features/z.jsonl 000000000001", early),
            _landed("v1", [3.0], "features/z.jsonl 000000000001", late),
            _landed("v2", [9.0, 9.0, 9.0], "features/z.jsonl 000000000001", late),
        ],
    )
    assert [ids[row] for row in np.flatnonzero(mask_V)] == ["v1"]
    assert x_VD[ids.index("v1")].tolist() == [7.0, 1.0, 2.0]


def test_landed_vectors_of_two_widths_are_refused(night):
    rows = [_landed("v1", [7.0, 1.0], "a"), _landed("v2", [7.0, 1.0, 2.0], "b")]
    with pytest.raises(InputError, match=r"visual vectors of 2 and 3 numbers.*deliver all of them") as caught:
        _landed_features(night, rows)
    assert "\n" not in str(caught.value)


def _commented(videos: dict[str, list[float | None]], day: date) -> list[dict]:
    blank = dict.fromkeys(INTERACTIONS.schema.names) | {"user_id": "u0", "viewed": True, "day": day}
    start = datetime(day.year, day.month, day.day, 20, tzinfo=UTC)
    return [
        blank | {"video_id": video, "comment_sentiment": score, "started_at": start}
        for video, scores in videos.items()
        for score in scores
    ]


def test_comment_sentiment_is_of_training_days(night):
    rows = _commented({"v1": [0.5, -0.1, None], "v2": [None]}, DAY - timedelta(2))
    rows += _commented({"v1": [-1.0], "v3": [-1.0]}, DAY - timedelta(1)) + _commented({"v2": [-1.0]}, DAY)
    Lake().write("interactions", pa.Table.from_pylist(rows, INTERACTIONS.schema))
    snapshot.run(PARAMS.snapshot, night)
    videos = {
        row["video_id"]: (row["comment_sentiment"], row["comments"]) for row in _read(night, "catalogue")
    }
    assert videos["v1"] == (pytest.approx(0.2), 2)
    assert [videos[video] for video in ("v2", "v3", "a-new-one")] == [(None, 0)] * 3


def test_synchrony_is_of_the_current_method(night):
    stored = {"v1": ("s", [0.7, 0.8, -100.0]), "v2": ("s", [np.nan] * 3), "v3": ("other", [0.1, 0.1, 0.0])}
    rows = [
        _vector(video, 0.0, method) | {"modality": "synchrony", "vector": vector}
        for video, (method, vector) in stored.items()
    ]
    Lake().write("features", pa.Table.from_pylist(rows, FEATURES.schema))
    run_manifest = snapshot.run(PARAMS.snapshot, night)
    names = ("synchrony", "best_synchrony", "sync_delay_ms")
    videos = {row["video_id"]: [row[name] for name in names] for row in _read(night, "catalogue")}
    assert videos["v1"] == pytest.approx([0.7, 0.8, -100])
    assert [videos[video] for video in ("v2", "v3", "v4")] == [[None] * 3] * 3
    assert run_manifest.facts["item_features"] == dict.fromkeys(names, "s")
    assert run_manifest.facts["modalities"] == {}


def test_unmeasured_synchrony_is_unknown(night):
    write_manifest(
        night.run_manifests, "embed", RunManifest(facts={"fingerprints": {}, "synchrony": None}), {}
    )
    run_manifest = snapshot.run(PARAMS.snapshot, night)
    assert run_manifest.facts["item_features"] == {}
    assert {row["synchrony"] for row in _read(night, "catalogue")} == {None}


def test_the_same_lake_gives_the_same_bytes(night, tmp_path):
    first = snapshot.run(PARAMS.snapshot, night)
    again = snapshot.run(PARAMS.snapshot, night)
    assert first.digests == again.digests
    assert (first.facts["champion"], first.facts["incumbent"]) == (None, None)
    assert len(first.digests) >= 9


def test_a_repeated_snapshot_has_the_same_digests_after_a_kill(night):
    first = snapshot.run(PARAMS.snapshot, night)
    killed("snapshot", night)
    assert snapshot.run(PARAMS.snapshot, night).digests == first.digests
    assert [path for path in (night.workspace / "snapshot").iterdir() if path.name.startswith(".")] == []


def test_positives(landing, tmp_path):
    small_platform(landing)
    lines = [
        event(1, "u0", "v0", "view", at(DAY, 9), watch_ms=9000),
        event(2, "u1", "v0", "view", at(DAY, 9), watch_ms=9000),
        event(3, "u1", "v0", "dislike", at(DAY, 9, 1)),
        event(4, "u2", "v0", "view", at(DAY, 9), watch_ms=100),
        event(5, "u3", "v0", "view", at(DAY, 9), watch_ms=100),
        event(6, "u3", "v0", "like", at(DAY, 9, 1)),
        event(7, "u4", "v0", "view", at(DAY, 9)),
    ]
    land(landing, "events", DAY, lines)
    night = Night(DAY, tmp_path / "night")
    _fill_lake(landing, night)
    snapshot.run(PARAMS.snapshot, night)
    positives = {row["user_id"]: row["positive"] for row in _read(night, "test_interactions")}
    assert positives == {"u0": True, "u1": False, "u2": False, "u3": True, "u4": True}


def test_a_night_without_three_days_of_events_is_refused(landing, tmp_path):
    small_platform(landing, days=2)
    night = Night(DAY, tmp_path / "night")
    _fill_lake(landing, night)
    with pytest.raises(InputError, match="a night needs three days of events"):
        snapshot.run(PARAMS.snapshot, night)


def test_an_unknown_profile_column_is_refused(night):
    params = replace(PARAMS.snapshot, profile_numbers=("height",))
    expected = r"profile_numbers names 'height', which no user profile has; use some of age_band, city_tier"
    with pytest.raises(InputError, match=expected):
        snapshot.run(params, night)


def test_profiles_are_as_of_their_day(landing, tmp_path):
    days = small_platform(landing)
    for day, tier in zip(days[1:], ("2", "3", "4"), strict=True):
        profile = {"user_id": "u0", "registration_time": at(days[0], 0), "age_band": "18-24"}
        land(landing, "users", day, [profile | {"city_tier": tier}], "changed.jsonl")
    night = Night(DAY, tmp_path / "night")
    _fill_lake(landing, night)
    snapshot.run(PARAMS.snapshot, night)
    rows = {name: _read(night, name) for name in ("users_train", "users_before_test")}
    assert {name: table[0]["city_tier"] for name, table in rows.items()} == {
        "users_train": "2",
        "users_before_test": "3",
    }
    assert {name: table[0]["days_registered"] for name, table in rows.items()} == {
        "users_train": 1,
        "users_before_test": 2,
    }
    assert [row["user_id"] for row in rows["users_before_test"]] == [
        row["user_id"] for row in rows["users_train"]
    ]


def test_later_commits_are_not_in_the_snapshot(night, monkeypatch):
    snapshot.run(PARAMS.snapshot, night)
    before = {name: _read(night, name) for name in ("test_interactions", "catalogue", "users_before_test")}
    split_by_time = snapshot.split_by_time

    def meanwhile(*arguments):
        Lake().commit("interactions", [{"day": DAY}], [])
        Lake().commit("users", [{"day": DAY - timedelta(3)}], [])
        return split_by_time(*arguments)

    monkeypatch.setattr(snapshot, "split_by_time", meanwhile)
    snapshot.run(PARAMS.snapshot, night)
    assert {name: _read(night, name) for name in before} == before


def test_a_blocked_day_is_not_in_the_snapshot(night):
    blocked = DAY - timedelta(1)
    audits.write_audit(blocked, "blocked")
    _fill_lake(None, night)
    facts = snapshot.run(PARAMS.snapshot, night).facts
    assert (facts["missing_days"], facts["valid_day"]) == ([str(blocked)], str(DAY - timedelta(2)))
    assert facts["train_until"] == str(DAY - timedelta(3))
    newest = {
        name: max(t.date() for row in _read(night, f"sequences_{name}") for t in row["started_at"])
        for name in ("train", "before_test")
    }
    assert newest == {"train": DAY - timedelta(3), "before_test": DAY - timedelta(2)}
    assert {row["started_at"].date() for row in _read(night, "valid_interactions")} == {DAY - timedelta(2)}
    assert sum(row["num_train_interactions"] for row in _read(night, "catalogue")) == 6 * 3
    num_seen = {row["user_id"]: len(row["video_rows"]) for row in _read(night, "seen_items_before_test")}
    audits.write_audit(blocked, "passed")
    _fill_lake(None, night)
    facts = snapshot.run(PARAMS.snapshot, night).facts
    assert (facts["missing_days"], facts["valid_day"]) == ([], str(blocked))
    assert sum(num_seen.values()) < sum(
        len(row["video_rows"]) for row in _read(night, "seen_items_before_test")
    )
