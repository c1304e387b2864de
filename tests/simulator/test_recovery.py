"""The pipeline rejects each corrupted line for the reason that the ground truth states."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.config import IngestConfig
from core.paths import Night
from lake.client import Lake
from simulator import corruption, watching, writer
from simulator.faulty_night import corrupt_night
from simulator.writer import write_simulation
from tasks import clean, ingest
from tests.support.simulated_platforms import CLEAN, small_calendar

NIGHT = date(2026, 3, 7)


@pytest.fixture
def corrupted_platform(landing: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Simulate six days with five times the usual corruption rates, so that each corruption occurs."""
    monkeypatch.setattr(writer, "render_videos", lambda videos, folder, seed, workers: folder.mkdir())
    monkeypatch.setattr(
        corruption, "CORRUPTIONS", tuple(replace(one, rate=5 * one.rate) for one in corruption.CORRUPTIONS)
    )
    monkeypatch.setattr(
        corruption,
        "CLOCK_FAULTS",
        tuple(replace(clock, rate=10 * clock.rate) for clock in corruption.CLOCK_FAULTS),
    )
    write_simulation(small_calendar(users=40, videos=40, nights=4), CLEAN, landing, home / "ground_truth")
    return home / "ground_truth"


@pytest.mark.usefixtures("keep_spark")
def test_exactly_the_corrupted_lines_are_rejected_for_the_expected_reason(
    corrupted_platform: Path, landing: Path, tmp_path: Path
):
    corrupt_night(landing, corrupted_platform, NIGHT, seed=3)
    night = Night(NIGHT, tmp_path / "night")
    ingest.run(IngestConfig(batch_rows=5000, max_record_kib=64, max_file_mib=64), night)
    clean.run(CLEAN, night)
    rejects = Lake().scan("rejects", columns=("source_file", "source_line", "reason")).to_pylist()
    rejected = {(row["source_file"], row["source_line"]): row["reason"] for row in rejects}

    corruptions = pq.read_table(corrupted_platform / "corruptions.parquet").to_pylist()
    expected = {
        (row["file"], row["line"]): row["reject_reason"] for row in corruptions if row["reject_reason"]
    }
    lost_users = pq.read_table(corrupted_platform / f"faulty-night-{NIGHT}.parquet").to_pylist()
    expected |= {(row["file"], row["line"]): "missing_user" for row in lost_users}
    on_faulty_night = {key for key in expected if f"dt={NIGHT}" in key[0]}

    for key in (expected.keys() | rejected.keys()) - on_faulty_night:
        assert rejected.get(key) == expected.get(key), key
    assert {row["corruption"] for row in corruptions} >= {
        one.name for one in (*corruption.CORRUPTIONS, *corruption.CLOCK_FAULTS)
    } | {"bot"}
    assert sum(rejected.get(key) == "missing_user" for key in on_faulty_night) >= 0.8 * len(lost_users)


@pytest.mark.usefixtures("keep_spark")
def test_the_sentiment_of_a_comment_has_the_true_sign(
    landing: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "render_videos", lambda videos, folder, seed, workers: folder.mkdir())
    monkeypatch.setattr(watching, "COMMENT_PROBABILITY", 0.3)
    write_simulation(small_calendar(users=40, videos=40), CLEAN, landing, home / "ground_truth")
    night = Night(date(2026, 3, 3), tmp_path / "night")
    ingest.run(IngestConfig(batch_rows=5000, max_record_kib=64, max_file_mib=64), night)
    clean.run(CLEAN, night)

    true_sentiments: dict[tuple[str, str], set[int]] = {}
    for row in pq.read_table(home / "ground_truth" / "interactions.parquet").to_pylist():
        if row["sentiment"]:
            true_sentiments.setdefault((row["user_id"], row["video_id"]), set()).add(row["sentiment"])
    columns = ("user_id", "video_id", "comment_text", "comment_sentiment")
    written = [row for row in Lake().scan("interactions", columns=columns).to_pylist() if row["comment_text"]]
    unambiguous = [row for row in written if len(true_sentiments[row["user_id"], row["video_id"]]) == 1]
    scored = [row for row in unambiguous if row["comment_sentiment"] is not None]
    correct = [
        row
        for row in scored
        if row["comment_sentiment"] * min(true_sentiments[row["user_id"], row["video_id"]]) > 0
    ]
    assert len(unambiguous) > 100
    assert len(scored) > 0.9 * len(unambiguous)
    assert len(correct) > 0.95 * len(scored)
