import json
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
from core.pseudonyms import KEY_VARIABLE
from core.run_manifests import RunManifest, write_manifest
from core.tables import FEATURES, INTERACTIONS
from features import catalogue, item_statistics, user_tables
from lake import audits
from lake.client import Lake
from spark_jobs import exchange, seen_items
from tasks import clean, ingest, sequences, snapshot
from tests.support.killed_runs import killed
from tests.support.landing_files import DAY, at, event, land, small_platform
from tests.support.pseudonyms import KEY, SECRET, private_params

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
pytestmark = pytest.mark.usefixtures("keep_spark")


def _vector(video: str, value: float, fingerprint: str = "f", segment: int = -1) -> dict:
    row = {"video_id": video, "modality": "visual", "segment": segment, "start_ms": 0, "vector": [value, 1.0]}
    return row | {"fingerprint": fingerprint, "day": DAY}


def _fill_lake(landing: Path | None, night: Night) -> None:
    ingest.run(IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
    clean.run(PARAMS.clean, night)
    _build_sequences(night)
    write_manifest(
        night.run_manifests,
        "embed",
        RunManifest(facts={"fingerprints": {"visual": "f"}}),
        {},
    )


def _build_sequences(night: Night, **changes: int) -> None:
    run_manifest = sequences.run(replace(PARAMS.sequences, **changes), night)
    write_manifest(night.run_manifests, "sequences", run_manifest, {})


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


def _newest_days(night: Night) -> dict[str, date]:
    """Fold -> day of the newest interaction that it knows."""
    folds = ("valid_1", "valid_2", "test")
    paths = {fold: night.workspace / "snapshot" / f"sequences_{fold}.parquet" for fold in folds}
    return {
        fold: max(t.date() for row in _read(night, f"sequences_{fold}") for t in row["started_at"])
        for fold, path in paths.items()
        if path.exists()
    }


def test_each_fold_knows_what_is_before_its_day(night):
    facts = snapshot.run(PARAMS.snapshot, night).facts
    days = {"valid_1": DAY - timedelta(2), "valid_2": DAY - timedelta(1), "test": DAY}
    assert facts["folds"] == {fold: str(day) for fold, day in days.items()}
    assert _newest_days(night) == {fold: day - timedelta(1) for fold, day in days.items()}
    for fold, day in days.items():
        assert {row["started_at"].date() for row in _read(night, f"interactions_{fold}")} == {day}


def test_interactions_are_counted_up_to_the_day_before_the_fold(night):
    snapshot.run(PARAMS.snapshot, night)
    new = [row["video_id"] for row in _read(night, "catalogue")].index("a-new-one")
    for known_days, fold in enumerate(("valid_1", "valid_2", "test"), 1):
        counts = [row["num_interactions"] for row in _read(night, f"item_statistics_{fold}")]
        assert counts[new] == 0
        assert sum(counts) == 6 * 3 * known_days  # users × interactions × days


def test_a_video_is_available_until_the_last_day_before_it_expires(landing, night):
    expires = {"v0": f"{DAY}T13:00:00Z", "v1": f"{DAY}T00:00:00Z", "v2": f"{DAY}T00:00:00+02:00"}
    records = [
        {"video_id": video, "duration_ms": 9000, "expires_at": time} for video, time in expires.items()
    ]
    land(landing, "videos", DAY, records, "expiry.jsonl")
    _fill_lake(landing, night)
    snapshot.run(PARAMS.snapshot, night)
    until = {row["video_id"]: row["available_until"] for row in _read(night, "catalogue")}
    yesterday = DAY - timedelta(1)
    assert [until[video] for video in ("v0", "v1", "v2", "v3")] == [DAY, yesterday, yesterday, None]


def test_video_rows_point_into_the_catalogue(night):
    snapshot.run(PARAMS.snapshot, night)
    ids = [row["video_id"] for row in _read(night, "catalogue")]
    assert ids == sorted(ids)
    interactions = _read(night, "interactions_test")
    assert "a-new-one" in {ids[row["video_row"]] for row in interactions if row["user_id"] == "u0"}


def test_seen_items_are_complete_for_short_sequences(night, tmp_path):
    _build_sequences(night, max_length=2)
    snapshot.run(PARAMS.snapshot, night)
    assert {len(row["video_rows"]) for row in _read(night, "sequences_test")} == {2}
    seen = {row["user_id"]: row["video_rows"] for row in _read(night, "seen_items")}
    assert all(len(rows) > 2 for rows in seen.values())


def test_seen_items_have_the_day_of_the_first_interaction(landing, tmp_path):
    small_platform(landing)
    again = [event(8001, "u0", "v7", "view", at(DAY - timedelta(n), 20)) for n in (2, 1, 0)]
    for n, line in zip((2, 1, 0), again, strict=True):
        land(landing, "events", DAY - timedelta(n), [line | {"event_id": f"again{n}"}], "again.jsonl")
    night = Night(DAY, tmp_path / "night")
    _fill_lake(landing, night)
    snapshot.run(PARAMS.snapshot, night)
    ids = [row["video_id"] for row in _read(night, "catalogue")]
    (row,) = [row for row in _read(night, "seen_items") if row["user_id"] == "u0"]
    first_days = dict(zip((ids[video] for video in row["video_rows"]), row["first_days"], strict=True))
    expected: dict[str, date] = {}
    for interaction in Lake().scan("interactions").sort_by("day").to_pylist():
        if interaction["user_id"] == "u0" and interaction["day"] < DAY:
            expected.setdefault(interaction["video_id"], interaction["day"])
    assert first_days == expected
    assert first_days["v7"] <= DAY - timedelta(2)


def test_every_user_has_a_profile_row(night):
    snapshot.run(PARAMS.snapshot, night)
    users = {row["user_id"]: row for row in _read(night, "users_test")}
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


def test_vectors_of_other_encoders_are_written_for_the_champion_only(night, monkeypatch):
    def fetch_champion(out: Path, _: date) -> dict[str, str | None]:
        (out / "champion").mkdir()
        model = {"encoder_fingerprints": {"visual": "other", "text": "unknown"}}
        (out / "champion" / "model.json").write_text(json.dumps(model))
        return {"champion": "1", "incumbent": None}

    Lake().write("features", pa.Table.from_pylist([_vector("v2", 8.0, "other")], FEATURES.schema))
    path = night.workspace / "snapshot" / "compared_features.safetensors"
    snapshot.run(PARAMS.snapshot, night)
    assert not path.exists()
    monkeypatch.setattr(snapshot.model_registry, "fetch_compared_models", fetch_champion)
    snapshot.run(PARAMS.snapshot, night)
    tensors = load_file(path)
    row = [row["video_id"] for row in _read(night, "catalogue")].index("v2")
    assert tensors.keys() == {"visual.other", "visual.other.mask"}
    assert np.flatnonzero(tensors["visual.other.mask"]).tolist() == [row]
    assert tensors["visual.other"][row].tolist() == [8.0, 1.0]


def _landed(video: str, vector: list[float], source: str, day: date = DAY) -> dict:
    return _vector(video, 0.0, "landed") | {"vector": vector, "source": source, "day": day}


def _landed_features(night: Night, rows: list[dict]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Land these vectors, and return video ids, vectors and mask of the snapshot."""
    Lake().write("features", pa.Table.from_pylist(rows, FEATURES.schema))
    facts = {"fingerprints": {"visual": "landed"}}
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


def test_comment_sentiment_is_of_what_the_fold_knows(night):
    rows = _commented({"v1": [0.5, -0.1, None], "v2": [None]}, DAY - timedelta(3))
    rows += _commented({"v1": [-1.0], "v3": [-1.0]}, DAY - timedelta(2)) + _commented({"v2": [-1.0]}, DAY)
    Lake().write("interactions", pa.Table.from_pylist(rows, INTERACTIONS.schema))
    _build_sequences(night)
    snapshot.run(PARAMS.snapshot, night)
    ids = [row["video_id"] for row in _read(night, "catalogue")]
    statistics = {
        fold: {
            video: (row["comment_sentiment"], row["comments"])
            for video, row in zip(ids, _read(night, f"item_statistics_{fold}"), strict=True)
        }
        for fold in ("valid_1", "test")
    }
    assert statistics["valid_1"]["v1"] == (pytest.approx(0.2), 2)
    assert [statistics["valid_1"][video] for video in ("v2", "v3", "a-new-one")] == [(None, 0)] * 3
    assert statistics["test"]["v1"] == (pytest.approx(-0.2), 3)
    assert [statistics["test"][video] for video in ("v2", "v3")] == [(None, 0), (-1.0, 1)]


def test_the_same_lake_gives_the_same_bytes(night, tmp_path):
    first = snapshot.run(PARAMS.snapshot, night)
    again = snapshot.run(PARAMS.snapshot, night)
    assert first.digests == again.digests
    assert (first.facts["champion"], first.facts["incumbent"]) == (None, None)
    assert len(first.digests) >= 9


def _sorted_tables(night: Night) -> dict[str, list[str]]:
    """Return the rows of each Parquet file as sorted texts: the order of `seen_items` has no meaning."""
    names = [path.stem for path in (night.workspace / "snapshot").glob("*.parquet")]
    return {name: sorted(map(repr, _read(night, name))) for name in names}


def test_small_ranges_of_users_and_videos_give_the_same_rows(night, monkeypatch):
    """Each user, video and comment is then a range of its own, and the users are in several buckets."""
    rows = _commented({"v1": [0.5, -0.1, 0.7, None], "v2": [None], "v3": [0.25]}, DAY - timedelta(3))
    Lake().write("interactions", pa.Table.from_pylist(rows, INTERACTIONS.schema))
    _build_sequences(night)
    facts = snapshot.run(PARAMS.snapshot, night).facts
    whole = _sorted_tables(night)
    monkeypatch.setattr(user_tables, "RANGE_ROWS", 1)
    monkeypatch.setattr(catalogue, "RANGE_RECORDS", 1)
    monkeypatch.setattr(item_statistics, "MAX_COMMENTS", 1)
    monkeypatch.setattr(seen_items, "count_buckets", lambda scheduler, paths: 3)
    assert snapshot.run(PARAMS.snapshot, night).facts == facts
    users = pq.ParquetFile(night.workspace / "snapshot" / "users_test.parquet")
    assert users.num_row_groups == facts["num_users"]
    assert _sorted_tables(night) == whole


def test_a_large_night_has_the_same_files_on_spark(night, monkeypatch):
    digests = snapshot.run(PARAMS.snapshot, night).digests
    monkeypatch.setattr(exchange, "MAX_BYTES_IN_PROCESS", -1)
    assert snapshot.run(PARAMS.snapshot, night).digests == digests


def test_a_seen_video_that_is_not_in_the_catalogue_is_refused(night):
    """No sequence holds the interaction, because they were built before."""
    rows = _commented({"gone": [None]}, DAY - timedelta(3))
    Lake().write("interactions", pa.Table.from_pylist(rows, INTERACTIONS.schema))
    with pytest.raises(InputError, match="1 interactions have videos that are not in the catalogue"):
        snapshot.run(PARAMS.snapshot, night)


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
    positives = {row["user_id"]: row["positive"] for row in _read(night, "interactions_test")}
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
    rows = {fold: _read(night, f"users_{fold}") for fold in ("valid_1", "valid_2", "test")}
    assert [table[0]["city_tier"] for table in rows.values()] == ["1", "2", "3"]
    assert [table[0]["days_registered"] for table in rows.values()] == [0, 1, 2]
    ids = [[row["user_id"] for row in table] for table in rows.values()]
    assert ids[0] == ids[1] == ids[2]


def test_later_commits_are_not_in_the_snapshot(night, monkeypatch):
    snapshot.run(PARAMS.snapshot, night)
    before = {name: _read(night, name) for name in ("interactions_test", "catalogue", "users_test")}
    read_catalogue = snapshot.read_catalogue

    def meanwhile(*arguments):
        Lake().commit("interactions", [{"day": DAY}], [])
        Lake().commit("users", [{"day": DAY - timedelta(3)}], [])
        return read_catalogue(*arguments)

    monkeypatch.setattr(snapshot, "read_catalogue", meanwhile)
    snapshot.run(PARAMS.snapshot, night)
    assert {name: _read(night, name) for name in before} == before


def test_a_blocked_day_is_not_in_the_snapshot(night):
    blocked = DAY - timedelta(1)
    audits.write_audit(blocked, "blocked")
    _fill_lake(None, night)
    facts = snapshot.run(PARAMS.snapshot, night).facts
    assert facts["missing_days"] == [str(blocked)]
    assert facts["folds"] == {"valid_1": str(DAY - timedelta(2)), "test": str(DAY)}
    assert _newest_days(night) == {"valid_1": DAY - timedelta(3), "test": DAY - timedelta(2)}
    assert {row["started_at"].date() for row in _read(night, "interactions_valid_1")} == {DAY - timedelta(2)}
    assert sum(row["num_interactions"] for row in _read(night, "item_statistics_test")) == 6 * 3 * 2
    num_seen = {row["user_id"]: len(row["video_rows"]) for row in _read(night, "seen_items")}
    audits.write_audit(blocked, "passed")
    _fill_lake(None, night)
    facts = snapshot.run(PARAMS.snapshot, night).facts
    assert facts["missing_days"] == []
    assert (facts["folds"]["valid_1"], facts["folds"]["valid_2"]) == (str(DAY - timedelta(2)), str(blocked))
    assert sum(num_seen.values()) < sum(len(row["video_rows"]) for row in _read(night, "seen_items"))


def _tables(night: Night) -> dict[str, list[dict]]:
    """Return file name -> rows, of all Parquet files of the snapshot."""
    return {path.stem: _read(night, path.stem) for path in (night.workspace / "snapshot").glob("*.parquet")}


def test_pseudonyms_replace_the_ids_in_all_files(night, monkeypatch, tmp_path):
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    plain_manifest = snapshot.run(PARAMS.snapshot, night)
    plain = _tables(night)
    hidden_manifest = snapshot.run(PARAMS.snapshot, replace(night, params_path=private_params(tmp_path)))
    hidden = _tables(night)
    assert plain_manifest.facts["pseudonym_key"] is None
    assert hidden_manifest.facts["pseudonym_key"] == KEY.fingerprint
    for name, rows in plain.items():
        if name.startswith(("catalogue", "item_statistics")):
            assert hidden[name] == rows
        else:
            named = [row | {"user_id": KEY.pseudonym(row["user_id"])} for row in rows]
            assert hidden[name] == sorted(named, key=lambda row: row["user_id"]), name


def test_pseudonyms_without_a_key_are_refused(night, tmp_path):
    with pytest.raises(InputError, match=f"{KEY_VARIABLE} is not set"):
        snapshot.run(PARAMS.snapshot, replace(night, params_path=private_params(tmp_path)))


def test_a_lake_of_several_nights_gives_the_files_of_a_full_build(landing, tmp_path, monkeypatch):
    """Yesterday is blocked while the night first runs. Then it is repaired, and a late event joins it."""
    small_platform(landing)
    for days_ago, outcome in ((2, "passed"), (1, "blocked"), (0, "passed")):
        night = Night(DAY - timedelta(days_ago), tmp_path / f"{days_ago}-days-ago")
        _fill_lake(landing, night)
        audits.write_audit(night.day, outcome)
    late = event(9001, "u0", "v7", "view", at(DAY - timedelta(1), 23))
    land(landing, "events", DAY, [late], "late.jsonl")
    audits.write_audit(DAY - timedelta(1), "passed")
    _fill_lake(landing, night)
    continued = snapshot.run(PARAMS.snapshot, night)
    assert continued.facts["missing_days"] == []
    monkeypatch.setenv("UNDERCURRENT_LANDING", str(landing))
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / "full"))
    night = Night(DAY, tmp_path / "full-night")
    _fill_lake(landing, night)
    assert snapshot.run(PARAMS.snapshot, night).digests == continued.digests


def test_vectors_of_segments_are_written_only_if_asked_for(night):
    rows = [_vector("v1", 7.0), _vector("v1", 8.0, segment=1), _vector("v1", 9.0, "other", segment=0)]
    Lake().write("features", pa.Table.from_pylist(rows, FEATURES.schema))
    facts, info = {"fingerprints": {"visual": "f"}}, {"params": {"segment_seconds": 2.5}}
    write_manifest(night.run_manifests, "embed", RunManifest(facts=facts), info)
    path = night.workspace / "snapshot" / "features.safetensors"
    snapshot.run(PARAMS.snapshot, night)
    without = load_file(path)
    assert without.keys() == {"visual", "visual.mask"}
    snapshot.run(replace(PARAMS.snapshot, segments=True), night)
    tensors = load_file(path)
    assert all(np.array_equal(tensors[name], value) for name, value in without.items())
    assert tensors["segments.milliseconds"].tolist() == [2500]
    assert tensors["visual.segments"].tolist() == [[8.0, 1.0]]
    row = [row["video_id"] for row in _read(night, "catalogue")].index("v1")
    assert tensors["visual.segment_rows"].tolist() == [[row, 1]]
