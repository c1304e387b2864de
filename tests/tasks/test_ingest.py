import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest

from core import hashing
from core.config import IngestConfig
from core.errors import InputError, ServiceUnavailableError
from core.paths import PROJECT_ROOT, Night
from lake.client import Lake, on_days
from tasks import ingest
from tests.support.landing_files import DAY, at, event, land, small_platform, timedelta
from tests.support.pseudonyms import private_params
from tests.support.s3_server import read_only

PARAMS = IngestConfig(batch_rows=7, max_record_kib=64, max_file_mib=64)


@pytest.fixture
def night(tmp_path):
    return Night(DAY, tmp_path / "night")


def _versions(lake):
    return {name: lake.version(name) for name in ("events", "users", "videos", "rejects", "landings")}


def test_every_row_of_every_kind_lands_and_adds_up(landing, night):
    small_platform(landing)
    run_manifest = ingest.run(PARAMS, night)
    lake = Lake()
    tables = [lake.scan(name).num_rows for name in ("events", "users", "videos")]
    assert run_manifest.row_counts.kept == sum(tables)
    assert lake.scan("users").num_rows == 6
    assert run_manifest.row_counts.rejected == {}


def test_a_second_run_changes_nothing(landing, night):
    small_platform(landing)
    first = ingest.run(PARAMS, night)
    before = _versions(Lake())
    again = ingest.run(PARAMS, night)
    assert again.row_counts.rows_in == 0
    assert _versions(Lake()) == before
    assert again.digests == first.digests


def test_the_same_file_under_another_name_or_day_adds_nothing(landing, night):
    dates = small_platform(landing)
    ingest.run(PARAMS, night)
    rows = Lake().scan("events").num_rows
    source = landing / "events" / f"dt={dates[0]}" / "part-0.jsonl"
    for day, name in ((dates[0], "again.jsonl"), (dates[2], "later.jsonl")):
        (landing / "events" / f"dt={day}" / name).write_bytes(source.read_bytes())
    run_manifest = ingest.run(PARAMS, night)
    assert run_manifest.row_counts.rows_in == 0
    assert Lake().scan("events").num_rows == rows


def test_a_renamed_file_is_the_same_file(landing, night):
    small_platform(landing)
    ingest.run(PARAMS, night)
    path = landing / "events" / f"dt={DAY}" / "part-0.jsonl"
    path.rename(path.with_name("renamed.jsonl"))
    assert ingest.run(PARAMS, night).row_counts.rows_in == 0


def test_a_repaired_file_replaces_its_day(landing, night):
    small_platform(landing)
    land(landing, "events", DAY, ["{broken\n", event(1, "u0", "v0", "view", at(DAY, 9))])
    first = ingest.run(PARAMS, night)
    assert first.row_counts.rejected == {"malformed_json": 1}
    land(landing, "events", DAY, [event(n, "u0", "v0", "view", at(DAY, 9, n)) for n in range(3)])
    second = ingest.run(PARAMS, night)
    lake = Lake()
    assert second.row_counts.rows_in == 3
    assert lake.scan("events", on_days(DAY)).num_rows == 3
    assert lake.scan("rejects").num_rows == 0


def test_a_rejected_line_has_its_file_and_line(landing, night):
    small_platform(landing)
    land(landing, "events", DAY, [event(1, "u0", "v0", "view", at(DAY, 9)), "{broken\n"], "part-1.jsonl")
    ingest.run(PARAMS, night)
    (row,) = Lake().scan("rejects").to_pylist()
    assert (row["source_file"], row["source_line"]) == (f"events/dt={DAY}/part-1.jsonl", 2)
    assert "{broken" in row["record"]


def test_days_after_the_night_are_not_ingested(landing, night):
    small_platform(landing)
    land(landing, "events", DAY + timedelta(1), [event(1, "u0", "v0", "view", at(DAY, 9))])
    ingest.run(PARAMS, night)
    assert Lake().scan("events", on_days(DAY + timedelta(1))).num_rows == 0


def test_a_night_without_events_is_refused(landing, night):
    with pytest.raises(InputError, match=rf"dt={DAY} holds no files; deliver the night's events there"):
        ingest.run(PARAMS, night)


def test_landed_vectors_become_features(landing, night):
    small_platform(landing)
    lines = [
        {"video_id": "v0", "modality": "visual", "vector": [0.5, 1.0]},
        {"video_id": "v1", "modality": "smell"},
    ]
    land(landing, "features", DAY, lines)
    run_manifest = ingest.run(PARAMS, night)
    (row,) = Lake().scan("features").to_pylist()
    assert (row["vector"], row["fingerprint"], row["segment"]) == ([0.5, 1.0], "landed", -1)
    assert run_manifest.row_counts.rejected == {"wrong_type": 1}


