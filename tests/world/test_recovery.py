"""The pipeline against the truth: what was spoiled is what is refused, each line for the reason foretold."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from contracts.lake import Lake
from contracts.params import Ingest
from contracts.place import Night
from tasks import clean, ingest
from tests.world.worlds import CLEAN, days
from world import deliver, dirt, viewing
from world.deliver import make
from world.poison import poison

NIGHT = date(2026, 3, 7)


@pytest.fixture
def dirty_world(landing: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six days of a small world whose logs are five times as dirty as usual, so that every kind is there."""
    monkeypatch.setattr(deliver, "render_all", lambda videos, folder, seed, workers: folder.mkdir())
    monkeypatch.setattr(dirt, "KINDS", tuple(replace(kind, share=5 * kind.share) for kind in dirt.KINDS))
    monkeypatch.setattr(
        dirt, "CLOCKS", tuple(replace(clock, share=10 * clock.share) for clock in dirt.CLOCKS)
    )
    make(days(users=40, videos=40, nights=4), CLEAN, landing, home / "truth")
    return home / "truth"


@pytest.mark.usefixtures("keep_spark")
def test_every_spoiled_line_is_refused_for_the_reason_foretold_and_no_other_line_is(
    dirty_world: Path, landing: Path, tmp_path: Path
):
    poison(landing, dirty_world, NIGHT, seed=3)
    night = Night(NIGHT, tmp_path / "night")
    ingest.run(Ingest(batch_rows=5000, max_record_kib=64, max_file_mib=64), night)
    clean.run(CLEAN, night)
    rejects = Lake().scan("rejects", columns=("source_file", "source_line", "reason")).to_pylist()
    refused = {(row["source_file"], row["source_line"]): row["reason"] for row in rejects}

    told = pq.read_table(dirty_world / "dirt.parquet").to_pylist()
    spoiled = {(row["file"], row["line"]): row["reason"] for row in told if row["reason"]}
    lost_users = pq.read_table(dirty_world / f"poison-{NIGHT}.parquet").to_pylist()
    expected = spoiled | {(row["file"], row["line"]): "missing_user" for row in lost_users}
    on_poisoned_night = {key for key in expected if f"dt={NIGHT}" in key[0]}

    for key in (expected.keys() | refused.keys()) - on_poisoned_night:
        assert refused.get(key) == expected.get(key), key
    assert {row["kind"] for row in told} >= {kind.kind for kind in (*dirt.KINDS, *dirt.CLOCKS)} | {"bot"}
    assert sum(refused.get(key) == "missing_user" for key in on_poisoned_night) >= 0.8 * len(lost_users)


@pytest.mark.usefixtures("keep_spark")
def test_the_sentiment_of_a_comment_has_the_sign_that_was_meant(
    landing: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(deliver, "render_all", lambda videos, folder, seed, workers: folder.mkdir())
    monkeypatch.setattr(viewing, "COMMENTING", 0.3)
    make(days(users=40, videos=40), CLEAN, landing, home / "truth")
    night = Night(date(2026, 3, 3), tmp_path / "night")
    ingest.run(Ingest(batch_rows=5000, max_record_kib=64, max_file_mib=64), night)
    clean.run(CLEAN, night)

    meant: dict[tuple[str, str], set[int]] = {}
    for row in pq.read_table(home / "truth" / "viewings.parquet").to_pylist():
        if row["sentiment"]:
            meant.setdefault((row["user_id"], row["video_id"]), set()).add(row["sentiment"])
    columns = ("user_id", "video_id", "comment_text", "comment_sentiment")
    written = [row for row in Lake().scan("interactions", columns=columns).to_pylist() if row["comment_text"]]
    of_one_mind = [row for row in written if len(meant[row["user_id"], row["video_id"]]) == 1]
    scored = [row for row in of_one_mind if row["comment_sentiment"] is not None]
    right = [
        row for row in scored if row["comment_sentiment"] * min(meant[row["user_id"], row["video_id"]]) > 0
    ]
    assert len(of_one_mind) > 100
    assert len(scored) > 0.9 * len(of_one_mind)
    assert len(right) > 0.95 * len(scored)
