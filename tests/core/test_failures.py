import pytest

from core.errors import CHECKS_BLOCKED, InputError
from core.failures import Failure, read_failure, remove_failure, write_failure


def test_a_failure_is_read_as_it_was_written_until_it_is_removed(tmp_path):
    assert read_failure(tmp_path, "check") is None
    failure = Failure(CHECKS_BLOCKED, "half of the events are gone")
    write_failure(tmp_path, "check", failure)
    assert read_failure(tmp_path, "check") == failure
    assert failure.outcome == "blocked"
    assert read_failure(tmp_path, "clean") is None
    remove_failure(tmp_path, "check")
    remove_failure(tmp_path, "check")
    assert read_failure(tmp_path, "check") is None


def test_a_damaged_failure_is_refused_with_a_remedy(tmp_path):
    write_failure(tmp_path, "check", Failure(1, "gone"))
    (tmp_path / "failures" / "check.json").write_text('{"step": "check"}')
    with pytest.raises(InputError, match=r"check\.json: key 'exit_code' is missing; delete it and run"):
        read_failure(tmp_path, "check")
