"""The step on a small lake written directly, so that each thing wrong with a night can be put there alone."""

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from checks import figures
from contracts import audits, step
from contracts.errors import CHECKS_BLOCKED, ChecksBlocked
from contracts.lake import Lake
from contracts.params import Checks, load
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, write_receipt
from contracts.tables import TABLES
from tasks import check

PARAMS: Checks = load(PROJECT / "params.yaml").check
DAY = date(2026, 3, 5)
ROWS = 200


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """A night on which everything is right: four days of events, and vectors of both videos."""
    lake = Lake()
    past = [DAY - timedelta(n) for n in (3, 2, 1)]
    _put(lake, "landings", [_landed(day, ROWS) for day in [*past, DAY]])
    _put(lake, "events", [_event(n) for n in range(ROWS)])
    _put(lake, "interactions", [_viewing(n) for n in range(ROWS)])
    _put(lake, "videos", [{"video_id": v, "media_uri": f"{v}.mp4", "caption": v, "day": DAY} for v in "ab"])
    _put(lake, "features", [_vector(v, m) for v in "ab" for m in ("visual", "text")])
    night = Night(DAY, tmp_path / "night")
    write_receipt(night.receipts, "embed", Receipt(facts={"fingerprints": {"visual": "f", "text": "f"}}), {})
    return night


def _put(lake: Lake, table: str, rows: list[dict]) -> None:
    """Replace the days of the rows by the rows."""
    schema = TABLES[table].schema
    filled = [dict.fromkeys(schema.names) | row for row in rows]
    days = sorted({row["day"] for row in rows})
    lake.write(table, pa.Table.from_pylist(filled, schema), [{"day": day} for day in days])


def _landed(day: date, kept: int, rejected: int = 0) -> dict:
    counts = {"rows": kept + rejected, "kept": kept, "rejected": rejected}
    return {"kind": "events", "day": day, "path": "p", "digest": "d"} | counts


def _event(n: int, **changes) -> dict:
    return {"event_id": f"e{n}", "user_id": f"u{n}", "video_id": "a", "day": DAY} | changes


def _viewing(n: int, **changes) -> dict:
    start = datetime(2026, 3, 5, tzinfo=UTC) + timedelta(minutes=n)
    plain = {"user_id": "u", "video_id": "a", "started_at": start, "watched_ms": 500, "watch_ratio": 0.5}
    return plain | {"viewed": True, "events": 1, "day": DAY} | changes


def _vector(video: str, modality: str, **changes) -> dict:
    plain = {"video_id": video, "modality": modality, "segment": -1, "start_ms": 0, "vector": [0.6, 0.8]}
    return plain | {"fingerprint": "f", "day": DAY} | changes


def _refused(n: int, reason: str, received: date = DAY) -> dict:
    row = {"step": "clean", "reason": reason, "received_day": received, "source_file": "p"}
    return row | {"source_line": n, "day": received - timedelta(1)}


def _results(night: Night) -> dict:
    return json.loads(night.output("check", "results.json").read_text())


def _blocked_by(night: Night, params: Checks = PARAMS) -> str:
    with pytest.raises(ChecksBlocked) as blocked:
        check.run(params, night)
    assert _results(night)["outcome"] == "blocked"
    return str(blocked.value)


def test_a_night_with_nothing_wrong_passes_and_leaves_docs_and_results(night, home):
    receipt = check.run(PARAMS, night)
    assert receipt.facts["outcome"] == "passed"
    assert Path(receipt.facts["data_docs"]) == home / "data_docs" / "index.html"
    assert Path(receipt.facts["data_docs"]).exists()
    results = _results(night)
    assert receipt.facts["results"] == results["checks"]
    assert {c["outcome"] for c in results["checks"]} == {"passed", "skipped"}
    skipped = [c["figure"] for c in results["checks"] if c["outcome"] == "skipped"]
    assert skipped == [*(f"{kind}_refused_share" for kind in figures.STATES), "audio_widths"]


def test_the_same_night_checked_twice_gives_the_same_results(night):
    assert check.run(PARAMS, night).digests == check.run(PARAMS, night).digests


def test_half_of_the_events_without_their_user_block_the_night_in_one_sentence(night, home):
    _put(Lake(), "events", [_event(n, user_id=f"u{n}" if n % 2 else None) for n in range(ROWS)])
    sentence = _blocked_by(night)
    assert (
        "events.missing_user_share is 0.5, must be at most 0.05 (share of events without a user)" in sentence
    )
    assert "\n" not in sentence
    pages = list((home / "data_docs" / "validations" / "events" / str(DAY)).glob("*/*.html"))
    assert "share of events without a user: at most 0.05 (error)" in pages[0].read_text()


def test_a_blocked_night_has_no_receipt_and_its_own_exit_code(night, capsys):
    _put(Lake(), "events", [_event(n) for n in range(3)])
    arguments = ["--night", str(DAY), "--workspace", str(night.workspace)]
    assert step.main("check", check.run, check.__doc__, arguments) == CHECKS_BLOCKED
    assert not (night.receipts / "check.json").exists()
    assert (
        "check: blocked: the data of 2026-03-05 is not fit to train on: events.rows is 3"
        in capsys.readouterr().err
    )