def _captions(lake):
    rows = lake.scan("videos").to_pylist()
    newest = {}
    for row in sorted(rows, key=lambda row: row["day"]):
        newest[row["video_id"]] = row["caption"]
    return newest


def test_a_repeated_state_is_current_again(landing, night):
    days = small_platform(landing)
    for day, caption in zip(days[1:], ("first", "second", "first"), strict=True):
        land(landing, "videos", day, [{"video_id": "v0", "caption": caption}], "dump.jsonl")
    ingest.run(PARAMS, night)
    assert _captions(Lake())["v0"] == "first"


def test_a_moved_file_counts_only_for_its_new_day(landing, night):
    days = small_platform(landing)
    ingest.run(PARAMS, night)
    before = Lake().scan("events").num_rows
    old = landing / "events" / f"dt={days[0]}" / "part-0.jsonl"
    old.rename(landing / "events" / f"dt={days[2]}" / "moved.jsonl")
    ingest.run(PARAMS, night)
    lake = Lake()
    assert lake.scan("events", on_days(days[0])).num_rows == 0
    assert lake.scan("events").num_rows == before


def test_a_withdrawn_file_loses_its_rows_and_an_archived_folder_does_not(landing, night):
    days = small_platform(landing)
    ingest.run(PARAMS, night)
    (landing / "events" / f"dt={days[0]}" / "part-0.jsonl").unlink()
    shutil.rmtree(landing / "events" / f"dt={days[1]}")
    ingest.run(PARAMS, night)
    lake = Lake()
    assert lake.scan("events", on_days(days[0])).num_rows == 0
    assert lake.scan("events", on_days(days[1])).num_rows > 0
    assert ingest.run(PARAMS, night).row_counts.rows_in == 0


def test_an_archived_file_that_returns_changes_nothing(landing, night):
    days = small_platform(landing)
    ingest.run(PARAMS, night)
    old = landing / "events" / f"dt={days[0]}"
    (old / "part-0.jsonl").rename(landing / "events" / f"dt={DAY}" / "again.jsonl")
    old.rmdir()
    before = Lake().scan("events").num_rows
    assert ingest.run(PARAMS, night).row_counts.rows_in == 0
    assert Lake().scan("events").num_rows == before


def test_the_last_dump_of_a_day_by_name_is_current(landing, night):
    small_platform(landing)
    for name, caption in (("a", "first"), ("b", "second"), ("c", "first")):
        land(landing, "videos", DAY, [{"video_id": "v0", "caption": caption}], f"{name}.jsonl")
    ingest.run(PARAMS, night)
    rows = [row for row in Lake().scan("videos", on_days(DAY)).to_pylist() if row["video_id"] == "v0"]
    assert max(rows, key=lambda row: row["source_file"])["caption"] == "first"
    folder = landing / "videos" / f"dt={DAY}"
    (folder / "b.jsonl").rename(folder / "d.jsonl")
    assert ingest.run(PARAMS, night).row_counts.rows_in == 3


def test_two_concurrent_runs_ingest_once(landing, night):
    small_platform(landing)
    with ThreadPoolExecutor(2) as both:
        rows = [
            one.result().row_counts.rows_in for one in [both.submit(ingest.run, PARAMS, night) for _ in "12"]
        ]
    lake = Lake()
    assert sorted(rows)[0] == 0
    assert sum(rows) == sum(lake.scan(name).num_rows for name in ("events", "users", "videos"))


def test_a_file_that_vanishes_is_named(landing, night, monkeypatch):
    small_platform(landing)
    monkeypatch.setattr("core.hashing.hash_file", lambda path: path.with_name("gone").read_bytes())
    with pytest.raises(InputError, match=r"part-0\.jsonl cannot be read"):
        ingest.run(PARAMS, night)


def test_landed_vectors_have_their_delivery_as_source(landing, night):
    small_platform(landing)
    line = {"video_id": "v0", "modality": "visual"}
    first = [line | {"vector": [1.0]}, *[line | {"vector": [2.0]}] * 9, line | {"vector": [3.0]}]
    land(landing, "features", DAY, first, "part-1.jsonl")
    land(landing, "features", DAY, [line | {"vector": [4.0]}], "part-1.jsonl.more.jsonl")
    land(landing, "features", DAY, [line | {"vector": [5.0]}], "part-2.jsonl")
    ingest.run(PARAMS, night)
    features = sorted(Lake().scan("features").to_pylist(), key=lambda row: row["source"])
    assert [row["vector"][0] for row in features] == [1.0, *[2.0] * 9, 3.0, 4.0, 5.0]
    assert len({row["source"] for row in features}) == len(features)


