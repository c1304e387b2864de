import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from core.config import load_params
from core.errors import DONE, REFUSED_INPUT
from core.paths import PROJECT_ROOT, Night
from lake.audits import BLOCKED, visible_lake, write_audit
from lake.client import Lake
from tasks import clean, embed, ingest
from tests.support.command_line import undercurrent
from tests.support.landing_files import DAY, at, event, land
from tests.support.media_files import write_video
from tests.support.videos import PARAMS as EMBED_PARAMS
from tests.support.videos import catalogue, feature_keys, rejects

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
EARLIER = DAY - timedelta(1)
LONG = event(2, "u1", "v1", "view", at(DAY, 9), comment_text="x" * 3000)


@pytest.fixture
def night(landing: Path, tmp_path: Path) -> Night:
    """Two ingested days. The first line of each is good, the second is longer than the limit."""
    land(landing, "videos", EARLIER, [{"video_id": "v1", "duration_ms": 9000}])
    for day in (EARLIER, DAY):
        land(landing, "events", day, [event(1, "u1", "v1", "view", at(day, 8)), LONG])
    night = Night(DAY, tmp_path / "night")
    ingest.run(replace(PARAMS.ingest, max_record_kib=1), night)
    return night


def _rows() -> dict[str, list[str]]:
    names = ("events", "rejects", "interactions")
    return {name: sorted(map(str, Lake().scan(name).to_pylist())) for name in names}


def _count(table: str) -> int:
    return Lake().scan(table).num_rows


def test_a_repaired_cause_turns_rejects_into_rows(night):
    assert ingest.run(PARAMS.ingest, night).facts["new_files"] == 0
    assert undercurrent("replay", "--reason", "too_long") == DONE
    run_manifest = ingest.run(PARAMS.ingest, night)
    assert (run_manifest.row_counts.rows_in, run_manifest.row_counts.kept) == (4, 4)
    assert (_count("events"), _count("rejects")) == (4, 0)
    assert ingest.run(PARAMS.ingest, night).facts["new_files"] == 0


def test_rejects_are_listed_with_step_file_and_line(night, capsys):
    assert undercurrent("replay", "--reason", "too_long", "--limit", "1", "--dry-run") == DONE
    assert capsys.readouterr().out.splitlines() == [
        f"ingest.events  events/dt={EARLIER}/part-0.jsonl:2  too_long: the line is longer than"
        " ingest.max_record_kib, 1 KiB ",
        f"ingest.events: 2 rejects; to process again: {EARLIER}, {DAY}",
        "dry run: nothing was marked",
    ]
    assert ingest.run(PARAMS.ingest, night).facts["new_files"] == 0


def test_only_the_chosen_day_is_read_again(night):
    assert undercurrent("replay", "--reason", "too_long", "--day", str(DAY)) == DONE
    assert ingest.run(PARAMS.ingest, night).row_counts.rows_in == 2
    assert [row["day"] for row in Lake().scan("rejects").to_pylist()] == [EARLIER]


def test_without_a_repair_a_replay_changes_nothing(night):
    before = _rows()
    assert undercurrent("replay", "--reason", "too_long") == DONE
    assert ingest.run(replace(PARAMS.ingest, max_record_kib=1), night).facts["new_days"] == 2
    assert _rows() == before


def test_a_blocked_night_stays_hidden_until_it_passes(night):
    write_audit(EARLIER, BLOCKED)
    for _ in range(2):
        assert undercurrent("replay", "--reason", "too_long") == DONE
        assert EARLIER in visible_lake(DAY).hidden_days
    ingest.run(PARAMS.ingest, night)
    assert visible_lake(DAY).hidden_days == {EARLIER}


def test_an_archived_day_stays_as_it_is(night, landing, capsys):
    shutil.rmtree(landing / "events" / f"dt={EARLIER}")
    before = _count("events")
    assert undercurrent("replay", "--reason", "too_long") == DONE
    assert f"no landing folder, so left as they are: {EARLIER}" in capsys.readouterr().out
    assert ingest.run(replace(PARAMS.ingest, max_record_kib=1), night).facts["new_days"] == 1
    assert _count("events") == before


def test_a_day_of_clean_is_cleaned_again(night, landing, keep_spark):
    land(landing, "events", DAY, [event(3, "u1", "gone", "view", at(DAY, 8))])
    ingest.run(PARAMS.ingest, night)
    clean.run(PARAMS.clean, night)
    before = _rows()
    assert clean.run(PARAMS.clean, night).facts["days"] == []
    assert undercurrent("replay", "--reason", "unknown_video", "--step", "clean") == DONE
    assert clean.run(PARAMS.clean, night).facts["days"] == [str(DAY)]
    assert _rows() == before


def test_a_repaired_media_file_is_embedded(landing, tmp_path):
    (landing / "media").mkdir(parents=True)
    (landing / "media" / "v1.mp4").touch()
    catalogue({"v1": {"media_uri": "media/v1.mp4"}})
    night = Night(DAY, tmp_path / "night")
    embed.run(EMBED_PARAMS, night)
    write_video(landing / "media" / "v1.mp4")
    assert embed.run(EMBED_PARAMS, night).row_counts.rows_in == 0
    assert undercurrent("replay", "--reason", "empty_media") == DONE
    assert embed.run(EMBED_PARAMS, night).row_counts.kept == 1
    assert (rejects(), {video for video, *_ in feature_keys()}) == ([], {"v1"})


@pytest.mark.parametrize(
    "arguments", [("--reason", "too_short"), ("--reason", "too_long", "--step", "clean")]
)
def test_an_unknown_reject_is_refused_with_the_reasons(night, capsys, arguments):
    assert undercurrent("replay", *arguments) == REFUSED_INPUT
    assert "the reasons are too_long" in capsys.readouterr().err


def test_a_lake_without_rejects_is_refused(home, capsys):
    assert undercurrent("replay", "--reason", "too_long") == REFUSED_INPUT
    assert "the reasons are none" in capsys.readouterr().err
