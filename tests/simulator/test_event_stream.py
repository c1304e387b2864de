import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from core.errors import InputError
from core.hashing import hash_folder
from core.records import LANDING_TYPES, RecordRejected
from lake import landing as contract
from simulator import event_stream
from simulator.event_stream import StreamConfig, make_event_chunks, write_stream

CONFIG = StreamConfig(seed=3, num_events=20_001, num_days=3, first_day=date(2026, 3, 2))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "CHUNK_ROWS", 3000)


def _events(out: Path) -> Iterator[dict]:
    for day in contract.list_days(out / "landing", "events"):
        for path in contract.list_files(out / "landing", "events", day):
            for _, _, row in contract.read_records(path, LANDING_TYPES["events"]):
                assert not isinstance(row, RecordRejected)
                yield row | {"day": day}


def test_chunks_are_generated_lazily_and_bounded():
    chunks = make_event_chunks(StreamConfig(seed=3, num_events=10**9, num_days=3, first_day=CONFIG.first_day))
    assert isinstance(chunks, Iterator)
    assert [next(chunks).rows.num_rows for _ in range(4)] == [3000] * 4
    assert max(chunk.rows.num_rows for chunk in make_event_chunks(CONFIG)) == 3000


@pytest.mark.parametrize("events", [1, 2, 999, 20_001])
def test_the_number_of_events_is_exact(events: int):
    chunks = list(make_event_chunks(StreamConfig(3, events, 3, CONFIG.first_day)))
    assert sum(chunk.rows.num_rows for chunk in chunks) == events


def test_files_follow_the_data_contract_and_corruptions_are_counted(tmp_path: Path):
    counts = write_stream(CONFIG, tmp_path)
    rows = list(_events(tmp_path))
    assert len(rows) == counts["events"] == 20_001
    assert {row["event_time"].date() for row in rows} == {row["day"] for row in rows}
    corrupted = json.loads((tmp_path / "ground_truth/stream.json").read_text())["corrupted_rows"]
    copies = Counter((row["user_id"], row["event_id"]) for row in rows)
    assert corrupted == {
        "duplicate": sum(number - 1 for number in copies.values()),
        "missing_user": sum(row["user_id"] is None for row in rows),
        "unknown_video": sum(row["video_id"] == "syn-v-gone" for row in rows),
        "impossible_watch_time": sum((row["watch_ms"] or 0) < 0 for row in rows),
    }
    assert min(corrupted.values()) > 0


def test_events_refer_to_existing_users_and_videos(tmp_path: Path):
    write_stream(CONFIG, tmp_path)
    for record_type, count in (("users", CONFIG.num_users), ("videos", CONFIG.num_videos)):
        files = contract.list_files(tmp_path / "landing", record_type, CONFIG.first_day)
        ids = {
            row[f"{record_type[:-1]}_id"]
            for path in files
            for _, _, row in contract.read_records(path, LANDING_TYPES[record_type])
        }
        assert len(ids) == count
        referenced = {row[f"{record_type[:-1]}_id"] for row in _events(tmp_path)} - {None, "syn-v-gone"}
        assert referenced <= ids


def test_users_watch_videos_of_their_topic_longer():
    table = pa.concat_tables(chunk.rows for chunk in make_event_chunks(CONFIG)).to_pylist()
    shares: dict[bool, list[float]] = {True: [], False: []}
    for row in table:
        if (
            row["event_type"] == "view"
            and row["user_id"]
            and row["video_id"] != "syn-v-gone"
            and row["watch_ms"] > 0
        ):
            user, video = int(row["user_id"][5:]), int(row["video_id"][5:])
            shares[user * 7 % 12 == video * 5 % 12].append(row["watch_ms"] / (3000 + video * 7919 % 27_001))
    means = {match: sum(values) / len(values) for match, values in shares.items()}
    assert means[True] > means[False] + 0.3


def test_the_same_config_gives_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        write_stream(CONFIG, tmp_path / name)
    assert hash_folder(tmp_path / "one") == hash_folder(tmp_path / "two")
    other = next(make_event_chunks(StreamConfig(4, 20_001, 3, CONFIG.first_day))).rows
    assert not other.equals(next(make_event_chunks(CONFIG)).rows)


def test_a_non_empty_folder_is_refused(tmp_path: Path):
    write_stream(StreamConfig(3, 10, 1, CONFIG.first_day), tmp_path)
    with pytest.raises(InputError, match="is not empty; pass --out with a new folder"):
        write_stream(CONFIG, tmp_path)
