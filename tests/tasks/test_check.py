"""The step on a small lake that is written directly, so that each fault can be planted alone."""

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pytest

from checks.suites.landings import STATE_TYPES
from core import step_cli
from core.config import CheckConfig, load_params
from core.errors import CHECKS_BLOCKED, ChecksBlocked
from core.paths import PROJECT_ROOT, Night
from core.run_manifests import RunManifest, write_manifest
from core.tables import TABLES
from lake import audits
from lake.client import Lake, on_days
from tasks import check
from tests.support.pseudonyms import private_params

PARAMS: CheckConfig = load_params(PROJECT_ROOT / "params.yaml").check
DAY = date(2026, 3, 5)
ROWS = 200


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """A night without faults: four days of events, and vectors of both videos."""
    lake = Lake()
    earlier_days = [DAY - timedelta(n) for n in (3, 2, 1)]
    _put(lake, "landings", [_landed(day, ROWS) for day in [*earlier_days, DAY]])
    _put(lake, "events", [_event(n) for n in range(ROWS)])
    _put(
        lake, "interactions", [_interaction(n, day=day) for day in [*earlier_days, DAY] for n in range(ROWS)]
    )
    _put(lake, "videos", [{"video_id": v, "media_uri": f"{v}.mp4", "caption": v, "day": DAY} for v in "ab"])
    _put(lake, "features", [_vector(v, m) for v in "ab" for m in ("visual", "text")])
    night = Night(DAY, tmp_path / "night")
    write_manifest(
        night.run_manifests, "embed", RunManifest(facts={"fingerprints": {"visual": "f", "text": "f"}}), {}
    )
    return night


def _put(lake: Lake, table: str, rows: list[dict]) -> None:
    """Replace all days of these rows with the rows."""
    schema = TABLES[table].schema
    filled = [dict.fromkeys(schema.names) | row for row in rows]
    days = sorted({row["day"] for row in rows})
    lake.write(table, pa.Table.from_pylist(filled, schema), [{"day": day} for day in days])


def _landed(day: date, kept: int, rejected: int = 0) -> dict:
    counts = {"rows": kept + rejected, "kept": kept, "rejected": rejected}
    return {"kind": "events", "day": day, "path": "p", "digest": "d"} | counts


def _event(n: int, **changes) -> dict:
    return {"event_id": f"e{n}", "user_id": f"u{n}", "video_id": "a", "day": DAY} | changes


def _interaction(n: int, **changes) -> dict:
    start = datetime(2026, 3, 5, tzinfo=UTC) + timedelta(minutes=n)
    plain = {"user_id": "u", "video_id": "a", "started_at": start, "watched_ms": 500, "watch_ratio": 0.5}
    return plain | {"viewed": True, "events": 1, "day": DAY} | changes


def _vector(video: str, modality: str, **changes) -> dict:
    plain = {"video_id": video, "modality": modality, "segment": -1, "start_ms": 0, "vector": [0.6, 0.8]}
    return plain | {"fingerprint": "f", "day": DAY} | changes


def _reject(n: int, reason: str, received: date = DAY, **changes) -> dict:
    row = {"step": "clean", "reason": reason, "received_day": received, "source_file": "p"} | changes
    return row | {"source_line": n, "day": received - timedelta(1)}


def _results(night: Night) -> dict:
    return json.loads(night.require_output("check", "results.json").read_text())


def _blocked_by(night: Night, params: CheckConfig = PARAMS) -> str:
    with pytest.raises(ChecksBlocked) as blocked:
        check.run(params, night)
    assert _results(night)["outcome"] == "blocked"
    return str(blocked.value)


def test_a_good_night_passes_and_writes_docs_and_results(night, home):
    run_manifest = check.run(PARAMS, night)
    assert run_manifest.facts["outcome"] == "passed"
    assert Path(run_manifest.facts["data_docs"]) == home / "data_docs" / "index.html"
    assert Path(run_manifest.facts["data_docs"]).exists()
    results = _results(night)
    assert run_manifest.facts["expectations"] == results["expectations"]
    assert {c["outcome"] for c in results["expectations"]} == {"passed", "skipped"}
    passed = {f"{c['table']}.{c['metric']}" for c in results["expectations"] if c["outcome"] == "passed"}
    assert passed >= {"events.volume_ratio", "interactions.watch_ratio_psi", "features.duplicate_rows"}


def test_the_same_night_checked_twice_gives_the_same_results(night):
    assert check.run(PARAMS, night).digests == check.run(PARAMS, night).digests


def test_a_large_night_gives_the_same_results_on_spark(night, keep_spark, monkeypatch):
    in_process = check.run(PARAMS, night)
    monkeypatch.setattr(check, "NightTables", partial(check.NightTables, max_bytes_in_process=-1))
    assert check.run(PARAMS, night).digests == in_process.digests


