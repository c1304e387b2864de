import gzip
from pathlib import Path
from typing import get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.config import SimulatorConfig
from core.errors import InputError
from core.hashing import hash_folder
from core.records import LANDING_TYPES, RecordRejected
from lake import landing as contract
from simulator import writer
from simulator.writer import LABEL_FILE, write_simulation
from tests.support.simulated_platforms import CLEAN, SimulatedPlatform, small_calendar


@pytest.fixture
def no_media(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip rendering in tests that need only the logs."""
    monkeypatch.setattr(writer, "render_videos", lambda videos, folder, seed, workers: folder.mkdir())


@pytest.mark.usefixtures("no_media")
def test_the_landing_folder_follows_the_data_contract_but_for_corrupted_lines(tmp_path: Path):
    landing, ground_truth = tmp_path / "landing", tmp_path / "ground_truth"
    write_simulation(small_calendar(users=150), CLEAN, landing, ground_truth)
    rejected = set()
    for record_type in LANDING_TYPES.values():
        for day in contract.list_days(landing, record_type.name):
            for path in contract.list_files(landing, record_type.name, day):
                for line, _, row in contract.read_records(path, record_type):
                    if isinstance(row, RecordRejected):
                        rejected.add((path.relative_to(landing).as_posix(), line, row.reason))
    corruptions = pq.read_table(ground_truth / "corruptions.parquet").to_pylist()
    expected = {(row["file"], row["line"], row["reject_reason"]) for row in corruptions}
    at_ingest = {row for row in expected if row[2] in ("malformed_json", "wrong_type", "missing_id")}
    assert at_ingest
    assert rejected == at_ingest


def test_every_day_has_events_users_and_videos(tiny: SimulatedPlatform):
    for record_type in ("events", "users", "videos"):
        assert [str(day) for day in contract.list_days(tiny.landing, record_type)] == [
            "2026-03-02",
            "2026-03-03",
        ]
    first, second = (
        set(
            pq.read_table(tiny.landing / f"users/dt={day}/users.parquet", partitioning=None)[
                "user_id"
            ].to_pylist()
        )
        for day in ("2026-03-02", "2026-03-03")
    )
    assert len(first) == 11 + 1  # the users and a bot
    assert len(second) == 1 + 1
    assert not first & second


def test_media_uris_are_relative_to_the_landing_folder(tiny: SimulatedPlatform):
    fault_by_video = {
        row["video_id"]: row["media_fault"]
        for row in pq.read_table(tiny.ground_truth / "videos.parquet").to_pylist()
    }
    num_files = 0
    for day in contract.list_days(tiny.landing, "videos"):
        for path in contract.list_files(tiny.landing, "videos", day):
            for _, _, row in contract.read_records(path, LANDING_TYPES["videos"]):
                uri = row["media_uri"]
                assert (uri is None) == (fault_by_video[row["video_id"]] == "no_media_uri")
                if uri and fault_by_video[row["video_id"]] != "missing":
                    assert (tiny.landing / uri).is_file()
                    num_files += 1
    assert num_files == len(list((tiny.landing / "media").iterdir())) > 3


def test_the_same_parameters_give_the_same_bytes(tiny: SimulatedPlatform, tmp_path: Path):
    write_simulation(small_calendar(), CLEAN, tmp_path / "landing", tmp_path / "ground_truth", workers=1)
    assert hash_folder(tmp_path / "landing") == hash_folder(tiny.landing)
    assert hash_folder(tmp_path / "ground_truth") == hash_folder(tiny.ground_truth)


@pytest.mark.usefixtures("no_media")
def test_another_seed_replaces_the_old_files(tiny: SimulatedPlatform, tmp_path: Path):
    landing, ground_truth = tmp_path / "landing", tmp_path / "ground_truth"
    write_simulation(small_calendar(), CLEAN, landing, ground_truth)
    write_simulation(small_calendar(seed=4, history_days=1), CLEAN, landing, ground_truth)
    assert len(contract.list_days(landing, "events")) == 1
    name = "events/dt=2026-03-02/events.jsonl"
    assert (landing / name).read_bytes() != (tiny.landing / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_everything_is_labelled_synthetic(tiny: SimulatedPlatform):
    assert "SYNTHETIC" in (tiny.landing / LABEL_FILE).read_text()
    for day in contract.list_days(tiny.landing, "events"):
        for path in contract.list_files(tiny.landing, "events", day):
            for _, _, row in contract.read_records(path, LANDING_TYPES["events"]):
                if not isinstance(row, RecordRejected):
                    ids = (row["event_id"], row["user_id"], row["video_id"])
                    assert all(value is None or value.startswith("syn-") for value in ids)


@pytest.mark.usefixtures("no_media")
def test_late_lines_are_in_a_file_of_a_later_day(tmp_path: Path):
    write_simulation(
        small_calendar(nights=5, users=40), CLEAN, tmp_path / "landing", tmp_path / "ground_truth"
    )
    late = sorted((tmp_path / "landing/events").glob("*/late.jsonl.gz"))
    assert late
    assert all(gzip.decompress(path.read_bytes()).count(b"\n") for path in late)
    corruptions = pq.read_table(tmp_path / "ground_truth/corruptions.parquet").to_pylist()
    assert {row["corruption"] for row in corruptions if row["file"].endswith(".gz")} == {"late", "too_late"}


@pytest.mark.usefixtures("no_media")
def test_the_ground_truth_gives_the_line_of_each_corruption(tmp_path: Path):
    write_simulation(
        small_calendar(nights=2, users=60), CLEAN, tmp_path / "landing", tmp_path / "ground_truth"
    )
    for row in pq.read_table(tmp_path / "ground_truth/corruptions.parquet").to_pylist():
        if row["event_id"] and row["corruption"] != "truncated_line" and row["file"].endswith(".jsonl"):
            line = (tmp_path / "landing" / row["file"]).read_text().splitlines()[row["line"] - 1]
            assert f'"{row["event_id"]}"' in line


def test_a_folder_with_other_files_is_not_overwritten(tmp_path: Path):
    real = tmp_path / "landing/events/dt=2026-01-01/real.jsonl"
    real.parent.mkdir(parents=True)
    real.write_text("{}\n")
    with pytest.raises(InputError, match=r"holds files that no simulation wrote .* empty this one"):
        write_simulation(small_calendar(), CLEAN, tmp_path / "landing", tmp_path / "ground_truth")
    assert real.exists()


@pytest.mark.parametrize("ground_truth", ["landing", "landing/ground_truth", "."])
def test_the_ground_truth_must_lie_apart_from_the_landing_folder(tmp_path: Path, ground_truth: str):
    with pytest.raises(InputError, match="must be separate"):
        write_simulation(small_calendar(), CLEAN, tmp_path / "landing", (tmp_path / ground_truth).resolve())


def test_features_are_written_instead_of_media(tmp_path: Path):
    landing = tmp_path / "landing"
    write_simulation(small_calendar(videos=60), CLEAN, landing, tmp_path / "ground_truth", features=True)
    assert not (landing / "media").exists()
    faults = {
        row["video_id"]: row["media_fault"]
        for row in pq.read_table(tmp_path / "ground_truth/videos.parquet").to_pylist()
    }
    delivered: dict[str, set[str]] = {}
    for record_type in ("features", "videos"):
        for day in contract.list_days(landing, record_type):
            for path in contract.list_files(landing, record_type, day):
                for _, _, row in contract.read_records(path, LANDING_TYPES[record_type]):
                    assert not isinstance(row, RecordRejected)
                    assert row.get("media_uri") is None
                    delivered.setdefault(row["video_id"], set()).add(row.get("modality", "record"))
    assert delivered.keys() == faults.keys()
    assert all("text" in names for names in delivered.values())
    assert all(("visual" in names) == (faults[v] in (None, "no_sound")) for v, names in delivered.items())
    assert all(("audio" in names) == (faults[v] is None) for v, names in delivered.items())


@pytest.mark.parametrize("mechanism", get_args(get_type_hints(SimulatorConfig)["mechanism"]))
def test_every_mechanism_writes_its_files_and_the_common_ground_truth(mechanism: str, tmp_path: Path):
    calendar = small_calendar(mechanism=mechanism, users=30, videos=40, history_days=4, new_videos_per_day=8)
    write_simulation(calendar, CLEAN, tmp_path / "landing", tmp_path / "ground_truth", features=True)
    assert len(contract.list_days(tmp_path / "landing", "events")) == 4
    users = pq.read_table(tmp_path / "ground_truth/users.parquet")
    assert users["drift_day"].type == pa.date32()
    for user in users.to_pylist():
        assert sum(user["modality_weights"]) == pytest.approx(1)
        assert len(user["drift_angles"]) == 4
        if mechanism in ("impersonal", "static"):
            assert user["drift_day"] is None
            assert max(user["drift_angles"]) == user["total_drift_angle"] == 0
    interactions = pq.read_table(tmp_path / "ground_truth/interactions.parquet")
    assert interactions.num_rows > 50
    assert not interactions["affinity"].null_count


def test_an_ephemeral_world_logs_the_expiry_and_no_later_event(tmp_path: Path):
    calendar = small_calendar(
        mechanism="ephemeral", users=40, videos=80, history_days=5, new_videos_per_day=15
    )
    write_simulation(calendar, CLEAN, tmp_path / "landing", tmp_path / "ground_truth", features=True)
    corrupted = {
        (row["file"], row["line"])
        for row in pq.read_table(tmp_path / "ground_truth/corruptions.parquet").to_pylist()
        if row["corruption"] != "bot"
    }
    rows = {
        record_type: [
            row | {"source": (path.relative_to(tmp_path / "landing").as_posix(), line)}
            for day in contract.list_days(tmp_path / "landing", record_type)
            for path in contract.list_files(tmp_path / "landing", record_type, day)
            for line, _, row in contract.read_records(path, LANDING_TYPES[record_type])
            if not isinstance(row, RecordRejected)
        ]
        for record_type in ("videos", "events")
    }
    expiry = {row["video_id"]: row["expires_at"] for row in rows["videos"]}
    assert all(expiry.values())
    correct = [row for row in rows["events"] if row["source"] not in corrupted]
    assert len(correct) > 1000
    assert all(row["event_time"] < expiry[row["video_id"]] for row in correct)
