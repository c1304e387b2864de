import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import InputError
from core.records import LANDING_TYPES
from lake.landing import LandingLimits
from lake.landing_batches import read_batches
from lake.schema_changes import MIN_RECORDS, FileSchema
from tests.support.landing_files import DAY, at, event


def _require_unchanged(folder: Path, records: list[dict[str, Any]], landing_type: str = "events") -> None:
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + "no JSON\n")
    schema = FileSchema(LANDING_TYPES[landing_type])
    for batch in read_batches(path, LANDING_TYPES[landing_type], LandingLimits(), batch_rows=7):
        schema.add(batch)
    schema.require_unchanged(path)


def _event(number: int) -> dict[str, Any]:
    return event(number, f"u{number}", "v", "view", at(DAY, 8))


def _events(count: int = MIN_RECORDS) -> list[dict[str, Any]]:
    return [_event(n) for n in range(count)]


def test_records_as_agreed_and_new_fields_are_accepted(tmp_path):
    _require_unchanged(tmp_path, _events())
    _require_unchanged(tmp_path, [record | {"new": 1} for record in _events()])


@pytest.mark.parametrize("field", LANDING_TYPES["events"].required)
def test_a_required_field_that_no_record_has_is_refused(tmp_path, field):
    changed = [{name: value for name, value in record.items() if name != field} for record in _events()]
    with pytest.raises(InputError, match=rf"records\.jsonl: field '{field}' is missing .* all 20 records"):
        _require_unchanged(tmp_path, changed)
    _require_unchanged(tmp_path, [*changed, _event(99)])


@pytest.mark.parametrize(
    ("field", "value"),
    [("watch_ms", "8 s"), ("event_time", "noon"), ("context", "ios"), ("comment_text", 5), ("user_id", [1])],
)
def test_a_field_of_another_type_in_all_records_is_refused(tmp_path, field, value):
    changed = [record | {field: value} for record in _events()]
    with pytest.raises(InputError, match=rf"field '{field}' .* another type .*wrong_type.*data-contract\.md"):
        _require_unchanged(tmp_path, changed)
    _require_unchanged(tmp_path, [*changed, _event(99)])


def test_some_records_without_a_field_and_some_of_another_type_are_refused_too(tmp_path):
    with pytest.raises(InputError, match="'user_id'"):
        _require_unchanged(tmp_path, [_event(n) | {"user_id": [n] if n % 2 else None} for n in range(20)])


def test_a_small_file_is_not_judged(tmp_path):
    _require_unchanged(tmp_path, [record | {"watch_ms": "8 s"} for record in _events(MIN_RECORDS - 1)])


@pytest.mark.parametrize(("landing_type", "field"), [("users", "user_id"), ("videos", "video_id")])
def test_records_of_states_need_their_id(tmp_path, landing_type, field):
    with pytest.raises(InputError, match=f"field '{field}' is missing"):
        _require_unchanged(tmp_path, [{"language": "en"}] * MIN_RECORDS, landing_type)
