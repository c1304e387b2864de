from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from contracts import audits
from contracts.errors import InputError
from contracts.lake import Lake
from contracts.params import Ingest, load
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, write_receipt
from contracts.tables import FEATURES, INTERACTIONS
from tasks import clean, ingest, sequences, snapshot
from tests.killed import killed
from tests.landings import DAY, at, event, land, small_platform

PARAMS = load(PROJECT / "params.yaml")
pytestmark = pytest.mark.usefixtures("keep_spark")


def _vector(video: str, value: float, fingerprint: str = "f", segment: int = -1) -> dict:
    row = {"video_id": video, "modality": "visual", "segment": segment, "start_ms": 0, "vector": [value, 1.0]}
    return row | {"fingerprint": fingerprint, "day": DAY}


def _lake_until(landing: Path | None, night: Night) -> None:
    ingest.run(Ingest(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
    clean.run(PARAMS.clean, night)
    sequences.run(PARAMS.sequences, night)
    write_receipt(
        night.receipts, "embed", Receipt(facts={"fingerprints": {"visual": "f"}, "synchrony": "s"}), {}
    )


@pytest.fixture
def night(landing, tmp_path) -> Night:
    """Four clean days, and on the last one a new video and a new person."""
    small_platform(landing)
    land(landing, "videos", DAY, [{"video_id": "a-new-one"}])
    fresh = [
        event(7001, "u0", "a-new-one", "view", at(DAY, 12)),
        event(7002, "new", "v0", "view", at(DAY, 12)),
    ]
    land(landing, "events", DAY, fresh, "more.jsonl")
    night = Night(DAY, tmp_path / "night")
    _lake_until(landing, night)
    return night


def _read(night: Night, name: str) -> list[dict]:
    return pq.read_table(night.workspace / "snapshot" / f"{name}.parquet").to_pylist()


def test_training_sees_nothing_of_the_last_two_days_and_the_test_nothing_of_the_last(night):
    snapshot.run(PARAMS.snapshot, night)
    newest = {
        name: max(t.date() for row in _read(night, name) for t in row["started_at"])
        for name in ("train", "test")
    }
    assert newest == {"train": DAY - timedelta(2), "test": DAY - timedelta(1)}
    for name, day in (("valid_views", DAY - timedelta(1)), ("test_views", DAY)):
        assert {row["started_at"].date() for row in _read(night, name)} == {day}


def test_views_are_counted_from_training_days_only(night):
    snapshot.run(PARAMS.snapshot, night)
    catalogue = {row["video_id"]: row["train_views"] for row in _read(night, "catalogue")}
    assert catalogue["a-new-one"] == 0
    assert sum(catalogue.values()) == 6 * 3 * 2  # people × viewings × training days


def test_histories_point_at_the_catalogues_rows(night):
    snapshot.run(PARAMS.snapshot, night)
    ids = [row["video_id"] for row in _read(night, "catalogue")]
    assert ids == sorted(ids)
    views = _read(night, "test_views")
    mine = {ids[row["video_row"]] for row in views if row["user_id"] == "u0"}
    assert "a-new-one" in mine


def test_seen_videos_are_all_ever_seen_however_short_the_histories(night, tmp_path):
    params = PARAMS.sequences.__class__(max_length=2)
    sequences.run(params, night)
    snapshot.run(PARAMS.snapshot, night)
    assert {len(row["video_rows"]) for row in _read(night, "test")} == {2}
    seen = {row["user_id"]: row["video_rows"] for row in _read(night, "seen_test")}
    assert all(len(rows) > 2 for rows in seen.values())


def test_everybody_with_a_past_or_a_target_has_a_profile_row_known_or_not(night):
    snapshot.run(PARAMS.snapshot, night)
    users = {row["user_id"]: row for row in _read(night, "users")}
    assert set(users) == {f"u{n}" for n in range(6)} | {"new"}
    assert users["u0"]["age_band"] == "18-24"
    assert users["u0"]["days_registered"] == 2  # when the test day began
    assert users["new"]["age_band"] is None
    assert users["new"]["days_registered"] is None


def test_only_vectors_of_the_nights_encoder_are_taken_and_missing_ones_are_masked(night):
    rows = [_vector("v1", 7.0), _vector("v2", 8.0, "other"), _vector("v3", 9.0, segment=0)]
    Lake().write("features", pa.Table.from_pylist(rows, FEATURES.schema))
    receipt = snapshot.run(PARAMS.snapshot, night)
    tensors = load_file(night.workspace / "snapshot" / "features.safetensors")
    ids = [row["video_id"] for row in _read(night, "catalogue")]
    assert np.flatnonzero(tensors["visual.mask"]).tolist() == [ids.index("v1")]
    assert tensors["visual"][ids.index("v1")].tolist() == [7.0, 1.0]
    assert receipt.facts["modalities"] == {"visual": {"width": 2, "covered": 1, "fingerprint": "f"}}


def _landed(video: str, vector: list[float], source: str, day: date = DAY) -> dict:
    return _vector(video, 0.0, "landed") | {"vector": vector, "source": source, "day": day}


def _of_landed(night: Night, rows: list[dict]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """What the snapshot holds of ready-made pictures: the catalogue's ids, the vectors and their mask."""
    Lake().write("features", pa.Table.from_pylist(rows, FEATURES.schema))
    facts = {"fingerprints": {"visual": "landed"}, "synchrony": None}
    write_receipt(night.receipts, "embed", Receipt(facts=facts), {})
    snapshot.run(PARAMS.snapshot, night)
    tensors = load_file(night.workspace / "snapshot" / "features.safetensors")
    return [row["video_id"] for row in _read(night, "catalogue")], tensors["visual"], tensors["visual.mask"]


def test_the_newest_ready_made_vector_of_a_video_known_by_the_night_is_taken(night):
    early, late = DAY - timedelta(1), DAY + timedelta(1)
    ids, x_VD, mask_V = _of_landed(
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


def test_ready_made_vectors_of_two_widths_are_refused_in_a_sentence(night):
    rows = [_landed("v1", [7.0, 1.0], "a"), _landed("v2", [7.0, 1.0, 2.0], "b")]
    with pytest.raises(InputError, match=r"visual vectors of 2 and 3 numbers.*deliver all of them") as caught:
        _of_landed(night, rows)
    assert "\n" not in str(caught.value)


def _said(videos: dict[str, list[float | None]], day: date) -> list[dict]:
    blank = dict.fromkeys(INTERACTIONS.schema.names) | {"user_id": "u0", "viewed": True, "day": day}
    start = datetime(day.year, day.month, day.day, 20, tzinfo=UTC)
    return [
        blank | {"video_id": video, "comment_sentiment": score, "started_at": start}
        for video, scores in videos.items()
        for score in scores
    ]


def test_the_sentiment_of_a_videos_comments_is_of_training_days_and_null_without_any(night):
    rows = _said({"v1": [0.5, -0.1, None], "v2": [None]}, DAY - timedelta(2))
    rows += _said({"v1": [-1.0], "v3": [-1.0]}, DAY - timedelta(1)) + _said({"v2": [-1.0]}, DAY)
    Lake().write("interactions", pa.Table.from_pylist(rows, INTERACTIONS.schema))
    snapshot.run(PARAMS.snapshot, night)
    videos = {
        row["video_id"]: (row["comment_sentiment"], row["comments"]) for row in _read(night, "catalogue")
    }
    assert videos["v1"] == (pytest.approx(0.2), 2)
    assert [videos[video] for video in ("v2", "v3", "a-new-one")] == [(None, 0)] * 3


def test_synchrony_is_that_of_the_nights_method_and_null_where_unknown(night):
    told = {"v1": ("s", [0.7, 0.8, -100.0]), "v2": ("s", [np.nan] * 3), "v3": ("other", [0.1, 0.1, 0.0])}
    rows = [
        _vector(video, 0.0, how) | {"modality": "synchrony", "vector": vector}
        for video, (how, vector) in told.items()
    ]
    Lake().write("features", pa.Table.from_pylist(rows, FEATURES.schema))
    receipt = snapshot.run(PARAMS.snapshot, night)
    names = ("synchrony", "best_synchrony", "sync_delay_ms")
    videos = {row["video_id"]: [row[name] for name in names] for row in _read(night, "catalogue")}
    assert videos["v1"] == pytest.approx([0.7, 0.8, -100])
    assert [videos[video] for video in ("v2", "v3", "v4")] == [[None] * 3] * 3
    assert receipt.facts["video_numbers"] == dict.fromkeys(names, "s")
    assert receipt.facts["modalities"] == {}


def test_where_synchrony_was_not_measured_no_method_binds_and_all_of_it_is_unknown(night):
    write_receipt(night.receipts, "embed", Receipt(facts={"fingerprints": {}, "synchrony": None}), {})
    receipt = snapshot.run(PARAMS.snapshot, night)
    assert receipt.facts["video_numbers"] == {}
    assert {row["synchrony"] for row in _read(night, "catalogue")} == {None}


def test_the_same_lake_gives_the_same_bytes(night, tmp_path):
    first = snapshot.run(PARAMS.snapshot, night)
    again = snapshot.run(PARAMS.snapshot, night)
    assert first.digests == again.digests
    assert (first.facts["champion"], first.facts["incumbent"]) == (None, None)
    assert len(first.digests) >= 9


def test_a_snapshot_that_was_killed_has_the_digests_of_one_that_was_not(night):
    first = snapshot.run(PARAMS.snapshot, night)
    killed("snapshot", night)
    assert snapshot.run(PARAMS.snapshot, night).digests == first.digests
    assert [path for path in (night.workspace / "snapshot").iterdir() if path.name.startswith(".")] == []


def test_a_dislike_is_never_a_positive_and_a_long_view_is_one(landing, tmp_path):
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
    _lake_until(landing, night)
    snapshot.run(PARAMS.snapshot, night)
    found = {row["user_id"]: row["positive"] for row in _read(night, "test_views")}
    assert found == {"u0": True, "u1": False, "u2": False, "u3": True, "u4": True}


def test_a_night_without_three_days_of_events_is_refused(landing, tmp_path):
    small_platform(landing, days=2)
    night = Night(DAY, tmp_path / "night")
    _lake_until(landing, night)
    with pytest.raises(InputError, match="a night needs three days of events"):
        snapshot.run(PARAMS.snapshot, night)


def test_a_profile_column_that_nobody_has_is_refused_with_those_that_are_there(night):
    params = replace(PARAMS.snapshot, profile_numbers=("height",))
    with pytest.raises(
        InputError, match=r"profile_numbers has 'height'.* ever had; they have age_band, city_tier"
    ):
        snapshot.run(params, night)


def test_a_profile_that_came_later_is_not_known_earlier(landing, tmp_path):
    days = small_platform(landing)
    for day, tier in zip(days[1:], ("2", "3", "4"), strict=True):
        profile = {"user_id": "u0", "registration_time": at(days[0], 0), "age_band": "18-24"}
        land(landing, "users", day, [profile | {"city_tier": tier}], "changed.jsonl")
    night = Night(DAY, tmp_path / "night")
    _lake_until(landing, night)
    snapshot.run(PARAMS.snapshot, night)
    rows = {name: _read(night, name) for name in ("users_train", "users")}
    assert {name: table[0]["city_tier"] for name, table in rows.items()} == {"users_train": "2", "users": "3"}
    assert {name: table[0]["days_registered"] for name, table in rows.items()} == {
        "users_train": 1,
        "users": 2,
    }
    assert [row["user_id"] for row in rows["users"]] == [row["user_id"] for row in rows["users_train"]]


def test_what_is_committed_while_the_snapshot_is_taken_is_not_in_it(night, monkeypatch):
    snapshot.run(PARAMS.snapshot, night)
    before = {name: _read(night, name) for name in ("test_views", "catalogue", "users")}
    taken = snapshot.split_of

    def meanwhile(*arguments):
        Lake().commit("interactions", [{"day": DAY}], [])
        Lake().commit("users", [{"day": DAY - timedelta(3)}], [])
        return taken(*arguments)

    monkeypatch.setattr(snapshot, "split_of", meanwhile)
    snapshot.run(PARAMS.snapshot, night)
    assert {name: _read(night, name) for name in before} == before


def test_a_blocked_day_is_in_no_history_validation_or_statistic(night):
    blocked = DAY - timedelta(1)
    audits.note(blocked, "blocked")
    _lake_until(None, night)
    facts = snapshot.run(PARAMS.snapshot, night).facts
    assert (facts["missing_days"], facts["valid_day"]) == ([str(blocked)], str(DAY - timedelta(2)))
    assert facts["train_until"] == str(DAY - timedelta(3))
    newest = {
        name: max(t.date() for row in _read(night, name) for t in row["started_at"])
        for name in ("train", "test")
    }
    assert newest == {"train": DAY - timedelta(3), "test": DAY - timedelta(2)}
    assert {row["started_at"].date() for row in _read(night, "valid_views")} == {DAY - timedelta(2)}
    assert sum(row["train_views"] for row in _read(night, "catalogue")) == 6 * 3
    whole = {row["user_id"]: len(row["video_rows"]) for row in _read(night, "seen_test")}
    audits.note(blocked, "passed")
    _lake_until(None, night)
    facts = snapshot.run(PARAMS.snapshot, night).facts
    assert (facts["missing_days"], facts["valid_day"]) == ([], str(blocked))
    assert sum(whole.values()) < sum(len(row["video_rows"]) for row in _read(night, "seen_test"))