def test_a_mended_night_passes_and_the_failure_stays_in_the_docs(night, home):
    _put(Lake(), "events", [_event(n, user_id=None) for n in range(ROWS)])
    _blocked_by(night)
    _put(Lake(), "events", [_event(n) for n in range(ROWS)])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    assert len(list((home / "data_docs" / "validations" / "events" / str(DAY)).iterdir())) == 2


@pytest.mark.parametrize(
    ("table", "rows", "named"),
    [
        ("interactions", [_viewing(1), _viewing(1)], "interactions.repeated_rows is 1"),
        ("interactions", [_viewing(1, watch_ratio=9.0)], "interactions.longest_watch_ratio is 9"),
        ("interactions", [_viewing(1, user_id=None)], "interactions.keyless_rows is 1"),
        ("features", [_vector("a", "visual", vector=[1.0, 1.0])], "features.bad_rows is 1"),
        (
            "features",
            [_vector("a", "visual", vector=[1.0]), _vector("b", "visual")],
            "features.visual_widths is 2",
        ),
        ("features", [_vector("a", "visual")], "features.embedded_share is 0.5"),
        ("features", [_vector(v, "visual") for v in "ab"], "features.captioned_share is 0"),
        ("rejects", [_refused(n, "bot") for n in range(60)], "events.refused_share is 0.3"),
        ("landings", [_landed(DAY, ROWS, rejected=50)], "events.unreadable_share is 0.2"),
    ],
)
def test_what_is_wrong_with_a_table_blocks_the_night_by_name(night, table, rows, named):
    _put(Lake(), table, rows)
    assert named in _blocked_by(night)


LATER = DAY + timedelta(1)


def test_a_night_is_checked_after_a_later_one_has_embedded_its_videos(night):
    lake = Lake()
    lake.commit("features", [{"day": DAY}], [])
    _put(lake, "videos", [{"video_id": "c", "media_uri": "c.mp4", "day": LATER}])
    _put(lake, "features", [_vector(v, m, day=LATER) for v in "abc" for m in ("visual", "text")])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    assert _results(night)["figures"]["features"]["rows"] == 4


def test_vectors_of_videos_that_the_night_does_not_know_yet_are_none_of_its(night):
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
def test_a_video_that_can_have_no_vector_is_not_asked_for_one(night, video, why):
    rows = [{"video_id": f"c{n}", "day": LATER - timedelta(2)} | video for n in range(3)]
    _put(Lake(), "videos", rows)
    assert check.run(PARAMS, night).facts["outcome"] == "passed", why


def test_what_an_older_record_of_a_video_had_is_not_asked_for(night):
    old, new = DAY - timedelta(2), DAY - timedelta(1)
    _put(Lake(), "videos", [{"video_id": v, "media_uri": v, "caption": v, "day": old} for v in "cde"])
    _put(Lake(), "videos", [{"video_id": v, "day": new} for v in "cde"])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"


def _by_landed(night: Night, *deliveries: list[dict]) -> None:
    """The night reads ready-made pictures alone; each delivery is a file, of the day if it names none."""
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
    write_receipt(night.receipts, "embed", Receipt(facts=facts), {})


EACH = [{"video_id": v} for v in "ab"]


@pytest.mark.parametrize("day", [DAY, DAY - timedelta(1)])
def test_a_second_delivery_of_ready_made_vectors_takes_the_place_of_the_first(night, day):
    wider = [row | {"vector": [1.0, 2.0, 3.0]} for row in EACH]
    _by_landed(night, [row | {"day": day} for row in EACH], wider)
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    assert _results(night)["figures"]["features"]["rows"] == 2


def test_a_delivery_of_another_width_for_some_videos_blocks_the_night_by_name(night):
    _by_landed(night, EACH, [{"video_id": "b", "vector": [1.0, 2.0, 3.0]}])
    assert "features.visual_widths is 2, must be at most 1 (widths of visual vectors)" in _blocked_by(night)


def test_ready_made_vectors_that_came_after_the_night_do_not_count(night):
    _by_landed(night, EACH, [row | {"vector": [0.0], "day": LATER} for row in EACH])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    _by_landed(night, [row | {"day": LATER} for row in EACH])
    assert "features.embedded_share is 0" in _blocked_by(night)


def test_a_night_without_viewings_is_blocked(night):
    Lake().commit("interactions", [{"day": DAY}], [])
    assert "interactions.rows is 0" in _blocked_by(night)


def test_rejects_of_events_received_on_other_days_are_not_the_nights(night):
    _put(Lake(), "rejects", [_refused(n, "bot", DAY + timedelta(1)) for n in range(60)])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"