def test_a_utf_16_file_is_refused_and_nothing_is_written(landing, night):
    small_platform(landing)
    path = land(landing, "users", DAY, [])
    path.write_text('{"user_id": "u1"}\n', encoding="utf-16")
    with pytest.raises(InputError, match=rf"{path} .*UTF-16.*; write it as UTF-8"):
        ingest.run(PARAMS, night)
    assert Lake().scan("landings").num_rows == 0


def test_a_run_killed_before_its_ledger_is_repeated(landing, night, monkeypatch):
    small_platform(landing)
    ingest.run(PARAMS, night)
    good = landing / "events" / f"dt={DAY}" / "part-0.jsonl"
    text, commit = good.read_text(), Lake.commit
    before = sorted(row["event_id"] for row in Lake().scan("events").to_pylist())
    land(landing, "events", DAY, [event(1, "u0", "v0", "view", at(DAY, 9))])

    def killed(self, name, *arguments):
        commit(self, name, *arguments)
        if name == "events":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest.run(PARAMS, night)
    good.write_text(text)
    ingest.run(PARAMS, night)
    assert sorted(row["event_id"] for row in Lake().scan("events").to_pylist()) == before


TABLES = ("events", "users", "videos", "features", "landings", "rejects")


def _contents(lake):
    return {name: sorted(map(repr, lake.scan(name).to_pylist())) for name in TABLES}


def _odd_platform(landing):
    """A small platform with lines and files of every kind."""
    days = small_platform(landing)
    odd = [event(7, 7, "v0", "view", 1772704800000), {"watch_ms": "long"}, "{broken\n", "\n"]
    land(landing, "events", DAY, [*odd, event(8, "u0", "v0", "view", at(DAY, 9))], "part-1.jsonl")
    land(landing, "events", DAY, [event(9, "u0", "v0", "view", at(DAY, 9)), "{}{}\n"], "part-2.jsonl")
    land(landing, "videos", DAY, [{"video_id": "v9", "hashtags": ["x"]}, {"caption": "no id"}])
    land(landing, "features", DAY, [{"video_id": "v0", "modality": "visual", "vector": [0.5, 1.0]}])
    return days


def test_spark_and_one_process_write_the_same_tables(landing, night, tmp_path, monkeypatch, keep_spark):
    _odd_platform(landing)
    alone = ingest.run(PARAMS, night)
    expected = _contents(Lake())
    monkeypatch.setenv("UNDERCURRENT_LANDING", str(landing))
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / "spark"))
    monkeypatch.setattr(ingest, "MIN_SPARK_BYTES", 0)
    monkeypatch.setattr(ingest, "PART_BYTES", 4000)
    monkeypatch.setattr("lake.landing_staging.read_batches", None)  # this process parses nothing
    on_spark = ingest.run(PARAMS, night)
    assert _contents(Lake()) == expected
    assert (on_spark.row_counts, on_spark.digests) == (alone.row_counts, alone.digests)


def test_an_unreadable_file_is_refused_in_one_sentence_by_spark_too(landing, night, monkeypatch, keep_spark):
    small_platform(landing)
    (landing / "events" / f"dt={DAY}" / "part-1.parquet").write_bytes(b"PAR1 but no more")
    monkeypatch.setattr(ingest, "MIN_SPARK_BYTES", 0)
    with pytest.raises(InputError, match=r"^\S+part-1\.parquet is not a readable Parquet file"):
        ingest.run(PARAMS, night)
    assert Lake().scan("landings").num_rows == 0


