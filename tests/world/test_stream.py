import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from contracts import landing as contract
from contracts.digests import of_folder
from contracts.errors import InputError
from contracts.records import KINDS, Refused
from world import stream
from world.stream import Plan, chunks, write_stream

PLAN = Plan(seed=3, events=20_001, days=3, first=date(2026, 3, 2))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHUNK_ROWS", 3000)


def _events(out: Path) -> Iterator[dict]:
    for day in contract.days(out / "landing", "events"):
        for path in contract.files(out / "landing", "events", day):
            for _, _, row in contract.read(path, KINDS["events"]):
                assert not isinstance(row, Refused)
                yield row | {"day": day}


def test_it_is_a_stream_of_chunks_none_larger_than_the_bound():
    flow = chunks(Plan(seed=3, events=10**9, days=3, first=PLAN.first))
    assert isinstance(flow, Iterator)
    assert [next(flow).rows.num_rows for _ in range(4)] == [3000] * 4
    assert max(chunk.rows.num_rows for chunk in chunks(PLAN)) == 3000


@pytest.mark.parametrize("events", [1, 2, 999, 20_001])
def test_there_are_exactly_as_many_events_as_asked_for(events: int):
    made = list(chunks(Plan(3, events, 3, PLAN.first)))
    assert sum(chunk.rows.num_rows for chunk in made) == events


def test_what_is_written_is_what_the_contract_says_and_the_dirt_is_counted(tmp_path: Path):
    counts = write_stream(PLAN, tmp_path)
    rows = list(_events(tmp_path))
    assert len(rows) == counts["events"] == 20_001
    assert {row["event_time"].date() for row in rows} == {row["day"] for row in rows}
    dirty = json.loads((tmp_path / "truth/stream.json").read_text())["dirty"]
    again = Counter((row["user_id"], row["event_id"]) for row in rows)
    assert dirty == {
        "duplicate": sum(number - 1 for number in again.values()),
        "missing_user": sum(row["user_id"] is None for row in rows),
        "unknown_video": sum(row["video_id"] == "syn-v-gone" for row in rows),
        "impossible_watch_time": sum((row["watch_ms"] or 0) < 0 for row in rows),
    }
    assert min(dirty.values()) > 0


def test_events_are_of_people_and_videos_that_are_there(tmp_path: Path):
    write_stream(PLAN, tmp_path)
    for kind, known in (("users", PLAN.users), ("videos", PLAN.videos)):
        files = contract.files(tmp_path / "landing", kind, PLAN.first)
        ids = {row[f"{kind[:-1]}_id"] for path in files for _, _, row in contract.read(path, KINDS[kind])}
        assert len(ids) == known
        named = {row[f"{kind[:-1]}_id"] for row in _events(tmp_path)} - {None, "syn-v-gone"}
        assert named <= ids


def test_what_is_of_ones_topic_is_watched_longer():
    table = pa.concat_tables(chunk.rows for chunk in chunks(PLAN)).to_pylist()
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
    means = {liked: sum(values) / len(values) for liked, values in shares.items()}
    assert means[True] > means[False] + 0.3


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        write_stream(PLAN, tmp_path / name)
    assert of_folder(tmp_path / "one") == of_folder(tmp_path / "two")
    other = next(chunks(Plan(4, 20_001, 3, PLAN.first))).rows
    assert not other.equals(next(chunks(PLAN)).rows)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path):
    write_stream(Plan(3, 10, 1, PLAN.first), tmp_path)
    with pytest.raises(InputError, match="is not empty; pass --out with a new folder"):
        write_stream(PLAN, tmp_path)