def test_missing_users_block_the_night_in_one_sentence(night, home):
    _put(Lake(), "events", [_event(n, user_id=f"u{n}" if n % 2 else None) for n in range(ROWS)])
    sentence = _blocked_by(night)
    assert (
        "events.missing_user_rate is 0.5, must be at most 0.05 (share of events without a user)" in sentence
    )
    assert "\n" not in sentence
    pages = list((home / "data_docs" / "validations" / "events" / str(DAY)).glob("*/*.html"))
    assert (
        "share of events without a user, at most 0.05 (missing_user_rate; blocks the night)"
        in pages[0].read_text()
    )


def test_a_blocked_night_has_no_run_manifest_and_its_own_exit_code(night, capsys):
    _put(Lake(), "events", [_event(n) for n in range(3)])
    arguments = ["--night", str(DAY), "--workspace", str(night.workspace)]
    assert step_cli.main("check", check.run, check.__doc__, arguments) == CHECKS_BLOCKED
    assert not (night.run_manifests / "check.json").exists()
    assert "check: blocked: the data checks of 2026-03-05 failed: events.rows is 3" in capsys.readouterr().err


def test_a_repaired_night_passes_and_the_docs_keep_the_failure(night, home):
    _put(Lake(), "events", [_event(n, user_id=None) for n in range(ROWS)])
    _blocked_by(night)
    _put(Lake(), "events", [_event(n) for n in range(ROWS)])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    assert len(list((home / "data_docs" / "validations" / "events" / str(DAY)).iterdir())) == 2


@pytest.mark.parametrize(
    ("table", "rows", "named"),
    [
        ("interactions", [_interaction(1), _interaction(1)], "interactions.duplicate_rows is 2"),
        ("interactions", [_interaction(1, watch_ratio=9.0)], "interactions.invalid_watch_ratios is 1"),
        ("interactions", [_interaction(1, user_id=None)], "interactions.missing_user_id is 1"),
        ("features", [_vector("a", "visual", vector=[1.0, 1.0])], "features.invalid_vectors is 1"),
        (
            "features",
            [_vector("a", "visual", vector=[1.0]), _vector("b", "visual")],
            "features.num_visual_widths is 2",
        ),
        ("features", [_vector("a", "visual")], "videos.media_without_vector is 0.5"),
        ("features", [_vector(v, "visual") for v in "ab"], "videos.captions_without_vector is 1"),
        ("rejects", [_reject(n, "suspected_bot") for n in range(60)], "rejects.reject_rate is 0.3"),
        ("landings", [_landed(DAY, ROWS, rejected=50)], "landings.events_reject_rate is 0.2"),
    ],
)
def test_a_failed_error_expectation_blocks_the_night(night, table, rows, named):
    _put(Lake(), table, rows)
    assert named in _blocked_by(night)


LATER = DAY + timedelta(1)


def _num_vectors(home: Path) -> int:
    """The number of vectors that the newest validation of the suite `features` checked."""
    newest = max((home / "checks" / "validations" / "features").glob("*/*/*.json"))
    results = json.loads(newest.read_text())["results"]
    return max(result["result"].get("element_count", 0) for result in results)


def test_vectors_embedded_by_a_later_night_count(night, home):
    lake = Lake()
    lake.commit("features", [{"day": DAY}], [])
    _put(lake, "videos", [{"video_id": "c", "media_uri": "c.mp4", "day": LATER}])
    _put(lake, "features", [_vector(v, m, day=LATER) for v in "abc" for m in ("visual", "text")])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    assert _num_vectors(home) == 4


def test_vectors_of_later_videos_do_not_count(night):
    lake = Lake()
    _put(lake, "videos", [{"video_id": "c", "media_uri": "c.mp4", "day": LATER}])
    _put(lake, "features", [_vector("c", "visual", vector=[9.0], day=LATER)])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"


@pytest.mark.parametrize(
    ("video", "why"),
    [
        ({"media_uri": "", "caption": None}, "no media and no words"),
        ({"media_uri": " ", "caption": ""}, "blanks alone"),
        ({"media_uri": None, "caption": "https://example.org"}, "an address alone has no words"),
        ({"media_uri": None, "caption": " \n "}, "a caption of blanks"),
    ],
)
def test_videos_without_content_need_no_vector(night, video, why):
    rows = [{"video_id": f"c{n}", "day": LATER - timedelta(2)} | video for n in range(3)]
    _put(Lake(), "videos", rows)
    assert check.run(PARAMS, night).facts["outcome"] == "passed", why


def test_only_the_newest_record_of_a_video_needs_vectors(night):
    old, new = DAY - timedelta(2), DAY - timedelta(1)
    _put(Lake(), "videos", [{"video_id": v, "media_uri": v, "caption": v, "day": old} for v in "cde"])
    _put(Lake(), "videos", [{"video_id": v, "day": new} for v in "cde"])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"