@pytest.mark.parametrize(("task_bytes", "part_bytes"), [(0, 10**9), (2000, 10**9), (2000, 500)])
def test_the_division_and_grouping_of_files_change_no_row(
    landing, night, tmp_path, monkeypatch, task_bytes, part_bytes
):
    _odd_platform(landing)
    ingest.run(PARAMS, night)
    expected = _contents(Lake())
    monkeypatch.setenv("UNDERCURRENT_LANDING", str(landing))
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(ingest, "TASK_BYTES", task_bytes)
    monkeypatch.setattr(ingest, "PART_BYTES", part_bytes)
    ingest.run(IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
    assert _contents(Lake()) == expected


def test_a_full_bucket_stops_the_run_which_can_be_repeated(
    landing, night, tmp_path, monkeypatch, s3, s3_address
):
    small_platform(landing, days=1)
    alone, expected = ingest.run(PARAMS, night), _contents(Lake())
    monkeypatch.setenv("UNDERCURRENT_LANDING", str(landing))
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("UNDERCURRENT_WAREHOUSE", f"s3://bucket/{tmp_path.name}")
    commit = Lake.commit

    def commit_to_a_full_bucket(lake, name, *arguments):
        with read_only(s3_address) if name == "events" else nullcontext():
            return commit(lake, name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "commit", commit_to_a_full_bucket)
        with pytest.raises(ServiceUnavailableError, match=r"cannot store more .* free space"):
            ingest.run(PARAMS, night)
    assert Lake().scan("events").num_rows == 0
    assert "events" not in Lake().scan("landings")["kind"].to_pylist()
    again = ingest.run(PARAMS, night)
    assert _contents(Lake()) == expected
    assert again.digests == alone.digests


@pytest.fixture
def hashed(monkeypatch):
    """The files that were hashed, in order."""
    paths, hash_file = [], hashing.hash_file
    monkeypatch.setattr("core.hashing.hash_file", lambda path: paths.append(path) or hash_file(path))
    return paths


def test_an_unchanged_file_is_never_hashed_again(landing, night, hashed):
    days = small_platform(landing)
    source = landing / "events" / f"dt={days[0]}" / "part-0.jsonl"
    repeated = landing / "events" / f"dt={DAY}" / "again.jsonl"
    repeated.write_bytes(source.read_bytes())
    ingest.run(PARAMS, night)
    assert repeated in hashed
    hashed.clear()
    assert ingest.run(PARAMS, night).row_counts.rows_in == 0
    assert hashed == []


def test_a_touched_file_is_hashed_once_and_recognised(landing, night, hashed):
    small_platform(landing)
    ingest.run(PARAMS, night)
    hashed.clear()
    path = landing / "events" / f"dt={DAY}" / "part-0.jsonl"
    os.utime(path, ns=(1, 1))
    before = _versions(Lake())
    for _ in range(2):
        assert ingest.run(PARAMS, night).row_counts.rows_in == 0
    assert hashed == [path]
    assert _versions(Lake()) == before


def test_a_file_of_the_same_size_with_another_time_is_read_again(landing, night):
    small_platform(landing)
    ingest.run(PARAMS, night)
    path = landing / "events" / f"dt={DAY}" / "part-0.jsonl"
    path.write_text(path.read_text().replace('"e1"', '"f1"').replace('"u0"', '"w0"'))
    assert ingest.run(PARAMS, night).facts["new_days"] == 1
    users = {row["user_id"] for row in Lake().scan("events", on_days(DAY)).to_pylist()}
    assert "w0" in users
    assert "u0" not in users


def test_a_new_field_is_accepted_and_kept(landing, night):
    land(landing, "events", DAY, [event(1, "u", "v", "view", at(DAY, 8), experiment="b", watch_ms=900)])
    land(landing, "videos", DAY, [{"video_id": "v", "language": "en"}])
    assert ingest.run(PARAMS, night).row_counts.rejected == {}
    kept = {name: Lake().scan(name)["other_fields"].to_pylist() for name in ("events", "videos")}
    assert kept == {"events": [[("experiment", "b")]], "videos": [[("language", "en")]]}


def test_a_file_whose_schema_changed_is_refused_and_nothing_is_written(landing, night):
    small_platform(landing)
    ingest.run(PARAMS, night)
    before = _versions(Lake())
    land(landing, "users", DAY, [{"user_id": "new"}])
    changed = [event(1000 + n, "u1", "v1", "view", at(DAY, 8), watch_ms="8 s") for n in range(20)]
    path = land(landing, "events", DAY, changed, "part-1.jsonl")
    with pytest.raises(InputError, match=f"{path}: field 'watch_ms' .* another type in all 20 records"):
        ingest.run(PARAMS, night)
    assert _versions(Lake()) == before


def test_a_profile_column_that_no_user_has_is_refused(landing, night, tmp_path):
    small_platform(landing)
    path = tmp_path / "params.yaml"
    base = f"base: {PROJECT_ROOT / 'params.yaml'}\n"
    path.write_text(f"{base}snapshot:\n  profile_categories: [age_band, height]\n")
    with pytest.raises(InputError, match="profile_categories names 'height', which no user profile has"):
        ingest.run(PARAMS, replace(night, params_path=path))
    path.write_text(f"{base}snapshot:\n  profile_categories: [age_band]\n")
    ingest.run(PARAMS, replace(night, params_path=path))


def test_profile_columns_are_not_needed_without_profiles(landing, night):
    land(landing, "events", DAY, [event(1, "u", "v", "view", at(DAY, 8))])
    assert ingest.run(PARAMS, night).row_counts.kept == 1


def test_a_night_with_pseudonyms_and_no_key_is_refused_before_it_is_read(landing, night, tmp_path):
    small_platform(landing)
    with pytest.raises(InputError, match=r"privacy\.pseudonymise is true, but UNDERCURRENT_PSEUDONYM_KEY"):
        ingest.run(PARAMS, replace(night, params_path=private_params(tmp_path)))
    assert not Lake().scan("events").num_rows