def test_far_fewer_events_than_usual_and_one_common_reason_are_warned_of(night, capsys):
    _put(Lake(), "landings", [_landed(DAY - timedelta(n), 5 * ROWS) for n in (1, 2, 3)])
    _put(Lake(), "rejects", [_refused(n, "duplicate") for n in range(30)])
    receipt = check.run(PARAMS, night)
    assert receipt.facts["outcome"] == "warned"
    assert [w.split(" is ")[0] for w in receipt.facts["warnings"]] == [
        "events.of_usual",
        "events.refused_duplicate_share",
    ]
    assert "check: warning: events.of_usual is 0.2, must be at least 0.5" in capsys.readouterr().err


def test_two_days_of_past_are_no_usual_day(night):
    lake = Lake()
    lake.commit("landings", [{"day": DAY - timedelta(3)}], [])
    _put(lake, "landings", [_landed(DAY - timedelta(n), 5 * ROWS) for n in (1, 2)])
    receipt = check.run(PARAMS, night)
    assert [c["outcome"] for c in receipt.facts["results"] if c["figure"] == "of_usual"] == ["skipped"]


OUTCOMES_OF_KNOBS = [
    ("min_rows", ROWS + 1, "blocked"),
    ("min_of_usual", 1.1, "warned"),
    ("max_unreadable", 0.001, "blocked"),
    ("max_unreadable_file", 0.001, "warned"),
    ("max_missing_user", 0.001, "blocked"),
    ("max_missing_video", 0.001, "blocked"),
    ("max_rejected", 0.001, "blocked"),
    ("max_one_reason", 0.001, "warned"),
    ("max_watch_ratio", 0.4, "blocked"),
    ("min_embedded", 1.1, "blocked"),
]


def test_no_knob_is_forgotten_below():
    assert {name for name, _, _ in OUTCOMES_OF_KNOBS} == {field.name for field in dataclasses.fields(Checks)}


@pytest.mark.parametrize(("knob", "value", "outcome"), OUTCOMES_OF_KNOBS)
def test_each_knob_changes_the_outcome_of_a_slightly_dirty_night(night, knob, value, outcome):
    lake = Lake()
    _put(lake, "events", [_event(0, user_id=None), _event(1, video_id=None), *map(_event, range(2, ROWS))])
    _put(lake, "rejects", [_refused(1, "missing_user"), _refused(2, "missing_video")])
    _put(lake, "landings", [_landed(DAY, ROWS, rejected=1)])
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    stricter = dataclasses.replace(PARAMS, **{knob: value})
    if outcome == "blocked":
        _blocked_by(night, stricter)
    else:
        assert check.run(stricter, night).facts["outcome"] == outcome


def test_a_blocked_night_is_hidden_from_later_nights_until_it_passes(night):
    lake = Lake()
    _put(lake, "events", [_event(n, user_id=None) for n in range(ROWS)])
    _blocked_by(night)
    assert audits.lake_of(DAY).without == frozenset()
    later = audits.lake_of(DAY + timedelta(1))
    assert later.without == {DAY}
    assert [later.scan(name).num_rows for name in ("events", "interactions", "videos")] == [0, 0, 0]
    assert later.scan("features").num_rows == 4  # an encoder's vectors are of the videos, not of the night
    _put(lake, "events", [_event(n) for n in range(ROWS)])
    check.run(PARAMS, night)
    assert audits.lake_of(DAY + timedelta(1)).without == frozenset()


def test_a_usual_day_is_of_days_that_were_not_blocked(night):
    lake = Lake()
    _put(lake, "landings", [_landed(DAY - timedelta(1), 100 * ROWS)])
    _put(lake, "landings", [_landed(DAY - timedelta(4), ROWS)])
    audits.note(DAY - timedelta(1), "blocked")
    receipt = check.run(PARAMS, night)
    assert receipt.facts["missing_days"] == [str(DAY - timedelta(1))]
    assert receipt.facts["outcome"] == "passed"


@pytest.mark.parametrize("kind", figures.STATES)
def test_a_kind_of_which_nearly_nothing_could_be_read_blocks(night, kind):
    lost = _landed(DAY, 1, rejected=40) | {"kind": kind}
    _put(Lake(), "landings", [_landed(DAY, ROWS), lost])
    assert f"landings.{kind}_refused_share is 0.9756, must be at most 0.5" in _blocked_by(night)


@pytest.mark.parametrize("kind", ["events", *figures.STATES])
def test_a_file_of_which_nearly_nothing_could_be_read_is_warned_of(night, kind):
    whole, lost = _landed(DAY, ROWS) | {"kind": kind}, _landed(DAY, 0, rejected=1) | {"kind": kind}
    _put(Lake(), "landings", [_landed(DAY, ROWS), whole, lost])
    receipt = check.run(PARAMS, night)
    assert receipt.facts["warnings"] == [
        "landings.lost_files is 1, must be at most 0 (files of which over 50%, or all, was refused; "
        "the table landings names them)"
    ]


def test_an_experiment_neither_hides_a_night_nor_shows_a_blocked_one(night, monkeypatch, capsys):
    audits.note(DAY, "blocked")
    monkeypatch.setenv("DVC_STAGE", "check")
    assert check.run(PARAMS, night).facts["outcome"] == "passed"
    assert "the outcome is not kept for later nights" in capsys.readouterr().err
    assert audits.lake_of(DAY + timedelta(1)).without == {DAY}
