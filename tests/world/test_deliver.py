import gzip
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from contracts import landing as contract
from contracts.digests import of_folder
from contracts.errors import InputError
from contracts.records import KINDS, Refused
from tests.world.conftest import Made
from tests.world.worlds import CLEAN, days
from world import deliver
from world.deliver import LABEL_FILE, make


@pytest.fixture
def no_media(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the rendering out, where only the logs matter."""
    monkeypatch.setattr(deliver, "render_all", lambda videos, folder, seed, workers: folder.mkdir())


@pytest.mark.usefixtures("no_media")
def test_the_landing_folder_is_what_the_contract_says_and_refuses_only_what_was_spoiled(tmp_path: Path):
    landing, truth_folder = tmp_path / "landing", tmp_path / "truth"
    make(days(users=150), CLEAN, landing, truth_folder)
    refused = set()
    for kind in KINDS.values():
        for day in contract.days(landing, kind.name):
            for path in contract.files(landing, kind.name, day):
                for line, _, row in contract.read(path, kind):
                    if isinstance(row, Refused):
                        refused.add((path.relative_to(landing).as_posix(), line, row.reason))
    truth = pq.read_table(truth_folder / "dirt.parquet").to_pylist()
    told = {(row["file"], row["line"], row["reason"]) for row in truth}
    at_ingest = {row for row in told if row[2] in ("malformed_json", "wrong_type", "missing_id")}
    assert at_ingest
    assert refused == at_ingest


def test_every_day_brings_events_people_and_videos(tiny: Made):
    for kind in ("events", "users", "videos"):
        assert [str(day) for day in contract.days(tiny.landing, kind)] == ["2026-03-02", "2026-03-03"]
    first, second = (
        set(
            pq.read_table(tiny.landing / f"users/dt={day}/users.parquet", partitioning=None)[
                "user_id"
            ].to_pylist()
        )
        for day in ("2026-03-02", "2026-03-03")
    )
    assert len(first) == 11 + 1  # and a bot
    assert len(second) == 1 + 1
    assert not first & second


def test_media_uris_lead_to_the_files_from_the_landing_folder(tiny: Made):
    broken = {
        row["video_id"]: row["broken"] for row in pq.read_table(tiny.truth / "videos.parquet").to_pylist()
    }
    found = 0
    for day in contract.days(tiny.landing, "videos"):
        for path in contract.files(tiny.landing, "videos", day):
            for _, _, row in contract.read(path, KINDS["videos"]):
                uri = row["media_uri"]
                assert (uri is None) == (broken[row["video_id"]] == "no_media_uri")
                if uri and broken[row["video_id"]] != "missing":
                    assert (tiny.landing / uri).is_file()
                    found += 1
    assert found == len(list((tiny.landing / "media").iterdir())) > 3


def test_the_same_parameters_give_the_same_bytes_and_another_seed_others(tiny: Made, tmp_path: Path):
    make(days(), CLEAN, tmp_path / "landing", tmp_path / "truth", workers=1)
    assert of_folder(tmp_path / "landing") == of_folder(tiny.landing)
    assert of_folder(tmp_path / "truth") == of_folder(tiny.truth)


@pytest.mark.usefixtures("no_media")
def test_another_seed_gives_another_world_in_the_old_ones_place(tiny: Made, tmp_path: Path):
    landing, truth = tmp_path / "landing", tmp_path / "truth"
    make(days(), CLEAN, landing, truth)
    make(days(seed=4, history_days=1), CLEAN, landing, truth)
    assert len(contract.days(landing, "events")) == 1
    name = "events/dt=2026-03-02/events.jsonl"
    assert (landing / name).read_bytes() != (tiny.landing / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_everything_is_labelled_synthetic(tiny: Made):
    assert "SYNTHETIC" in (tiny.landing / LABEL_FILE).read_text()
    for day in contract.days(tiny.landing, "events"):
        for path in contract.files(tiny.landing, "events", day):
            for _, _, row in contract.read(path, KINDS["events"]):
                if not isinstance(row, Refused):
                    ids = (row["event_id"], row["user_id"], row["video_id"])
                    assert all(value is None or value.startswith("syn-") for value in ids)


@pytest.mark.usefixtures("no_media")
def test_late_lines_land_on_a_later_day_in_a_file_of_their_own(tmp_path: Path):
    make(days(nights=5, users=40), CLEAN, tmp_path / "landing", tmp_path / "truth")
    late = sorted((tmp_path / "landing/events").glob("*/late.jsonl.gz"))
    assert late
    assert all(gzip.decompress(path.read_bytes()).count(b"\n") for path in late)
    dirt = pq.read_table(tmp_path / "truth/dirt.parquet").to_pylist()
    assert {row["kind"] for row in dirt if row["file"].endswith(".gz")} == {"late", "too_late"}


@pytest.mark.usefixtures("no_media")
def test_the_truth_of_the_dirt_points_at_the_lines(tmp_path: Path):
    make(days(nights=2, users=60), CLEAN, tmp_path / "landing", tmp_path / "truth")
    for row in pq.read_table(tmp_path / "truth/dirt.parquet").to_pylist():
        if row["event_id"] and row["kind"] != "truncated_line" and row["file"].endswith(".jsonl"):
            line = (tmp_path / "landing" / row["file"]).read_text().splitlines()[row["line"] - 1]
            assert f'"{row["event_id"]}"' in line


def test_a_folder_with_other_files_in_it_is_left_alone(tmp_path: Path):
    real = tmp_path / "landing/events/dt=2026-01-01/real.jsonl"
    real.parent.mkdir(parents=True)
    real.write_text("{}\n")
    with pytest.raises(InputError, match=r"holds files that are not of a demo world .* empty it"):
        make(days(), CLEAN, tmp_path / "landing", tmp_path / "truth")
    assert real.exists()


@pytest.mark.parametrize("truth", ["landing", "landing/truth", "."])
def test_the_truth_must_lie_apart_from_the_landing_folder(tmp_path: Path, truth: str):
    with pytest.raises(InputError, match="must lie apart"):
        make(days(), CLEAN, tmp_path / "landing", (tmp_path / truth).resolve())