def _use_landed_vectors(night: Night, *deliveries: list[dict]) -> None:
    """The night reads only landed visual vectors. A delivery without a day is of the night's day."""
    lake = Lake()
    lake.commit("features", [{"day": DAY}], [])
    landed = [
        _vector("a", "visual", fingerprint="landed")
        | row
        | {"source": f"features/part-{n}.jsonl {line:012d}"}
        for n, delivery in enumerate(deliveries)
        for line, row in enumerate(delivery, 1)
    ]
    _put(lake, "features", landed)
    facts = {"fingerprints": {"visual": "landed"}}
    write_manifest(night.run_manifests, "embed", RunManifest(facts=facts), {})


EACH = [{"video_id": v} for v in "ab"]


@pytest.mark.parametrize("day", [DAY, DAY - timedelta(1)])
def test_a_second_delivery_of_vectors_replaces_the_first(night, home, day):
    wider = [row | {"vector": [1.0, 2.0, 3.0]} for row in EACH]
    _use_landed_vectors(night, [row | {"day": day} for row in EACH], wider)
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    assert _num_vectors(home) == 2


def test_landed_vectors_of_two_widths_block_the_night(night):
    _use_landed_vectors(night, EACH, [{"video_id": "b", "vector": [1.0, 2.0, 3.0]}])
    sentence = "features.num_visual_widths is 2, must be at most 1 (different widths of visual vectors)"
    assert sentence in _blocked_by(night)


def test_vectors_landed_after_the_night_do_not_count(night):
    _use_landed_vectors(night, EACH, [row | {"vector": [0.0], "day": LATER} for row in EACH])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    _use_landed_vectors(night, [row | {"day": LATER} for row in EACH])
    assert "videos.media_without_vector is 1" in _blocked_by(night)


def test_a_night_without_interactions_is_blocked(night):
    Lake().commit("interactions", [{"day": DAY}], [])
    assert "interactions.rows is 0" in _blocked_by(night)


def test_rejects_of_other_received_days_do_not_count(night):
    _put(Lake(), "rejects", [_reject(n, "suspected_bot", DAY + timedelta(1)) for n in range(60)])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"


def test_low_volume_and_a_common_reject_reason_warn(night, capsys):
    _put(Lake(), "landings", [_landed(DAY - timedelta(n), 5 * ROWS) for n in (1, 2, 3)])
    _put(Lake(), "rejects", [_reject(n, "duplicate_event") for n in range(30)])
    run_manifest = check.run(PARAMS, night)
    assert run_manifest.facts["outcome"] == "warned"
    assert [w.split(" is ")[0] for w in run_manifest.facts["warnings"]] == [
        "events.volume_ratio",
        "rejects.reject_rate_duplicate_event",
    ]
    assert "check: warning: events.volume_ratio is 0.2, must be at least 0.5" in capsys.readouterr().err


def test_two_earlier_days_give_no_volume_ratio(night):
    lake = Lake()
    lake.commit("landings", [{"day": DAY - timedelta(3)}], [])
    _put(lake, "landings", [_landed(DAY - timedelta(n), 5 * ROWS) for n in (1, 2)])
    run_manifest = check.run(PARAMS, night)
    outcomes = {c["metric"]: c["outcome"] for c in run_manifest.facts["expectations"]}
    assert (outcomes["volume_ratio"], outcomes["watch_ratio_psi"]) == ("skipped", "skipped")


VIDEOS = "abcdefghijklmnopqrst"  # twenty
PARAMETER_OUTCOMES = [
    ("min_rows", ROWS + 1, "blocked"),
    ("min_volume_ratio", 1.1, "warned"),
    ("max_unreadable_rate", 0.001, "blocked"),
    ("max_unreadable_rate_per_file", 0.001, "warned"),
    ("max_missing_user_rate", 0.001, "blocked"),
    ("max_missing_video_rate", 0.001, "blocked"),
    ("max_reject_rate", 0.001, "blocked"),
    ("max_reject_rate_per_reason", 0.001, "warned"),
    ("max_watch_ratio", 0.4, "blocked"),
    ("max_psi", 0.001, "warned"),
    ("min_embedded_rate", 0.96, "blocked"),
]


def test_every_parameter_has_an_outcome():
    assert {name for name, _, _ in PARAMETER_OUTCOMES} == {
        field.name for field in dataclasses.fields(CheckConfig)
    }


