import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.run_manifests import (
    RowCountError,
    RowCounts,
    RunManifest,
    read_manifest,
    write_json,
    write_manifest,
)

COUNTS = st.dictionaries(st.text(min_size=1, max_size=8), st.integers(0, 1000), max_size=5)


@given(kept=st.integers(0, 1000), rejected=COUNTS, lost=st.integers(-5, 5))
def test_rows_in_must_be_kept_plus_rejected(kept, rejected, lost):
    rows_in = kept + sum(rejected.values()) + lost
    if lost == 0:
        assert RowCounts(rows_in, kept, rejected).rows_in == rows_in
    else:
        with pytest.raises(RowCountError, match="rows in"):
            RowCounts(rows_in, kept, rejected)


def test_a_run_manifest_is_read_as_it_was_written(tmp_path):
    write_manifest(
        tmp_path, "clean", RunManifest(row_counts=RowCounts(3, 2, {"bot": 1})), {"night": "2026-03-05"}
    )
    manifest = read_manifest(tmp_path, "clean")
    assert manifest["night"] == "2026-03-05"
    assert manifest["row_counts"] == {"rows_in": 3, "kept": 2, "rejected": {"bot": 1}}


def test_a_step_without_a_run_manifest_has_not_completed(tmp_path):
    with pytest.raises(InputError, match=r"'train' has not completed; run `python -m tasks.train`"):
        read_manifest(tmp_path, "train")


def test_json_is_written_atomically(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    loop: dict = {}
    loop["self"] = loop
    with pytest.raises(ValueError, match="Circular"):
        write_json(path, loop)
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]