@pytest.mark.parametrize(("parameter", "value", "outcome"), PARAMETER_OUTCOMES)
def test_each_parameter_changes_the_outcome(night, parameter, value, outcome):
    lake = Lake()
    _put(lake, "events", [_event(0, user_id=None), _event(1, video_id=None), *map(_event, range(2, ROWS))])
    _put(lake, "rejects", [_reject(1, "missing_user"), _reject(2, "missing_video")])
    _put(lake, "landings", [_landed(DAY, ROWS, rejected=1)])
    _put(lake, "interactions", [_interaction(n, watch_ratio=0.9 if n < 4 else 0.5) for n in range(ROWS)])
    _put(lake, "videos", [{"video_id": v, "caption": v, "day": DAY} for v in VIDEOS])
    _put(lake, "features", [_vector(v, "text") for v in VIDEOS[1:]])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    stricter = dataclasses.replace(PARAMS, **{parameter: value})
    if outcome == "blocked":
        _blocked_by(night, stricter)
    else:
        assert check.run(stricter, night).facts["outcome"] == outcome


def test_a_blocked_night_is_hidden_until_it_passes(night):
    lake = Lake()
    _put(lake, "events", [_event(n, user_id=None) for n in range(ROWS)])
    _blocked_by(night)
    assert audits.visible_lake(DAY).hidden_days == frozenset()
    later = audits.visible_lake(DAY + timedelta(1))
    assert later.hidden_days == {DAY}
    received = [later.scan(name, on_days(DAY)).num_rows for name in ("events", "interactions", "videos")]
    assert received == [0, 0, 0]
    assert later.scan("features").num_rows == 4  # an encoder's vectors are of the videos, not of the night
    _put(lake, "events", [_event(n) for n in range(ROWS)])
    check.run(PARAMS, night)
    assert audits.visible_lake(DAY + timedelta(1)).hidden_days == frozenset()


def test_a_night_killed_before_its_outcome_is_stored_is_hidden(night, monkeypatch):
    audits.begin_audit(DAY)
    with monkeypatch.context() as patch:
        patch.setattr(audits, "write_audit", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            check.run(PARAMS, night)
    assert audits.visible_lake(DAY + timedelta(1)).hidden_days == {DAY}
    check.run(PARAMS, night)
    assert audits.visible_lake(DAY + timedelta(1)).hidden_days == frozenset()


def test_blocked_days_do_not_count_for_the_volume_ratio(night):
    lake = Lake()
    _put(lake, "landings", [_landed(DAY - timedelta(1), 100 * ROWS)])
    _put(lake, "landings", [_landed(DAY - timedelta(4), ROWS)])
    audits.write_audit(DAY - timedelta(1), "blocked")
    run_manifest = check.run(PARAMS, night)
    assert run_manifest.facts["missing_days"] == [str(DAY - timedelta(1))]
    assert run_manifest.facts["outcome"] == "passed"


@pytest.mark.parametrize("kind", STATE_TYPES)
def test_an_unreadable_kind_of_landing_files_blocks(night, kind):
    lost = _landed(DAY, 1, rejected=40) | {"kind": kind}
    _put(Lake(), "landings", [_landed(DAY, ROWS), lost])
    assert f"landings.{kind}_reject_rate is 0.9756, must be at most 0.5" in _blocked_by(night)


@pytest.mark.parametrize("kind", ["events", *STATE_TYPES])
def test_an_unreadable_landing_file_warns(night, kind):
    whole, lost = _landed(DAY, ROWS) | {"kind": kind}, _landed(DAY, 0, rejected=1) | {"kind": kind}
    _put(Lake(), "landings", [_landed(DAY, ROWS), whole, lost])
    run_manifest = check.run(PARAMS, night)
    assert run_manifest.facts["warnings"] == [
        "landings.unreadable_files is 1, must be at most 0 (files with over 50% of their records refused)"
    ]


def test_an_experiment_writes_no_audit(night, monkeypatch, capsys):
    audits.write_audit(DAY, "blocked")
    monkeypatch.setenv("DVC_STAGE", "check")
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    assert "the outcome is not stored for later nights" in capsys.readouterr().err
    assert audits.visible_lake(DAY + timedelta(1)).hidden_days == {DAY}


@pytest.mark.parametrize("is_private", [False, True])
def test_examples_name_users_only_without_pseudonyms(night, home, tmp_path, is_private):
    named = {"user_id": "ann-of-the-examples"}
    _put(Lake(), "interactions", [_interaction(1, **named), _interaction(1, **named)])
    _put(Lake(), "rejects", [_reject(1, "bot", record=json.dumps(named)) | {"reason": None}])
    if is_private:
        night = dataclasses.replace(night, params_path=private_params(tmp_path))
    sentence = _blocked_by(night)
    assert "interactions.duplicate_rows is 2" in sentence
    assert "rejects.missing_reasons is 1" in sentence
    naming = [
        path
        for name in ("*.html", "*.json")
        for path in home.rglob(name)
        if named["user_id"] in path.read_text()
    ]
    tables = {path.relative_to(home).parts[2] for path in naming}
    assert tables == (set() if is_private else {"interactions", "rejects"})
